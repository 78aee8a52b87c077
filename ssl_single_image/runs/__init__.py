"""What a run leaves on disk: checkpoints, encoders, metrics, the workdir itself."""

from ssl_single_image.runs.encoders import LoadedEncoder
from ssl_single_image.runs.references import expand, load_encoder

__all__ = ["LoadedEncoder", "expand", "load_encoder"]
