"""Samplers by importance, quick enough for tests of catalogues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthesizer_emulator.inference.samplers import OF_MANY, SAMPLERS
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.target import over_galaxies, stacked


class Quick:
    """A sampler by importance, which may fail or be interrupted."""

    def __init__(self):
        self.calls = 0
        self.interrupt_at = None
        self.fails = lambda target: False

    def __call__(self, target, seed=0, n_points=64, progress=False):
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        if self.fails(target):
            raise FloatingPointError("no\nconvergence")
        points = np.random.default_rng(seed).random(
            (n_points, target.dimensions)
        )
        return self.samples(points, target(points))

    @staticmethod
    def samples(points, values):
        weights = np.exp(values - values.max())
        return Samples(
            points,
            weights / weights.sum(),
            values,
            float(np.log(weights.mean()) + values.max()),
            {},
        )


@pytest.fixture
def quick(monkeypatch):
    quick = Quick()

    def sampler(target, seed=0, n_points=64, progress=False):
        return quick(target, seed, n_points, progress)

    monkeypatch.setitem(SAMPLERS, "quick", sampler)
    return quick


def at_points(log_likelihood, settings, arguments, points):
    """The likelihood of one galaxy, as samplers of many compile it."""
    return jax.vmap(log_likelihood, in_axes=(None, 0))(arguments, points)


@pytest.fixture
def together(quick, monkeypatch):
    """The same sampler, of several galaxies in one program."""
    sizes, first = [], Quick()

    def of_many(targets, seeds, n_points=64, progress=False):
        sizes.append(len(targets))
        if any(first.fails(target) for target in targets):
            raise FloatingPointError("no convergence")
        points = np.stack(
            [
                np.random.default_rng(seed).random(
                    (n_points, targets[0].dimensions)
                )
                for seed in seeds
            ]
        )
        values = over_galaxies(
            at_points,
            targets[0].function,
            targets[0].axes,
            None,
            stacked(targets),
            jnp.asarray(points, float),
        )
        return [
            quick.samples(*one)
            for one in zip(points, np.asarray(values, float), strict=True)
        ]

    monkeypatch.setitem(SAMPLERS, "together", SAMPLERS["quick"])
    monkeypatch.setitem(OF_MANY, "together", of_many)
    return first, sizes
