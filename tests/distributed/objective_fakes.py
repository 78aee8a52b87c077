"""Every objective on a small network in float64, where programs that differ in the order of sums agree to 1e-12."""

import jax
import numpy as np
import optax
from precision import widened

from ssl_single_image import augment, images, models
from ssl_single_image.datasets.base import numpy_batch
from ssl_single_image.objectives import OBJECTIVES, Setup, bigan, deepcluster, jigsaw, pirl, simclr
from ssl_single_image.types import EncoderSpec

MATCHING = "bigan, with a critic and matching"
OPTIONS = {
    "deepcluster": deepcluster.Options(clusters=10, components=8),
    "jigsaw": jigsaw.Options(permutations=4, tile=8, tile_features=16, hidden=32),
    "pirl": pirl.Options(negatives=20, dimension=8, tile=8, board=30, mask_overlap=0.3),
    "simclr": simclr.Options(dimension=8, hidden=16, mask_overlap=0.3),
    MATCHING: bigan.Options(
        latent=8,
        width=4,
        discriminator="alexnet32",
        joint="bilinear",
        matching=0.5,
        loss="hinge",
        spectral_norm=True,
    ),
}
PLAIN = augment.CropSpec.preset("paper", 32).replace(min_area=0.05, jitter_probability=0.0)


def make(name, sync=True, backbone="alexnet32"):
    spec = EncoderSpec(backbone, {}, 32, models.MEAN, models.STD)
    optimizer = optax.sgd(0.02, momentum=0.9)
    options = OPTIONS.get(name)
    if name == MATCHING:
        options = OPTIONS[MATCHING].replace(discriminator=backbone)
    return entry(name).make(
        Setup(spec, PLAIN, 100, 8, 3, optimizer, sync, "float64", view_hflip=0.5, classes=3, options=options)
    )


def entry(name):
    return OBJECTIVES[name.partition(",")[0]]


def inputs_of(name):
    rng = np.random.default_rng(0)
    if entry(name).labelled:
        image = rng.integers(0, 256, (8, 40, 40, 3)).astype(np.uint8)
        return numpy_batch(image, rng.integers(0, 3, 8).astype(np.int32), np.full((8, 2), 40, np.int32))
    return images.build_atlas([rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)])


def start(name, inputs, backbone="alexnet32"):
    """The state at step 0, with float64 variables."""
    return widened(jax.jit(make(name, backbone=backbone).init)(jax.random.key(0), inputs))
