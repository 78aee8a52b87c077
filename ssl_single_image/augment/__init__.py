"""Crops of an atlas: drawn from a key, resampled once, recoloured. All functions are pure."""

from ssl_single_image.augment.check import check_source
from ssl_single_image.augment.geometry import Geometry, crop_corners, posed, window_overlap
from ssl_single_image.augment.photometric import Jitter, greyed, normalise
from ssl_single_image.augment.pipeline import CropParams, render, sample_params
from ssl_single_image.augment.spec import CropSpec
from ssl_single_image.augment.virtual import (
    crop_params,
    permute_index,
    render_centres,
    render_crops,
    render_views,
    view_params,
)

__all__ = [
    "CropParams",
    "CropSpec",
    "Geometry",
    "Jitter",
    "check_source",
    "crop_corners",
    "crop_params",
    "greyed",
    "normalise",
    "permute_index",
    "posed",
    "render",
    "render_centres",
    "render_crops",
    "render_views",
    "sample_params",
    "view_params",
    "window_overlap",
]
