"""A gallery of the augmentations: what each one does to a photograph, and what is left at which scale.

    python examples/gallery.py [IMAGE [FOLDER]]

IMAGE is a path or builtin:NAME; FOLDER (runs/gallery) gets index.html and its pictures. It takes half a minute.
"""

import html
import sys
from pathlib import Path

import ssl_single_image as ssi

SIZE = 64
SCALES = {"1/4 to 1": (0.25, 1.0), "1/16 to 1/4": (1 / 16, 0.25), "1/256 to 1/64": (1 / 256, 1 / 64)}
"""Caption -> smallest and largest window, as fractions of the photograph's area."""


def main(image: str = "builtin:chelsea", folder: str = "runs/gallery") -> None:
    """Draws all pictures, and a page that shows them."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    paper = ssi.CropSpec.preset("paper", SIZE)
    everything = paper.replace(shear=20.0, vflip=0.5, blur_probability=1.0, blur_sigma=(0.5, 3.0), noise=0.05)
    plain = ssi.CropSpec(SIZE, aspect=paper.aspect)
    pictures = {
        "One augmentation at a time": ssi.show_crops(image, everything, count=12, alone=True),
        "The authors' recipe": ssi.show_crops(image, ssi.CropSpec.preset("authors", SIZE), count=24),
    }
    for caption, (low, high) in SCALES.items():
        spec = plain.replace(min_area=low, max_area=high, area_law="log")
        pictures[f"Windows of {caption} of the area"] = ssi.show_crops(image, spec, count=12)
    parts = []
    for number, (caption, picture) in enumerate(pictures.items()):
        picture.save(place / f"{number}.png")
        parts.append(f'<h2>{html.escape(caption)}</h2><img src="{number}.png" alt="">')
    title = f"Crops of {html.escape(image)}"
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{''.join(parts)}\n"
    (place / "index.html").write_text(page)
    print(place / "index.html")


if __name__ == "__main__":
    main(*sys.argv[1:])
