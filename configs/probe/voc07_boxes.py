"""PASCAL VOC 2007, objects in their annotated boxes: 20 classes, by mAP; also by pose, truncation and company.

ssl-single-image probe --config voc07_boxes --checkpoint runs/rotnet,random:alexnet --workdir runs/boxes --data_dir D

Each layer is averaged over 3 x 3 parts of the box. It stands in for detection, and its mAP is no detection mAP.
"""

import ml_collections

from ssl_single_image.experiments.presets import multi_label_probe, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    parse_arg(arg)  # refuses any: this config takes no argument
    return multi_label_probe("voc07_boxes")
