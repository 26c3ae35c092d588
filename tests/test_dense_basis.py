"""`DenseBasis` histories against Synthesizer's with the package dense_basis.

The package is large and needs versions of NumPy and setuptools that are older
than ours, so its results are written down here.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.galaxies.histories import (
    SF_HISTS,
    bin_limits,
    plain_parameters,
    sfzh,
)

# The limits of the bins of age, yr, of the masses below.
LIMITS = np.array([0.0, 1e7, 3e7, 1e8, 3e8, 1e9, 2e9, 4e9, 1.4e10])

# `db_tuple`, redshift, and the fractions of the mass in the bins, integrated
# exactly from the star formation rates of Synthesizer 1.3.1 with dense_basis
# 0.1.9 and george 0.4.4.
TRUE = {
    "steady": (
        (10.0, 0.3, 3, 0.25, 0.5, 0.75),
        1.0,
        [
            0.0020008889,
            0.0040192896,
            0.014066787,
            0.039097332,
            0.12033322,
            0.17072013,
            0.34036394,
            0.30939841,
        ],
    ),
    "bursting": (
        (9.0, 1.0, 3, 0.5, 0.7, 0.9),
        2.0,
        [
            0.087481776,
            0.098919316,
            0.19524111,
            0.026554116,
            0.32019237,
            0.15764572,
            0.11396559,
            0.0,
        ],
    ),
    "quenched": (
        (11.0, -1.0, 3, 0.1, 0.2, 0.4),
        0.1,
        [
            9.6464404e-06,
            1.9030234e-05,
            7.2284644e-05,
            0.00019166236,
            0.003999712,
            0.016109338,
            0.059685373,
            0.91991295,
        ],
    ),
    "five times": (
        (8.5, 0.1, 5, 0.2, 0.35, 0.5, 0.72, 0.93),
        5.0,
        [
            0.039324677,
            0.059243948,
            0.082395779,
            0.13807075,
            0.59926731,
            0.081697542,
            0.0,
            0.0,
        ],
    ),
    "two times": (
        (10.5, 1.2, 2, 0.3, 0.8),
        0.5,
        [
            0.0050415969,
            0.010105607,
            0.034621376,
            0.084077455,
            0.15717338,
            0.053586834,
            0.11087543,
            0.54451832,
        ],
    ),
    "late": (
        (10.0, 1.9, 4, 0.3, 0.5, 0.85, 0.95),
        6.0,
        [
            0.072999587,
            0.086751688,
            0.16308952,
            0.22200713,
            0.45515208,
            0.0,
            0.0,
            0.0,
        ],
    ),
    "dead": (
        (9.5, -8.0, 3, 0.2, 0.4, 0.8),
        3.0,
        [
            2.9286079e-11,
            5.0525846e-05,
            0.0064865534,
            0.13784203,
            0.3011975,
            0.53739764,
            0.017025749,
            0.0,
        ],
    ),
}


def fractions(db_tuple, redshift):
    masses = SF_HISTS["DenseBasis"](LIMITS, db_tuple, redshift)
    return masses / masses.sum()


def check(db_tuple, redshift, expected, tolerance):
    got = np.asarray(jax.jit(fractions)(jnp.array(db_tuple), redshift))
    assert np.abs(got - expected).sum() < tolerance
    used = np.array(expected) > 1e-6
    np.testing.assert_allclose(
        got[used], np.array(expected)[used], rtol=10.0 * tolerance
    )


@pytest.mark.parametrize(
    ("db_tuple", "redshift", "expected"), TRUE.values(), ids=TRUE
)
def test_histories_are_synthesizers(
    db_tuple, redshift, expected, double_precision
):
    check(db_tuple, redshift, expected, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("db_tuple", "redshift", "expected"), TRUE.values(), ids=TRUE
)
def test_histories_in_single_precision(db_tuple, redshift, expected):
    check(db_tuple, redshift, expected, 5e-4)


@pytest.mark.slow
def test_many_galaxies_at_once():
    """And within the ages of a grid, as an outer product."""
    ages = np.geomspace(1e6, 1.2e10, 40)
    galaxies = [TRUE[name] for name in ("steady", "quenched", "dead")]
    tuples = jnp.array([g[0] for g in galaxies])
    redshifts = jnp.array([g[1] for g in galaxies])

    def share(db_tuple, redshift):
        return sfzh(
            ages,
            np.array([0.01, 0.02]),
            "DenseBasis",
            "DeltaConstant",
            {"db_tuple": db_tuple, "redshift": redshift},
            {"metallicity": 0.02},
        )

    shares = np.asarray(jax.jit(jax.vmap(share))(tuples, redshifts))
    assert shares.shape == (3, 40, 2)
    np.testing.assert_allclose(shares.sum((1, 2)), 1.0, rtol=1e-5)
    assert (shares >= 0.0).all()
    # Younger than 1e9 yr, up to the bin in which this age falls.
    young = bin_limits(ages)[1:] <= 1e9
    for i, (_, _, expected) in enumerate(galaxies):
        assert shares[i, young].sum() < sum(expected[:5]) * (1.0 + 1e-3)


def test_histories_have_derivatives(double_precision):
    db_tuple, redshift, _ = TRUE["five times"]
    point = np.array([*db_tuple, redshift])

    @jax.jit
    @partial(jax.jacrev, has_aux=True)
    def slopes_and_values(point):
        formed = fractions(point[:-1], point[-1])
        return formed, formed

    slopes, _ = slopes_and_values(point)
    for i in (0, 1, 3, 4, 5, 6, 7):
        step = 1e-5 * (np.arange(len(point)) == i)
        _, above = slopes_and_values(point + step)
        _, below = slopes_and_values(point - step)
        rise = above - below
        np.testing.assert_allclose(
            slopes[:, i], rise / 2e-5, rtol=1e-4, atol=1e-6
        )


@pytest.mark.slow
def test_gradients_in_single_precision_are_finite():
    for name in ("late", "two times"):
        db_tuple, redshift, _ = TRUE[name]
        slopes = jax.jit(jax.jacrev(fractions, (0, 1)))(
            jnp.array(db_tuple), redshift
        )
        assert all(np.isfinite(x).all() for x in slopes)


@pytest.mark.parametrize("wrong", [(10.0, 0.3), 10.0, [[10.0, 0.3, 1, 0.5]]])
def test_tuples_of_the_wrong_shape_are_refused(wrong):
    with pytest.raises(
        InconsistentArguments, match=r"db_tuple must be .* got the shape"
    ):
        fractions(wrong, 1.0)


def test_the_number_of_times_must_be_that_of_the_tuple():
    wrong = (10.0, 0.3, 3, 0.25, 0.5)
    for refused in (
        lambda: fractions(wrong, 1.0),
        # Of many galaxies, before they are traced.
        lambda: plain_parameters(
            SF_HISTS, "DenseBasis", {"db_tuple": np.array([wrong] * 4)}
        ),
    ):
        with pytest.raises(InconsistentArguments, match=r"says 3 .* 2 times"):
            refused()
