"""BiGAN: an encoder learnt as the inverse of a generator (Donahue, Krähenbühl and Darrell, ICLR 2017)."""

from ssl_single_image.objectives.bigan.networks import Options
from ssl_single_image.objectives.bigan.objective import make

__all__ = ["Options", "make"]
