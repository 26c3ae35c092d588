"""Digests: equal things have one, whoever asks, and others another."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck15, Planck18
from unyt import Gyr, Myr

from synthesizer_emulator.digests import digest, sketch

SLOPE = -0.7


def power(factor):
    """Return a function whose result is decided by what it closes over."""
    return lambda x: factor * x


def itself(factor):
    """Return functions that call each other."""

    def one(x):
        return other(x) * factor

    def other(x):
        return one(x) if x else 0

    return one


def of_global(x):
    return x**SLOPE


class Curve:
    """A callable with a state."""

    def __init__(self, slope):
        self.slope = slope

    def __call__(self, x):
        return x**self.slope


class Steeper(Curve):
    """Another of the same state."""

    def __call__(self, x):
        return x ** (2 * self.slope)


THINGS = {
    "numbers": [1, 1.0, 2.0, True, None, 1j, np.nan, np.inf, np.float64(3)],
    "texts": ["a", b"a", "b", np.array(["a", "b"])],
    "arrays": [
        np.ones(2), np.ones((1, 2)), np.ones(3), np.array([1.0, 1.00001]),
        np.array([1, 2]), np.array([True, False]), np.array([1.0, 0.0]),
        1.0 * Gyr, 1.0 * Myr,
    ],
    "collections": [
        (), [()], [1, [2]], [[1], 2], {}, {1: 2}, {1: 3}, {2: 1}, {"a"},
        {"b"}, {"a", "b"}, [{"a": 1, "b": 2}],
    ],
    "functions": [
        lambda x: x + 1, lambda x: x + 2, lambda x, k=1: x + k,
        lambda x, k=2: x + k, power(1), power(2), itself(1), itself(2),
        lambda x: jnp.log10(x), lambda x: jnp.exp(x), np.log10, jnp.log10,
        functools.partial(power, 1), functools.partial(power, 2),
        jax.jit(lambda x: x - 1), jax.jit(lambda x: x - 2), len, of_global,
    ],
    "objects": [
        Curve(1), Curve(2), Steeper(1), Curve, Steeper, Planck15, Planck18,
        Curve(1).__call__, Curve(2).__call__, np,
    ],
}  # fmt: skip


def test_different_objects_have_different_digests():
    every = [thing for things in THINGS.values() for thing in things]
    digests = [digest(thing) for thing in every]
    assert len(set(digests)) == len(digests)
    assert [digest(thing) for thing in every] == digests


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.1 + 0.2, 0.3),
        (np.array([1.0, 2.0]), jnp.array([1.0, 2.0])),
        (np.linspace(1, 2, 100), np.linspace(1, 2, 100) * (1 + 3e-16)),
        (0.0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (power(1), power(1)),
        (itself(3), itself(3)),
        (Curve(1), Curve(1)),
        ([Curve(1)] * 2, [Curve(1), Curve(1)]),
    ],
)
def test_equal_objects_have_equal_digests(one, other):
    assert digest(one) == digest(other)


def test_a_function_is_what_it_refers_to(monkeypatch):
    before = digest(of_global)
    monkeypatch.setitem(globals(), "SLOPE", -0.8)
    assert digest(of_global) != before


def test_numbers_count_to_six_digits():
    values = np.random.default_rng(0).lognormal(size=1000)
    assert digest(values * (1 + 1e-4)) != digest(values)
    changed = values.copy()
    changed[500] *= 1 + 3e-6
    assert digest(changed) != digest(values)
    # As two machines may compute them.
    rng = np.random.default_rng(1)
    noise = 1 + 4e-16 * rng.uniform(-1, 1, 1000)
    assert digest(values * noise) == digest(values)


def test_sketches_forgive_what_single_precision_does():
    rng = np.random.default_rng(0)
    values = 10.0 ** rng.uniform(-10, 20, (500, 100))
    noise = 1 + 1e-7 * rng.uniform(-1, 1, values.shape)
    assert sketch(values * noise) == sketch(values)
    assert sketch(1.003 * values) != sketch(values)
    assert sketch(values.T) != sketch(values)
    assert len(sketch(np.ones(3))) == 4


_OTHER = """
import test_digests as here
print(*(here.digest(t) for ts in here.THINGS.values() for t in ts))
"""


@pytest.mark.slow
def test_digests_agree_between_processes():
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", _OTHER],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    here = [digest(thing) for things in THINGS.values() for thing in things]
    assert done.stdout.split() == here
