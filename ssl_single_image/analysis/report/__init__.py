"""One page about any mix of finished runs: what was trained, how training went, and what was measured.

`build` writes it. Kinds of workdirs stand in `kinds.KINDS`: a new one is a module and an entry.
"""

from __future__ import annotations

from ssl_single_image.analysis.report.build import MANIFEST, PAGE, build
from ssl_single_image.analysis.report.kinds import KINDS
from ssl_single_image.analysis.report.probes import PROBE

__all__ = ["KINDS", "MANIFEST", "PAGE", "PROBE", "build"]
