"""A quick look at the encoder while it is trained: ridge probes on a part of a labelled set."""

from __future__ import annotations

from collections.abc import Mapping

import jax

from ssl_single_image import datasets, models, probes
from ssl_single_image.experiments.settings import PretrainConfig
from ssl_single_image.images import builtin
from ssl_single_image.probes import measures, summary
from ssl_single_image.runs import LoadedEncoder, progress
from ssl_single_image.types import EncoderVariables

BATCH = 250
MAX_FEATURES = 768
"""Of a layer, or one of each channel where that is more: enough to see it move, and solved in a second."""


class QuickProbe:
    """Top-1 accuracies, or mAP on a multi-label set, of all layers of the encoders of one run.

    The labels have no way back into the run: its parameters have the same bits as without the probe.
    """

    def __init__(self, settings: PretrainConfig):
        """Loads the data, so that what is wrong with them is said before training.

        Raises:
          InputError: there is no such set, or it can't be probed.
        """
        size = settings.encoder.size
        self._data = datasets.load(
            settings.probe_dataset,
            data_dir=settings.data_dir or None,
            size=size,
            exclude=builtin.names_in(settings.source),
            multi_label=None,
        )
        images = settings.probe_images
        shapes = models.activation_shapes(settings.encoder)
        self._config = probes.ProbeConfig(
            dataset=settings.probe_dataset,
            kind="ridge",
            size=size,
            batch_size=_batch_size(min(images or BATCH, len(self._data.train))),
            max_features=max(MAX_FEATURES, *(channels for _, _, channels in shapes.values())),
            train_images=images,
            test_images=-(-images // 2),
        )
        self._programs: dict[str, probes.Program] = {}
        self._program(EncoderVariables(settings.encoder, {}, {}))

    def __call__(self, encoders: Mapping[str, EncoderVariables]) -> dict[str, float]:
        """Encoders by name -> "top1_LAYER" in percent; "NAME_top1_LAYER" of those that have a name.

        On a multi-label set "mAP" stands for "top1".
        """
        found = {}
        for name, encoder in encoders.items():
            with progress.silent():
                answers = self._program(encoder).run(LoadedEncoder(name or "encoder", 0, encoder, {}))
            main = measures.of(answers.label).main
            prefix = f"{name}_{main}" if name else main
            for layer, values in summary.layers(answers, len(self._data.classes)).items():
                found[f"{prefix}_{layer}"] = values[main]
        return found

    def _program(self, encoder: EncoderVariables) -> probes.Program:
        """That of the encoder's spec, made once."""
        key = repr(encoder.spec)
        if key not in self._programs:
            plan = probes.make_plan([LoadedEncoder("encoder", 0, encoder, {})], self._data, self._config)
            self._programs[key] = probes.find(self._config.kind).make(plan, plan.setups[0])
        return self._programs[key]


def _batch_size(most: int) -> int:
    """The largest one of up to `most` images that splits over all devices."""
    devices = jax.device_count()
    return max(1, min(BATCH, most) // devices) * devices
