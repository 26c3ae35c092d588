"""Linear bases of compiled models, against products of whole spectra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthesizer.emission_models import (
    IncidentEmission,
    TotalEmission,
    TransmittedEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.galaxies.emission import EmissionFunction
from synthesizer_emulator.galaxies.linear_basis import (
    FAINTEST,
    Nodes,
    find_axis_basis,
    find_basis,
    random_sfzhs,
)
from synthesizer_emulator.galaxies.translate import compile_model

# On a grid of few ages, a basis as accurate as by default is hardly smaller.
TOLERANCE = 1e-3

MODELS = {
    "incident": lambda grid: IncidentEmission(grid),
    "transmitted": lambda grid: TransmittedEmission(grid),
    "total": lambda grid: TotalEmission(grid, dust_curve=PowerLaw(slope=-1.0)),
}
SPECTRA = jax.jit(jax.vmap(EmissionFunction.spectra, (None, 0, None)))


def galaxies(grid, n=1000, seed=5):
    """Return SFZHs that no basis was made from or checked on."""
    ages, metals = grid.log10ages, np.asarray(grid.metallicities)
    sfzhs = random_sfzhs(ages, metals, n, np.random.default_rng(seed))
    return sfzhs.reshape(n, len(ages), len(metals))


def bands(lam, width=0.2, first=0.07):
    """Return top hats other than those by which bases are chosen."""
    edges = lam[0] * np.exp(np.arange(first, np.log(lam[-1] / lam[0]), width))
    inside = (lam > edges[:-1, None]) & (lam <= edges[1:, None])
    weights = inside[inside.sum(axis=1) > 3] / lam
    return (weights / weights.sum(axis=1, keepdims=True)).T


def magnitudes(spectra, true, lam):
    """Return differences in bands that are not too faint, mag."""
    weights = bands(lam)
    flux, expected = spectra @ weights, true @ weights
    bright = expected > FAINTEST * expected.max(axis=1, keepdims=True)
    return np.abs(2.5 * np.log10(flux[bright] / expected[bright]))


@pytest.mark.slow
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_magnitudes_are_those_of_whole_spectra(native, make):
    """In other bands and galaxies than the basis was chosen by, with dust."""
    model = make(native)
    varying = {"tau_v": 1.0} if model.label == "emergent" else {}
    basis, whole = (
        compile_model(model, varying=list(varying), tolerance=t)
        for t in (TOLERANCE, 0.0)
    )
    assert basis.products[0].coefficients is not None
    sfzh = galaxies(native)
    (label,) = basis.emissions
    got, true = (
        np.asarray(SPECTRA(model, sfzh, varying)[label], np.float64)
        for model in (basis, whole)
    )
    differences = magnitudes(got, true, native._lam)
    assert np.quantile(differences, 0.999) < 2 * TOLERANCE
    assert differences.max() < 50 * TOLERANCE


@pytest.mark.slow
def test_a_larger_tolerance_needs_fewer_components(native):
    sizes = [
        len(
            compile_model(IncidentEmission(native), tolerance=t)
            .products[0]
            .spectra
        )
        for t in (1e-2, 1e-3, 1e-4)
    ]
    assert sizes == sorted(sizes) and sizes[0] < 0.8 * sizes[-1]


def test_without_tolerance_spectra_are_whole(native):
    (product,) = compile_model(IncidentEmission(native), tolerance=0).products
    assert product.coefficients is None
    np.testing.assert_array_equal(
        product.spectra,
        native.spectra["incident"].reshape(-1, native.nlam).astype("f4"),
    )


def test_a_tolerance_below_rounding_leaves_spectra_whole(native):
    model = compile_model(IncidentEmission(native), tolerance=1e-9)
    assert model.products[0].coefficients is None


@pytest.mark.parametrize("tolerance", [-1e-4, np.nan, "fine"])
def test_a_tolerance_is_a_number(native, tolerance):
    with pytest.raises(InconsistentArguments, match="tolerance must be a num"):
        compile_model(IncidentEmission(native), tolerance=tolerance)


@pytest.mark.slow
def test_gradients_are_those_of_whole_spectra(native):
    """Of the luminosity in bands, by the stars at each node."""
    weights = jnp.asarray(bands(native._lam))
    sfzh = jnp.asarray(galaxies(native, 1)[0])

    def brightest(sfzh, model):
        lnu = model.spectra(sfzh, {})["incident"] @ weights
        return jnp.log(lnu / lnu.mean()).sum()

    basis, whole = (
        jax.grad(brightest)(
            sfzh, compile_model(IncidentEmission(native), tolerance=t)
        )
        for t in (TOLERANCE, 0.0)
    )
    scale = np.abs(whole).max()
    np.testing.assert_allclose(basis, whole, atol=3e-3 * scale)


def low_rank(rank, shape, seed=1):
    """Return positive spectra at nodes that are sums of a few."""
    rng = np.random.default_rng(seed)
    n, nlam = shape
    amounts = rng.uniform(0.1, 1.0, (n, rank))
    return amounts @ rng.uniform(0.5, 2.0, (rank, nlam))


@pytest.fixture(scope="module")
def nodes():
    return Nodes.on_grid(
        np.linspace(6.0, 10.0, 9), np.geomspace(1e-4, 0.04, 4)
    )


def test_sums_of_few_spectra_are_found(nodes):
    lam = np.geomspace(1e3, 1e4, 200)
    spectra = low_rank(5, (36, 200))
    basis = find_basis(spectra, lam, nodes, 1e-4, np.float64)
    # Young and old nodes are factored separately.
    assert len(basis.components) <= 10
    np.testing.assert_allclose(
        basis.coefficients @ basis.components, spectra, rtol=1e-4
    )


def test_products_of_few_functions_of_axes_are_found(nodes):
    lam = np.geomspace(1e3, 1e4, 200)
    x = np.linspace(0.0, 1.0, 7)
    one, other = low_rank(3, (36, 200)), low_rank(2, (36, 200), seed=2)
    spectra = one + np.exp(x)[:, None, None] * other
    basis = find_axis_basis(spectra, lam, nodes, 1e-4, np.float64)
    assert basis.functions.shape[1] <= 3
    np.testing.assert_allclose(
        np.einsum(
            "nr,pq,rqk,kl->pnl",
            basis.coefficients,
            basis.functions,
            basis.core,
            basis.components,
        ),
        spectra,
        rtol=1e-4,
    )


def test_random_galaxies_have_all_histories():
    ages, metals = np.linspace(6.0, 10.0, 21), np.geomspace(1e-4, 0.04, 5)
    sfzhs = random_sfzhs(ages, metals, 2000, np.random.default_rng(0))
    np.testing.assert_allclose(sfzhs.sum(axis=1), 1.0)
    assert (sfzhs >= 0).all()
    by_age = sfzhs.reshape(2000, 21, 5).sum(axis=2)
    by_metal = sfzhs.reshape(2000, 21, 5).sum(axis=1)
    # Bursts and long histories; one metallicity and many.
    assert (by_age.max(axis=1) > 0.6).mean() > 0.02
    assert (by_age[:, 5:].min(axis=1) > 1e-4).mean() > 0.05
    assert ((by_metal > 0).sum(axis=1) <= 2).mean() > 0.4
    assert (by_metal.min(axis=1) > 1e-4).mean() > 0.05
