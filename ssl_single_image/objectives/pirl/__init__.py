"""PIRL: a crop and its shuffled tiles have the same embedding (Misra and van der Maaten, CVPR 2020)."""

from ssl_single_image.objectives.pirl.objective import make
from ssl_single_image.objectives.pirl.options import Options

__all__ = ["Options", "make"]
