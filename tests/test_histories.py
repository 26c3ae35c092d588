import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthesizer.exceptions import (
    InconsistentArguments,
    UnimplementedFunctionality,
)
from synthesizer.parametric import SFH, ZDist
from unyt import Gyr, Myr, yr

from synthesizer_emulator.galaxies.histories import (
    METAL_DISTS,
    SF_HISTS,
    bin_limits,
    native_sfzh,
    sfzh,
    stack_parameters,
)

AGES = np.concatenate([[1.0], np.geomspace(1e5, 2e10, 60)])
METALLICITIES = np.array([1e-4, 4e-4, 0.004, 0.008, 0.02, 0.05, 0.1])
BINS = np.array([[1, 3e7], [3e7, 1e8], [1e8, 1e9], [1e9, 12e9]]) * yr

HISTORIES = {
    "constant": SFH.Constant(max_age=123.4 * Myr),
    "constant, cut": SFH.Constant(max_age=3 * Gyr, min_age=33 * Myr),
    "gaussian": SFH.Gaussian(peak_age=5 * Gyr, sigma=3 * Gyr, max_age=9 * Gyr),
    "gaussian burst": SFH.Gaussian(peak_age=50 * Myr, sigma=3 * Myr),
    "exponential": SFH.Exponential(tau=1 * Gyr, max_age=10 * Gyr),
    "rising": SFH.Exponential(tau=-0.05 * Gyr, max_age=10 * Gyr),
    "truncated": SFH.TruncatedExponential(
        tau=5 * Gyr, max_age=10 * Gyr, min_age=1 * Gyr
    ),
    "declining": SFH.DecliningExponential(tau=30 * Myr, max_age=300 * Myr),
    "delayed": SFH.DelayedExponential(tau=1 * Gyr, max_age=10 * Gyr),
    "delayed, cut": SFH.DelayedExponential(
        tau=10 * Myr, max_age=1 * Gyr, min_age=3 * Myr
    ),
    "delayed, rising": SFH.DelayedExponential(tau=-1 * Gyr, max_age=10 * Gyr),
    "log-normal": SFH.LogNormal(tau=1.5, peak_age=5 * Gyr, max_age=12 * Gyr),
    "narrow log-normal": SFH.LogNormal(
        tau=0.05, peak_age=300 * Myr, max_age=1 * Gyr
    ),
    "double power law": SFH.DoublePowerLaw(
        peak_age=1 * Gyr, alpha=3.0, beta=-2.0
    ),
    "steep double power law": SFH.DoublePowerLaw(
        peak_age=300 * Myr, alpha=-300.0, beta=0.5, max_age=3 * Gyr
    ),
    "continuity": SFH.Continuity(logsfr_ratios=[0.3, -0.5, 1.0], agebins=BINS),
    "continuity, default": SFH.Continuity(),
    "continuity flex": SFH.ContinuityFlex(0.2, -0.3, [0.5, -0.2, 0.1]),
    "continuity psb": SFH.ContinuityPSB(
        0.3,
        np.array([0.1, -0.2, 0.5]),
        np.array([0.2, -0.3, 0.1, 0.4]),
        tlast=150 * Myr,
        tflex=1.7 * Gyr,
        max_age=11 * Gyr,
    ),
    "dirichlet": SFH.Dirichlet(z_fraction=[0.3, 0.6, 0.5], agebins=BINS),
}
DISTRIBUTIONS = {
    "delta": ZDist.DeltaConstant(metallicity=0.011),
    "delta on a node": ZDist.DeltaConstant(metallicity=0.008),
    "delta below": ZDist.DeltaConstant(metallicity=1e-6),
    "delta above": ZDist.DeltaConstant(log10metallicity=-0.5),
    "normal": ZDist.Normal(mean=0.01, sigma=0.005),
    "normal beyond": ZDist.Normal(mean=0.2, sigma=0.03),
}
# One of each function.
DIFFERENT = [
    "constant, cut",
    "gaussian",
    "exponential",
    "delayed, cut",
    "log-normal",
    "double power law",
    "continuity",
    "continuity flex",
    "continuity psb",
    "dirichlet",
]
ONE_METALLICITY = DISTRIBUTIONS["delta"]


def batched_sfzh(
    history, distribution, ages=AGES, metallicities=METALLICITIES
):
    sf_hist, sf_parameters = stack_parameters([history])
    metal_dist, metal_parameters = stack_parameters([distribution])
    one = jax.jit(
        lambda s, m: sfzh(ages, metallicities, sf_hist, metal_dist, s, m)
    )
    share = jax.vmap(one)(sf_parameters, metal_parameters)
    return np.asarray(share[0], np.float64)


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_histories_agree_with_synthesizer(history, double_precision):
    true = native_sfzh(AGES, METALLICITIES, history, ONE_METALLICITY)
    got = batched_sfzh(history, ONE_METALLICITY)
    # What is left is mostly quad's own error, and in the steep double
    # power law ours.
    assert np.abs(got - true).sum() < 1e-7
    assert got.sum() == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("case", [*DIFFERENT, "rising"])
def test_histories_in_single_precision(case):
    history = HISTORIES[case]
    true = native_sfzh(AGES, METALLICITIES, history, ONE_METALLICITY)
    got = batched_sfzh(history, ONE_METALLICITY)
    assert np.abs(got - true).sum() < 1e-5


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=str)
def test_distributions_agree_with_synthesizer(distribution):
    history = HISTORIES["constant"]
    true = native_sfzh(AGES, METALLICITIES, history, distribution)
    got = batched_sfzh(history, distribution)
    np.testing.assert_allclose(got.sum(0), true.sum(0), atol=1e-6)


# What forms within the grid lies so far from the peak that the rates there
# vanish in single precision, though not in Synthesizer's double one.
OLD = bin_limits(AGES)[50] * yr
FAINT = {
    "gaussian": SFH.Gaussian(
        peak_age=13 * Gyr, sigma=0.5 * Gyr, max_age=5 * Gyr
    ),
    "rising": SFH.Exponential(tau=-50 * Myr, max_age=13 * Gyr, min_age=OLD),
    "delayed": SFH.DelayedExponential(
        tau=20 * Myr, max_age=10 * Gyr, min_age=1 * Myr
    ),
    "log-normal": SFH.LogNormal(
        tau=0.05, peak_age=300 * Myr, max_age=1 * Gyr, min_age=800 * Myr
    ),
    "double power law": SFH.DoublePowerLaw(
        peak_age=100 * Myr, alpha=60.0, beta=-1.0, min_age=OLD
    ),
    "continuity": SFH.Continuity(
        logsfr_ratios=[10.0] * 6,
        agebins=np.geomspace(1e6, 1e10, 8)[[range(7), range(1, 8)]].T * yr,
        min_age=OLD,
    ),
    "continuity psb": SFH.ContinuityPSB(
        10.0,
        np.full(3, 10.0),
        np.full(4, 10.0),
        tlast=150 * Myr,
        tflex=1.7 * Gyr,
        max_age=11 * Gyr,
        min_age=OLD,
    ),
}
FAINT_DISTRIBUTIONS = {
    "above": ZDist.Normal(mean=0.2, sigma=0.005),
    "below": ZDist.Normal(mean=-0.02, sigma=0.001),
    "wide bins": ZDist.Normal(mean=0.103, sigma=0.0002),
}


def summed(rate, nodes):
    """Return the shares of bins, from many values of a rate in each."""
    limits = bin_limits(nodes)
    steps = (np.arange(1000) + 0.5) / 1000
    width = np.diff(limits)
    points = limits[:-1, None] + width[:, None] * steps
    values = np.asarray(rate(points.ravel())).reshape(points.shape)
    formed = values.mean(axis=1) / values.max() * width
    return formed / formed.sum()


@pytest.mark.parametrize("history", FAINT.values(), ids=FAINT)
def test_no_history_vanishes_in_single_precision(history):
    true = summed(history.get_sfr, AGES)
    got = batched_sfzh(history, ONE_METALLICITY).sum(axis=1)
    np.testing.assert_allclose(got, true, atol=3e-4)


@pytest.mark.parametrize(
    "distribution", FAINT_DISTRIBUTIONS.values(), ids=FAINT_DISTRIBUTIONS
)
def test_no_distribution_vanishes_in_single_precision(distribution):
    true = summed(distribution.get_dist_weight, METALLICITIES)
    got = batched_sfzh(HISTORIES["constant"], distribution).sum(axis=0)
    np.testing.assert_allclose(got, true, atol=3e-4)


SHORT_AXES = [
    (np.array([2e9]), METALLICITIES[4:5]),
    (np.array([2e9]), METALLICITIES[3:5]),
    (np.array([1e8, 5e9]), METALLICITIES[2:3]),
    (np.array([1e8, 1e9, 5e9]), METALLICITIES[2:5]),
]


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_histories_on_axes_of_few_nodes(history, double_precision):
    """However few: the coarse bins are split where the rate has steps."""
    name, parameters = stack_parameters([history])
    parameters = {k: v[0] for k, v in parameters.items()}
    formed = jax.jit(
        lambda p: [SF_HISTS[name](bin_limits(a), **p) for a, _ in SHORT_AXES]
    )(parameters)
    for masses, (ages, _) in zip(formed, SHORT_AXES, strict=True):
        true = summed(history.get_sfr, ages)
        np.testing.assert_allclose(masses / masses.sum(), true, atol=2e-3)


@pytest.mark.parametrize("axes", SHORT_AXES, ids=lambda a: str(len(a[0])))
@pytest.mark.parametrize(
    "distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS
)
def test_distributions_on_axes_of_few_nodes(distribution, axes):
    history = HISTORIES["constant, cut"]
    true = native_sfzh(*axes, history, distribution)
    got = batched_sfzh(history, distribution, *axes)
    np.testing.assert_allclose(got, true, atol=1e-5)


def test_every_history_is_tested():
    names = {type(h).__name__ for h in HISTORIES.values()}
    # `DenseBasis` needs a package that is not installed: see its own tests.
    assert names == set(SF_HISTS) - {"DenseBasis"}
    names = {type(d).__name__ for d in DISTRIBUTIONS.values()}
    assert names == set(METAL_DISTS)


def test_a_cut_just_inside_a_bin_is_not_missed():
    """Where `quad` sees nothing of the last bin."""
    limits = bin_limits(AGES)
    width = limits[41] - limits[40]
    formed = SF_HISTS["Constant"](limits, max_age=limits[40] + 0.01 * width)
    assert float(formed[40]) == pytest.approx(0.01 * width, rel=1e-3)
    assert not formed[41:].any()


def gradient_of_summary(name):
    """Return the gradient of a number that depends on all of an SFZH."""
    young = jnp.asarray(AGES < 3e7)

    def function(parameters):
        metal = {"metallicity": 0.011}
        share = sfzh(
            AGES, METALLICITIES, name, "DeltaConstant", parameters, metal
        )
        # More than the total, which is normalised away.
        return jnp.sum(share * young[:, None]) + jnp.sum(share**2)

    return jax.jit(jax.grad(function))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["log-normal", "double power law"])
def test_gradients_are_finite_in_single_precision(case):
    name, stacked = stack_parameters([HISTORIES[case]])
    gradient = gradient_of_summary(name)
    parameters = {k: jnp.asarray(v[0], float) for k, v in stacked.items()}
    for slope in gradient(parameters).values():
        assert np.isfinite(slope).all()


def test_a_history_beyond_the_grid_is_nan():
    late = {"min_age": 3e10, "max_age": 4e10}
    share = sfzh(
        AGES,
        METALLICITIES,
        "Constant",
        "DeltaConstant",
        late,
        {"metallicity": 0.01},
    )
    assert np.isnan(share).all()


def test_histories_of_many_galaxies_stack():
    taus, edges = [1.0, 2.0], [0.004, 0.02]
    name, parameters = stack_parameters(
        [SFH.DelayedExponential(tau=t * Gyr, max_age=5 * Gyr) for t in taus]
    )
    assert name == "DelayedExponential"
    np.testing.assert_allclose(parameters["tau"], [1e9, 2e9])
    np.testing.assert_allclose(parameters["max_age"], [5e9, 5e9])
    name, parameters = stack_parameters(
        [ZDist.DeltaConstant(metallicity=z) for z in edges]
    )
    np.testing.assert_allclose(parameters["metallicity"], edges)


def test_what_has_no_batched_form_goes_through_synthesizer():
    both = HISTORIES["constant"] + HISTORIES["delayed"]
    with pytest.raises(UnimplementedFunctionality, match="native_sfzh"):
        stack_parameters([both])
    share = native_sfzh(AGES, METALLICITIES, both, ONE_METALLICITY)
    assert share.shape == (len(AGES), len(METALLICITIES))
    assert share.sum() == pytest.approx(1.0)


def test_stacking_refuses_mixtures():
    with pytest.raises(InconsistentArguments, match="Constant, LogNormal"):
        stack_parameters(
            [HISTORIES["constant"], HISTORIES["narrow log-normal"]]
        )
    with pytest.raises(InconsistentArguments, match="got none"):
        stack_parameters([])
    with pytest.raises(InconsistentArguments, match="must have the same"):
        stack_parameters(
            [HISTORIES["continuity"], HISTORIES["continuity, default"]]
        )
