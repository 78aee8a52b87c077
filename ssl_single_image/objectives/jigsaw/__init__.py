"""Jigsaw: in which order are the tiles of a crop? (Noroozi and Favaro, ECCV 2016.)"""

from ssl_single_image.objectives.jigsaw.objective import Options, make

__all__ = ["Options", "make"]
