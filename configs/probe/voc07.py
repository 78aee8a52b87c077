"""PASCAL VOC 2007: 5,011 training and 4,952 test images of 20 classes, of which an image can have several; mAP.

ssl-single-image probe --config voc07 --checkpoint runs/rotnet,random:alexnet --workdir runs/voc07 --data_dir D

Features are computed once. A ridge classifier of every layer is fitted, with a third of the images held out to choose
its penalty.
"""

import ml_collections

from ssl_single_image.experiments.presets import multi_label_probe, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    parse_arg(arg)  # refuses any: this config takes no argument
    return multi_label_probe("voc07")
