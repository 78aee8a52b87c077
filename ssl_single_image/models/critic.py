"""A discriminator that judges images by a backbone's trunk, codes by a tower, and both together.

Its trunk can be probed as an encoder. Scores of either alone stand beside the joint one in BigBiGAN (Donahue and
Simonyan 2019); a separate tower for the code is that of ALI (Dumoulin et al. 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image.models.layers import at_least_float32
from ssl_single_image.models.spectral import spectral_norm

SCORES = ("x", "z", "xz")
"""What can be judged: an image, a code, and the pair."""
JOINTS = ("mlp", "bilinear")
"""How a pair is judged."""
SLOPE = 0.2


class Judged(NamedTuple):
    """What a `Critic` makes of images and codes.

    Attributes:
      scores: of "x", "z" and "xz", those that it gives, (B,) float32 each: above 0 for "real".
      image: (B, hidden) float32, the images as a bilinear joint sees them; None where there is no such joint.
      code: (B, hidden) float32, likewise of the codes. The score of a pair grows with their product.
    """

    scores: dict[str, jax.Array]
    image: jax.Array | None = None
    code: jax.Array | None = None


class Critic(nn.Module):
    """Normalised images (B, S, S, 3) and codes (B, latent) -> `Judged`. Variables of the trunk lie under "trunk".

    What `scores` leaves out has no parameters: ("x",) is the discriminator of a plain GAN.

    Attributes:
      make_trunk: makes the trunk, as `build_backbone` does. With `spectral`, that should be normalised as well.
      scores: those of SCORES that are given.
      joint: one of JOINTS. "mlp": two hidden layers on image and code. "bilinear": the product of a vector of the image
        with one of the code, plus a linear score of the image.
      hidden: units of every hidden layer.
      spectral: divides the kernels of the dense layers by their largest singular values, see `spectral_norm`.
      dtype: of the hidden layers; what `Judged` holds is float32.

    Raises:
      ValueError: an unknown score or joint.
    """

    make_trunk: Callable[[], nn.Module]
    scores: Sequence[str] = SCORES
    joint: str = "mlp"
    hidden: int = 256
    spectral: bool = False
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        if not set(self.scores) <= set(SCORES) or self.joint not in JOINTS:
            raise ValueError(f"scores {self.scores} and joint {self.joint!r}: not of {SCORES} and {JOINTS}")
        self.trunk = self.make_trunk()

    @nn.compact
    def __call__(self, x: jax.Array, z: jax.Array, *, train: bool) -> Judged:
        features, _ = self.trunk(x, train=train)
        features = at_least_float32(features.reshape(len(features), -1))
        scores = {}
        if "x" in self.scores:
            scores["x"] = self._linear("x", 1, features, train)[:, 0]
        if not {"z", "xz"} & set(self.scores):
            return Judged(scores)
        tower = self._tower(z, train)
        if "z" in self.scores:
            scores["z"] = self._linear("z", 1, tower, train)[:, 0]
        if "xz" not in self.scores:
            return Judged(scores)
        if self.joint == "mlp":
            return Judged({**scores, "xz": self._mlp(features, tower, train)})
        image = self._linear("image", self.hidden, features, train)
        code = self._linear("code", self.hidden, tower, train)
        own = self._linear("image_score", 1, features, train)[:, 0]
        return Judged({**scores, "xz": (image * code).sum(-1) + own}, image, code)

    def _tower(self, z: jax.Array, train: bool) -> jax.Array:
        for number in (1, 2):
            z = nn.leaky_relu(self._hidden(f"tower{number}", z, train), SLOPE)
        return z

    def _mlp(self, features: jax.Array, tower: jax.Array, train: bool) -> jax.Array:
        pair = self._hidden("joint_image", features, train) + self._hidden("joint_code", tower, train)
        pair = self._hidden("joint", nn.leaky_relu(pair, SLOPE), train)
        return self._linear("xz", 1, nn.leaky_relu(pair, SLOPE), train)[:, 0]

    def _hidden(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        return self._apply(self._dense(name, self.hidden, self.dtype), x, train)

    def _linear(self, name: str, outputs: int, x: jax.Array, train: bool) -> jax.Array:
        return self._apply(self._dense(name, outputs, None), at_least_float32(x), train)

    def _dense(self, name: str, outputs: int, dtype: jnp.dtype | None) -> nn.Dense:
        # The scale of a normalised kernel does not matter to its output. It says how fast Adam turns the kernel.
        init = nn.initializers.normal(0.02) if self.spectral else nn.initializers.lecun_normal()
        return nn.Dense(outputs, kernel_init=init, dtype=dtype, name=name)

    def _apply(self, layer: nn.Module, x: jax.Array, train: bool) -> jax.Array:
        return spectral_norm(layer, x, train) if self.spectral else layer(x)
