"""Running an objective: the loop, optimisers, checkpoints and metrics."""

from ssl_single_image.training.checkpoint import LoadedEncoder, load_encoder

__all__ = ["LoadedEncoder", "load_encoder"]
