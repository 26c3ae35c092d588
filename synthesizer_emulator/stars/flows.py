"""Conditional normalising flows by name, of flowjax's bijections.

A flow maps points of a standard normal distribution to stars, given the
conditions of a galaxy, all scaled.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.bijections import (
    AbstractBijection,
    Affine,
    Chain,
    Coupling,
    Invert,
    Loc,
    MaskedAutoregressive,
    Permute,
    Scan,
    TriangularAffine,
)
from flowjax.distributions import StandardNormal, Transformed
from flowjax.flows import block_neural_autoregressive_flow
from jax import Array

from synthesizer_emulator.architectures.networks import ACTIVATIONS
from synthesizer_emulator.stars.splines import Spline
from synthesizer_emulator.validation import (
    check_choice,
    check_keys,
    check_number,
    check_whole,
)

MIXINGS = ("permutation", "linear")


@dataclass(frozen=True)
class FlowConfig:
    """The settings of a flow.

    The set-up of GalacticFlow is `FlowConfig(layers=16, width=128, depth=4)`.

    Attributes:
        kind (str): The family, a key of `FLOWS`: `spline` (neural spline
            coupling, Durkan et al. 2019, arXiv:1906.04032), `autoregressive`
            (masked affine, Papamakarios et al. 2017, arXiv:1705.07057),
            `nice` (additive coupling with scales, Dinh et al. 2014,
            arXiv:1410.8516), or `block_autoregressive` (De Cao et al. 2019,
            arXiv:1904.04676), which like splines can fit any density.
        layers (int): The number of layers.
        width (int): The width of the hidden layers of each network. Those of
            `block_autoregressive` have this width for each variable.
        depth (int): The number of the hidden layers.
        bins (int): The number of bins of splines.
        bound (float): Where splines become linear, in standard deviations.
        mixing (str): What mixes the variables between layers: a random
            `permutation`, or a `linear` map and a permutation.
        activation (str): The activation, such as `relu` or `silu`.
    """

    kind: str = "spline"
    layers: int = 8
    width: int = 64
    depth: int = 2
    bins: int = 10
    bound: float = 3.0
    mixing: str = "permutation"
    activation: str = "silu"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is unknown or out of range.
        """
        check_choice("kind", self.kind, tuple(FLOWS))
        check_whole("layers", self.layers, 1, 100)
        check_whole("width", self.width, 1, 4096)
        check_whole("depth", self.depth, 1, 20)
        check_whole("bins", self.bins, 2, 100)
        check_number("bound", self.bound, 0.0, 100.0, True)
        check_choice("mixing", self.mixing, MIXINGS)
        check_choice("activation", self.activation, tuple(ACTIVATIONS))


def flow_config(kind: str, settings: Mapping[str, Any]) -> FlowConfig:
    """Return the settings of a flow, of which some differ from the defaults.

    Raises:
        InconsistentArguments: If one is unknown or out of range.
    """
    names = [f.name for f in fields(FlowConfig) if f.name != "kind"]
    check_keys("The settings of a flow", dict(settings), (), names)
    return FlowConfig(kind, **settings)


def build_flow(
    config: FlowConfig, variables: int, conditions: int, key: Array
) -> Transformed:
    """Return an untrained flow.

    Args:
        config (FlowConfig): The settings.
        variables (int): The number of variables of a star, at least 2.
        conditions (int): The number of conditions, at least 1.
        key (Array): The random key of the initial values.

    Returns:
        Transformed: The distribution of scaled stars, given scaled
            conditions.
    """
    return FLOWS[config.kind](config, variables, conditions, key)


def _spline(
    config: FlowConfig, variables: int, conditions: int, key: Array
) -> Transformed:
    """Return a flow of coupling layers with splines."""
    spline = Spline(config.bins, config.bound)
    return _stacked(config, variables, conditions, key, spline, Coupling)


def _nice(
    config: FlowConfig, variables: int, conditions: int, key: Array
) -> Transformed:
    """Return a flow of additive coupling layers, then a scaling."""
    shift = Loc(jnp.zeros(()))
    return _stacked(config, variables, conditions, key, shift, Coupling)


def _autoregressive(
    config: FlowConfig, variables: int, conditions: int, key: Array
) -> Transformed:
    """Return a flow of masked autoregressive layers."""
    return _stacked(
        config, variables, conditions, key, Affine(), MaskedAutoregressive
    )


def _block_autoregressive(
    config: FlowConfig, variables: int, conditions: int, key: Array
) -> Transformed:
    """Return a flow of block neural autoregressive layers."""
    return block_neural_autoregressive_flow(
        key,
        base_dist=StandardNormal((variables,)),
        cond_dim=conditions,
        nn_depth=config.depth,
        nn_block_dim=config.width,
        flow_layers=config.layers,
    )


def _stacked(
    config: FlowConfig,
    variables: int,
    conditions: int,
    key: Array,
    transformer: AbstractBijection,
    layer: Callable[..., AbstractBijection],
) -> Transformed:
    """Return a flow of equal layers with mixing between them.

    The layers map from stars to the normal distribution, which is the
    direction of training.
    """
    options = {}
    if layer is Coupling:
        options["untransformed_dim"] = variables // 2

    def mixed_layer(key: Array) -> AbstractBijection:
        first, second, third = jax.random.split(key, 3)
        steps = [
            layer(
                first,
                transformer=transformer,
                dim=variables,
                cond_dim=conditions,
                nn_width=config.width,
                nn_depth=config.depth,
                nn_activation=ACTIVATIONS[config.activation],
                **options,
            ),
            Permute(jax.random.permutation(second, variables)),
        ]
        if config.mixing == "linear":
            noise = 0.01 * jax.random.normal(third, (variables, variables))
            triangle = jnp.eye(variables) + noise
            steps.append(TriangularAffine(jnp.zeros(variables), triangle))
        return Chain(steps)

    layers = eqx.filter_vmap(mixed_layer)(jax.random.split(key, config.layers))
    # A learnt scale, without which additive layers keep volumes.
    scale = Affine(jnp.zeros(variables), jnp.ones(variables))
    bijection = Invert(Chain([Scan(layers), scale]))
    return Transformed(StandardNormal((variables,)), bijection)


FLOWS: dict[str, Callable[[FlowConfig, int, int, Array], Transformed]] = {
    "spline": _spline,
    "autoregressive": _autoregressive,
    "nice": _nice,
    "block_autoregressive": _block_autoregressive,
}
