"""`analyse`: looks into encoders layer by layer: filters, nearest crops, similarity, ranks."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.cli.probe import references
    from ssl_single_image.experiments import preflight
    from ssl_single_image.experiments.analysing import analyse
    from ssl_single_image.parallel import distributed

    common.no_words(args, "analyse")
    distributed.check_devices()
    names = references(args.checkpoint)
    fields = {
        "data": args.data,
        "data_dir": args.data_dir or "",
        "images": args.images,
        "layers": tuple(args.layers),
        "source": args.source,
        "queries": args.queries,
        "neighbours": args.neighbours,
        "grid": args.grid,
        "seed": args.seed,
    }
    if args.dry_run:
        print(preflight.analyse(names, args.workdir, **fields))
        return
    analyse(names, args.workdir, **fields)


if __name__ == "__main__":
    common.run("analyse")
