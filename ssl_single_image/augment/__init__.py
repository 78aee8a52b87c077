"""Crops of an atlas: drawn from a key, resampled once, recoloured. All functions are pure."""

from ssl_single_image.augment.check import check_source
from ssl_single_image.augment.geometry import Geometry, crop_corners, posed
from ssl_single_image.augment.photometric import Jitter, normalise
from ssl_single_image.augment.pipeline import CropParams, render, sample_params
from ssl_single_image.augment.spec import CropSpec
from ssl_single_image.augment.virtual import permute_index, render_centres, render_crops, render_views

__all__ = [
    "CropParams",
    "CropSpec",
    "Geometry",
    "Jitter",
    "check_source",
    "crop_corners",
    "normalise",
    "permute_index",
    "posed",
    "render",
    "render_centres",
    "render_crops",
    "render_views",
    "sample_params",
]
