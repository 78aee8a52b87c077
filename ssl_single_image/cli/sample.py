"""`sample`: draws labelled crops beside their source, as the network sees them, or exports crops as files."""

from __future__ import annotations

from absl import flags, logging

from ssl_single_image.cli import common
from ssl_single_image.errors import InputError


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image import images
    from ssl_single_image.experiments import cropping, presets
    from ssl_single_image.images import builtin, synthetic
    from ssl_single_image.parallel import distributed

    common.no_words(args, "sample")
    distributed.check_devices()
    lists = {builtin.PREFIX + "list": _list_of_photographs, synthetic.PREFIX + "list": _list_of_synthetic}
    if args.image in lists:
        print(lists[args.image]())
        return
    if bool(args.out) == bool(args.export):
        raise InputError(
            "--out and --export: give one of them"
            if args.out
            else "--out: missing; give the image file to write, or --export and a folder for the crops"
        )
    defaults = cropping.crop_spec(args.preset, args.size).to_config()
    spec = cropping.crop_spec(args.preset, args.size, presets.parse_arg(args.crop, **defaults).to_dict())
    if args.export:
        cropping.export_crops(
            args.image,
            args.export,
            args.count,
            spec,
            seed=args.seed,
            form=args.format,
            max_pixels=args.max_pixels,
            data_dir=args.data_dir or "",
            shrink=args.shrink,
        )
        logging.info("%d crops are in %s", args.count, args.export)
        return
    images.image_format(args.out)
    sheet = cropping.show_crops(
        args.image,
        spec,
        count=args.count,
        seed=args.seed,
        scale=args.scale,
        alone=args.alone,
        title=f"preset {args.preset}, ",
        max_pixels=args.max_pixels,
        data_dir=args.data_dir or "",
        shrink=args.shrink,
    )
    cropping.save_crops(sheet, args.image, args.out)
    logging.info("wrote %s (%d x %d pixels)", args.out, sheet.width, sheet.height)


def _list_of_photographs() -> str:
    from tabulate import tabulate

    from ssl_single_image.images import builtin

    rows = [
        (builtin.PREFIX + p.name, f"{p.height} x {p.width}", p.kind, p.licence)
        for p in builtin.PHOTOGRAPHS.values()
    ]
    return tabulate(rows, headers=("name", "height x width", "kind", "licence"))


def _list_of_synthetic() -> str:
    from ssl_single_image.cli import listing
    from ssl_single_image.images import synthetic

    rows = [
        (synthetic.PREFIX + name, f"{synthetic.SIZE} x {synthetic.SIZE}", synthetic.meaning(name))
        for name in synthetic.KINDS
    ]
    return listing.table(rows, ("name", "height x width", "what it is")) + f"\n\nGiven as {synthetic.FORM}"


if __name__ == "__main__":
    common.run("sample")
