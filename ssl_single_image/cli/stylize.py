"""`stylize`: paints one image in the style of another, by the features of an encoder."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common, host


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments.stylizing import stylize
    from ssl_single_image.parallel import distributed

    common.no_words(args, "stylize")
    host.keep_compiled()
    distributed.check_devices()
    stylize(
        args.checkpoint,
        args.content,
        args.style,
        args.out,
        size=args.size,
        steps=args.steps,
        seed=args.seed,
        style_layers=tuple(args.style_layers),
        content_layer=args.content_layer,
        style_weight=args.style_weight,
        content_weight=args.content_weight,
        variation_weight=args.variation_weight,
        shift=args.shift,
        pooling=args.pooling,
    )


if __name__ == "__main__":
    common.run("stylize")
