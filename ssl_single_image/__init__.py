"""How much of a network, layer by layer, can be learnt from one image and strong augmentation?"""

__version__ = "0.1.0"
