"""Filters of the first layers from patches of a source: exemplar SVMs, correlation filters, and their controls.

A new rule is a function from a `Layer` to `Filters`, and one line in `rules.RULES`.
"""

from ssl_single_image.objectives.exemplars.initialise import initialise
from ssl_single_image.objectives.exemplars.rules import ADAPTED, RULES, Settings

__all__ = ["ADAPTED", "RULES", "Settings", "initialise"]
