import numpy as np
import pytest

from synthesizer_emulator.architectures import basis as basis_module
from synthesizer_emulator.architectures.basis import principal_components
from synthesizer_emulator.architectures.rounding import (
    common_units,
    round_table,
    round_to_int16,
)

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True, params=["exact", "leading directions"])
def way(request, monkeypatch):
    """Find all directions, or as of a large matrix only the leading ones."""
    if request.param != "exact":
        monkeypatch.setattr(basis_module, "EXACT_UP_TO", 3)
        monkeypatch.setattr(basis_module, "SPARE_DIRECTIONS", 5)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40)])
def test_components_are_those_of_the_singular_value_decomposition(shape):
    samples = RNG.normal(size=shape) @ np.diag(0.8 ** np.arange(shape[1]))
    basis = principal_components(samples, np.ones(shape[1]), 10, 0.0)
    _, _, rows = np.linalg.svd(samples - samples.mean(0), full_matrices=False)
    overlap = np.abs(np.sum(basis.components * rows[:10], axis=1))
    np.testing.assert_allclose(overlap, 1.0, atol=1e-6)


def test_weights_decide_what_is_kept():
    samples = RNG.normal(size=(50, 30))
    weights = np.where(np.arange(30) < 15, 1.0, 1e-3)
    basis = principal_components(samples, weights, 15, 0.0)
    rebuilt = basis.mean + basis.coefficients(samples) @ basis.components
    error = np.abs(rebuilt - samples)
    assert error[:, :15].max() < 1e-2
    assert error[:, 15:].max() > 0.1


def test_no_more_components_than_the_tolerance_asks_for():
    samples = RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 40))
    samples += 1e-6 * RNG.normal(size=samples.shape)
    basis = principal_components(samples, np.ones(40), 30, 1e-4)
    assert len(basis.components) == 5


def test_equal_samples_give_a_basis_too():
    basis = principal_components(np.ones((5, 8)), np.ones(8), 3, 0.0)
    rebuilt = basis.mean + basis.coefficients(np.ones((5, 8))) @ (
        basis.components
    )
    np.testing.assert_allclose(rebuilt, 1.0)


def test_rounding_to_int16_is_exact_the_second_time():
    matrix = RNG.normal(size=(7, 100)) * np.geomspace(1e-6, 1e3, 7)[:, None]
    once = round_to_int16(matrix)
    np.testing.assert_array_equal(round_to_int16(once), once)
    scale = np.abs(matrix).max(axis=1, keepdims=True)
    assert np.max(np.abs(once - matrix) / scale) < 1 / 32767


def test_a_rounded_table_counts_in_powers_of_two():
    rng = np.random.default_rng(1)
    scale = np.array([100.0, 1.0, 1e-3])
    table = rng.normal(size=(20, 5, 3)) * scale
    metric = np.array([10.0, 1.0, 1.0])
    rounded = round_table(table, metric, 1e-4)
    assert (np.abs(rounded - table) <= 0.5e-4 / metric).all()
    rounded = rounded.astype(np.float32)
    units = common_units(rounded)
    np.testing.assert_array_equal(np.log2(units) % 1, 0.0)
    np.testing.assert_array_equal((rounded / units) % 1, 0.0)
    assert (units <= 1e-4 / metric).all()
    np.testing.assert_array_equal(common_units(np.zeros((2, 3))), 2.0**127)
