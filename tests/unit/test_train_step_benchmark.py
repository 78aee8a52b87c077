"""The networks that the training benchmark builds in PyTorch are the package's."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from ssl_single_image import models
from ssl_single_image.experiments import configs, pretrain_config

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import train_step
import train_step_peers


@pytest.mark.parametrize("name", sorted(models.CHAINS))
def test_layers_and_hidden_units_are_the_packages(name):
    layers = []
    trunk = models.build_backbone(name, {})
    assert trunk.slope == train_step_peers.LEAKY.get(name, 0)
    assert trunk.first_norm == (not trunk.slope)
    for layer in trunk.layers:
        layers.append((layer.features, layer.kernel, layer.stride, layer.padding))
        if layer.pool:
            window, stride, padding = (*layer.pool, 0)[:3]
            layers.append(("average" if layer.average else "max", window, stride, padding))
    assert layers == train_step_peers.LAYERS[name]
    backbone = models.BACKBONES[name]
    head = backbone.head(4, backbone.options())
    assert getattr(head, "hidden", None) == train_step_peers.HIDDEN[name]
    assert backbone.input_size == train_step_peers.SIDES[name]


@pytest.mark.parametrize("name", train_step_peers.DEEP)
def test_deep_networks_have_as_many_parameters_as_the_packages(name):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = sum(parameter.numel() for parameter in train_step_peers.torch_network(name).parameters())
    network = models.build_network(name, {"stem": "small"}, 4)
    side = train_step_peers.SIDES[name]
    variables = jax.eval_shape(
        lambda: network.init(jax.random.key(0), jnp.zeros((1, side, side, 3)), train=False)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == theirs


@pytest.mark.parametrize("name", train_step_peers.OBJECTIVES)
def test_twins_of_objectives_have_as_many_parameters_as_the_packages(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import objective_twins

    trunk, _ = train_step_peers.torch_trunk("alexnet32")
    twin = objective_twins.TWINS[name](trunk, 4, torch.channels_last)
    config = configs.read("pretrain", pretrain_config(name, preset="cifar32", image="builtin:coffee"))
    state = jax.eval_shape(config.entry.make(config.setup()).init, jax.random.key(0), None)
    assert config.entry.make(config.setup()).views == train_step_peers.OBJECTIVES[name]
    assert config.batch_size == train_step.CASES[name]
    ours = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert sum(parameter.numel() for parameter in twin.parameters()) == ours
