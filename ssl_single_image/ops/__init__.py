"""How arrays are computed: convolution, pooling and their formulations for CPUs; no network, no variables."""

from ssl_single_image.ops.convolution import conv2d, upsampling_conv2d
from ssl_single_image.ops.depthwise import depthwise_conv2d
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.ops.pooling import adaptive_pool, average_pool, max_pool
from ssl_single_image.ops.products import score_product

__all__ = [
    "adaptive_pool",
    "average_pool",
    "conv2d",
    "depthwise_conv2d",
    "materialise",
    "max_pool",
    "score_product",
    "upsampling_conv2d",
]
