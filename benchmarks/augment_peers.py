"""What else a user could render crops with: one generator of crops per peer, served by a process of its own.

`python benchmarks/augment_peers.py PEER SIZE BATCH IMAGE.npy`, see `common.Worker`; run by `augment.py`. Every peer
does the whole chain with all augmentations on, as far as it goes: random crop and aspect, rotation, flip, jitter.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from typing import Any

import common
import numpy as np

Work = Callable[[int], Any]
ROTATION, ASPECT, JITTER = 35.0, 0.75, (0.4, 0.4, 0.4, 0.1)


def ours(pixels: np.ndarray, size: int, batch: int) -> Work:
    """This package, preset "paper" with jitter in every crop."""
    import jax
    import jax.numpy as jnp

    from ssl_single_image import augment, images

    atlas = images.build_atlas([pixels])
    spec = augment.CropSpec.preset("paper", size).replace(jitter_probability=1.0)
    render = jax.jit(lambda key, atlas, i: augment.render_crops(atlas, key, i, spec))
    key = jax.random.key(0)
    return lambda k: render(key, atlas, jnp.arange(batch) + k * batch).block_until_ready()


def torchvision(pixels: np.ndarray, size: int, batch: int) -> Work:
    """The authors' chain on PIL images, one process."""
    import torch
    from PIL import Image
    from torchvision import transforms as T

    torch.set_num_threads(1)
    torch.manual_seed(os.getpid())
    image = Image.fromarray(pixels)
    chain = T.Compose(
        [
            T.RandomCrop(min(image.size) // 2),
            T.RandomResizedCrop(
                math.floor(size * math.sqrt(2)), (1 / 500, 1), interpolation=T.InterpolationMode.BICUBIC
            ),
            T.RandomAffine(30, shear=(-30, 30), interpolation=T.InterpolationMode.BILINEAR),
            T.CenterCrop(size),
            T.RandomHorizontalFlip(),
            T.ColorJitter(*JITTER),
            T.PILToTensor(),
        ]
    )
    return lambda _: [chain(image) for _ in range(batch)]


def kornia(pixels: np.ndarray, size: int, batch: int) -> Work:
    """Kornia's whole chain from the resident image, which it is given as an expanded view, 8 crops at a time."""
    import torch
    from kornia import augmentation as K

    source = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255).expand(8, -1, -1, -1)
    frame = math.floor(size * math.sqrt(2))
    chain = torch.nn.Sequential(
        K.RandomResizedCrop((frame, frame), scale=(1e-3, 1.0), resample="BICUBIC", cropping_mode="slice"),
        K.RandomAffine(ROTATION, p=1.0),
        K.CenterCrop(size),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJitter(*JITTER, p=1.0),
    )
    return lambda _: chain(source)


def augmax(pixels: np.ndarray, size: int, batch: int) -> Work:
    """augmax: one affine lookup without antialiasing."""
    import augmax as A
    import jax
    import jax.numpy as jnp

    chain = A.Chain(
        A.ByteToFloat(),
        A.RandomSizedCrop(size, size, zoom_range=(0.5, 2.0)),
        A.Rotate((-ROTATION, ROTATION)),
        A.HorizontalFlip(),
        A.ColorJitter(*JITTER, p=1.0),
    )
    image = jnp.asarray(pixels)
    render = jax.jit(lambda key, image: jax.vmap(chain, (0, None))(jax.random.split(key, batch), image))
    return lambda k: render(jax.random.key(k), image).block_until_ready()


def dm_pix(pixels: np.ndarray, size: int, batch: int) -> Work:
    """dm_pix: a crop of fixed size, turned; no scales."""
    import dm_pix as pix
    import jax
    import jax.numpy as jnp

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 7)
        x = pix.random_crop(keys[0], image, (2 * size, 2 * size, 3)).astype(jnp.float32) / 255
        x = pix.rotate(x, jnp.deg2rad(jax.random.uniform(keys[1], minval=-ROTATION, maxval=ROTATION)))
        x = pix.random_flip_left_right(keys[2], x[size // 2 : -(size // 2), size // 2 : -(size // 2)])
        x = pix.random_brightness(keys[3], x, JITTER[0])
        x = pix.random_contrast(keys[4], x, 1 - JITTER[1], 1 + JITTER[1])
        x = pix.random_saturation(keys[5], x, 1 - JITTER[2], 1 + JITTER[2])
        return pix.random_hue(keys[6], x, JITTER[3])

    image = jnp.asarray(pixels)
    render = jax.jit(lambda key, image: jax.vmap(one, (0, None))(jax.random.split(key, batch), image))
    return lambda k: render(jax.random.key(k), image).block_until_ready()


_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def opencv(pixels: np.ndarray, size: int, batch: int) -> Work:
    """warpAffine on a pyramid and one colour matrix (hue as a rotation in YIQ), one process."""
    import cv2

    cv2.setNumThreads(1)
    rng = np.random.default_rng(os.getpid())
    levels = [pixels]
    while min(levels[-1].shape[:2]) > 16:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))

    def one() -> np.ndarray:
        draw = _draw(rng.random(10), pixels.shape[:2], size)
        level = int(np.clip(round(draw.octaves), 0, len(levels) - 1))
        linear = draw.matrix / 2**level
        offset = draw.centre / 2**level - 0.5 - linear @ np.full(2, (size - 1) / 2)
        crop = cv2.warpAffine(
            levels[level],
            np.column_stack([linear, offset]),
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        pivot = np.dot(cv2.mean(crop)[:3], _YIQ[0]) * draw.pivot
        return cv2.transform(crop, np.column_stack([draw.colours, np.full(3, pivot)]))

    return lambda _: np.stack([one() for _ in range(batch)])


class _draw:  # noqa: N801 (a record with one use)
    """Parameters of a crop that stays inside the source, in (x, y) order."""

    def __init__(self, u: np.ndarray, shape: tuple[int, ...], size: int):
        limits = np.array([shape[1], shape[0]], float)
        side = math.sqrt(math.exp((1 - u[0]) * math.log(1e-3)) * limits.prod())
        stretch = math.exp((u[1] - 0.5) * math.log(ASPECT))
        angle = math.radians((2 * u[2] - 1) * ROTATION)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        extent = np.array([side * stretch, side / stretch])
        box = np.abs(turn) @ extent
        shrink = min(1.0, (limits / box).min())
        self.centre = box * shrink / 2 + u[3:5] * (limits - box * shrink)
        self.matrix = turn * (extent * shrink * [1 if u[5] < 0.5 else -1, 1] / size)
        self.octaves = 0.5 * math.log2(abs(np.linalg.det(self.matrix)))
        bright, contrast, saturation = 1 + (2 * u[6:9] - 1) * JITTER[:3]
        hue = (2 * u[9] - 1) * JITTER[3] * 2 * math.pi
        cos, sin = saturation * math.cos(hue), saturation * math.sin(hue)
        chroma = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        self.colours = np.linalg.inv(_YIQ) @ chroma @ _YIQ * bright * contrast
        self.pivot = bright * (1 - contrast)


def torch(pixels: np.ndarray, size: int, batch: int, compiled: bool = False) -> Work:
    """Plain PyTorch: one grid_sample on an atlas of mip levels, one colour matrix (hue in YIQ)."""
    import torch as t
    from torch.nn import functional as F

    image = t.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    height, width = image.shape[2:]
    levels, tops = [image], [(0, 0)]
    while min(levels[-1].shape[2:]) > 16:
        top = tops[-1][0] + levels[-1].shape[2] if len(levels) > 1 else 0
        levels.append(F.avg_pool2d(levels[-1], 2))
        tops.append((top, width))
    atlas = t.zeros(1, 3, height, width + width // 2)
    for level, (top, left) in zip(levels, tops, strict=True):
        atlas[:, :, top : top + level.shape[2], left : left + level.shape[3]] = level
    corner = t.tensor([(left, top) for top, left in tops]).float()
    extent = t.tensor([(level.shape[3], level.shape[2]) for level in levels]).float()
    whole = t.tensor([atlas.shape[3], atlas.shape[2]]).float()
    limits = t.tensor([width, height]).float()
    steps = t.arange(size) - (size - 1) / 2
    grid = t.stack(t.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)
    yiq = t.from_numpy(_YIQ).float()
    back = t.linalg.inv(yiq)

    def rows(*entries: Any) -> Any:
        return t.stack(entries, -1)

    def draw() -> tuple[Any, ...]:
        u = t.rand(batch, 10)
        side = (((1 - u[:, 0]) * math.log(1e-3)).exp() * (width * height)).sqrt()
        stretch = ((u[:, 1] - 0.5) * math.log(ASPECT)).exp()
        angle = t.deg2rad((2 * u[:, 2] - 1) * ROTATION)
        cos, sin = angle.cos(), angle.sin()
        turn = rows(rows(cos, sin), rows(-sin, cos))
        size_in = rows(side * stretch, side / stretch)
        box = (turn.abs() @ size_in[..., None])[..., 0]
        shrink = (limits / box).amin(-1, keepdim=True).clamp(max=1)
        centre = box * shrink / 2 + u[:, 3:5] * (limits - box * shrink)
        flip = rows(t.where(u[:, 5] < 0.5, 1.0, -1.0), t.ones(batch))
        matrix = turn * (size_in * shrink * flip / size)[:, None]
        bright, contrast, saturation = (1 + (2 * u[:, 6:9] - 1) * t.tensor(JITTER[:3])).unbind(-1)
        hue = (2 * u[:, 9] - 1) * (JITTER[3] * 2 * math.pi)
        c, s, zero = saturation * hue.cos(), saturation * hue.sin(), t.zeros(batch)
        chroma = rows(rows(zero + 1, zero, zero), rows(zero, c, s), rows(zero, -s, c))
        colours = back @ chroma @ yiq * (bright * contrast)[:, None, None]
        return matrix, centre, colours, bright * (1 - contrast)

    def render() -> Any:
        matrix, centre, colours, pivot = draw()
        octaves = 0.5 * t.linalg.det(matrix).abs().log2()
        level = octaves.round().clamp(0, len(levels) - 1).long()
        scale = 2.0 ** -level[:, None, None].float()
        points = (grid @ matrix.transpose(1, 2) + centre[:, None]) * scale - 0.5
        points = points.clamp(min=0).minimum(extent[level][:, None] - 1) + corner[level][:, None]
        places = ((2 * points + 1) / whole - 1).reshape(1, batch, size * size, 2)
        x = F.grid_sample(atlas, places, align_corners=False)[0].transpose(0, 1)
        shift = (x.mean(2) @ yiq[0] * pivot)[:, None, None]
        return t.baddbmm(shift.expand(batch, 3, size * size), colours, x).clamp(0, 1)

    function = t.compile(render) if compiled else render

    def work(_: int) -> Any:
        with t.no_grad():
            return function()

    return work


def torch_compiled(pixels: np.ndarray, size: int, batch: int) -> Work:
    """The same through torch.compile."""
    return torch(pixels, size, batch, compiled=True)


PEERS = {f.__name__: f for f in (ours, torchvision, kornia, augmax, dm_pix, opencv, torch, torch_compiled)}


def main() -> None:
    name, size, batch, path = sys.argv[1:]
    work = PEERS[name](np.load(path), int(size), int(batch))
    common.serve(lambda k: len(work(k)))


if __name__ == "__main__":
    main()
