"""Image files to a packed mip pyramid on the device."""

from ssl_single_image.images.atlas import Atlas, atlas_from_batch, build_atlas
from ssl_single_image.images.decode import decode_image, read_image
from ssl_single_image.images.files import image_format, save_image
from ssl_single_image.images.source import SourceImage, image_files, load_source, source_files

__all__ = [
    "Atlas",
    "SourceImage",
    "atlas_from_batch",
    "build_atlas",
    "decode_image",
    "image_files",
    "image_format",
    "load_source",
    "read_image",
    "save_image",
    "source_files",
]
