"""How arrays are computed: convolution, pooling and their formulations for CPUs; no network, no variables."""

from ssl_single_image.ops.convolution import conv2d, upsampling_conv2d
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.ops.pooling import adaptive_pool, average_pool, max_pool

__all__ = ["adaptive_pool", "average_pool", "conv2d", "materialise", "max_pool", "upsampling_conv2d"]
