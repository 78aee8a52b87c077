"""What a run leaves on disk: checkpoints, encoders, metrics, the workdir itself."""

from ssl_single_image.runs.encoders import LoadedEncoder
from ssl_single_image.runs.references import load_encoder

__all__ = ["LoadedEncoder", "load_encoder"]
