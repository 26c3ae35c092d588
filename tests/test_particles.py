"""Particles evaluated at their own place, against brute force."""

import jax
import numpy as np
import pytest
from synthesizer.emission_models import (
    BimodalPacmanEmission,
    IncidentEmission,
    NebularEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.exceptions import (
    InconsistentArguments,
    MissingLines,
    UnimplementedFunctionality,
)
from synthesizer.parametric import SFH, ZDist
from synthesizer.parametric import Stars as ParametricStars
from synthesizer.particle import Stars
from unyt import Msun, Myr, angstrom, km, s, yr

from synthesizer_emulator import EmulatedGrid, extract_directly

N = 40

# Synthesizer says which models it makes by itself.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def particles(ages, metallicities):
    """Return star particles with masses, velocities and optical depths."""
    rng = np.random.default_rng(5)
    n = len(ages)
    return Stars(
        initial_masses=rng.uniform(1e5, 1e6, n) * Msun,
        ages=ages * yr,
        metallicities=metallicities,
        velocities=rng.normal(0, 300, (n, 3)) * km / s,
        tau_v=rng.uniform(0, 1, n),
        redshift=0.0,
    )


@pytest.fixture(scope="module")
def anywhere():
    """Return particles between the nodes, and some beyond the axes."""
    rng = np.random.default_rng(3)
    ages = 10 ** rng.uniform(6.0, 10.1, N)
    metallicities = 10 ** rng.uniform(-3.5, -1.4, N)
    ages[0], metallicities[1], metallicities[2] = 4e10, 1e-6, 0.5
    return particles(ages, metallicities)


@pytest.fixture(scope="module")
def on_nodes(emulated):
    """Return particles at nodes, where both ways have to agree."""
    rng = np.random.default_rng(4)
    return particles(
        rng.choice(emulated._ages[:40], N),
        rng.choice(emulated._metallicities, N),
    )


def one_by_one(grid, stars, name):
    """Return the spectra of particles (n, nlam), each by itself."""
    domain = grid.emulator.coordinates.domain
    spectra = []
    for mass, age, metallicity in zip(
        stars._initial_masses, stars._ages, stars.metallicities, strict=True
    ):
        point = [
            np.clip(value, axis.low, axis.high)
            for value, axis in zip((age, metallicity), domain, strict=True)
        ]
        lnu = grid.emulator.spectrum(name, np.array(point))
        spectra.append(mass * np.asarray(lnu, np.float64))
    return np.array(spectra)


def assert_close(got, true, rtol=3e-4):
    """Compare spectra, faint pixels to the peak."""
    got, true = np.asarray(got), np.asarray(true)
    assert got.shape == true.shape
    peak = true.max(-1, keepdims=True)
    assert (np.abs(got - true) <= rtol * (true + 1e-4 * peak)).all()


@pytest.mark.slow
def test_each_particle_is_asked_at_its_own_place(emulated, anywhere):
    true = one_by_one(emulated, anywhere, "incident")
    model = extract_directly(IncidentEmission(emulated))
    assert_close(anywhere.get_spectra(model).lnu, true.sum(0))
    model.set_per_particle(True)
    anywhere.get_spectra(model)
    assert_close(anywhere.particle_spectra["incident"].lnu, true)
    assert_close(anywhere.spectra["incident"].lnu, true.sum(0))
    anywhere.clear_all_emissions()


@pytest.mark.slow
def test_masks_choose_particles(emulated, anywhere):
    true = one_by_one(emulated, anywhere, "nebular")
    model = NebularEmission(emulated, label="young")
    young = anywhere.ages.to("Myr").value < 10
    model.add_mask("ages", "<", 10 * Myr, set_all=True)
    found = anywhere.get_spectra(extract_directly(model)).lnu
    assert 0 < young.sum() < N
    assert_close(found, true[young].sum(0))
    model.add_mask("ages", ">", 20 * Myr, set_all=True)
    assert not anywhere.get_spectra(extract_directly(model)).lnu.any()
    anywhere.clear_all_emissions()


MODELS = {
    "incident": IncidentEmission,
    "nebular": NebularEmission,
    "total": lambda grid, **kwargs: TotalEmission(
        grid,
        dust_curve=PowerLaw(slope=-0.7),
        tau_v="tau_v",
        fesc=0.3,
        **kwargs,
    ),
    "bimodal pacman": lambda grid, **kwargs: BimodalPacmanEmission(
        grid,
        tau_v_ism=0.4,
        tau_v_birth=1.0,
        dust_curve_ism=PowerLaw(slope=-0.7),
        dust_curve_birth=PowerLaw(slope=-1.3),
        **kwargs,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "per_particle"),
    [
        ("incident", False),
        ("incident", True),
        ("nebular", False),
        ("bimodal pacman", False),
        # The optical depths are those of particles.
        ("total", True),
    ],
)
def test_at_the_nodes_it_is_synthesizers_extraction(
    emulated, on_nodes, name, per_particle
):
    model = MODELS[name](emulated)
    model.set_per_particle(per_particle)
    expected = on_nodes.get_spectra(model)
    every = dict(on_nodes.spectra)
    each = dict(on_nodes.particle_spectra)
    on_nodes.clear_all_emissions()
    found = on_nodes.get_spectra(extract_directly(model))
    assert_close(found.lnu, expected.lnu)
    assert set(on_nodes.spectra) == set(every)
    for label, sed in every.items():
        assert_close(on_nodes.spectra[label].lnu, sed.lnu)
    for label, sed in each.items():
        assert_close(on_nodes.particle_spectra[label].lnu, sed.lnu)
    on_nodes.clear_all_emissions()


@pytest.mark.parametrize("per_particle", [False, True])
def test_velocities_shift_as_synthesizer_shifts(
    emulated, on_nodes, per_particle
):
    model = IncidentEmission(emulated, vel_shift=True)
    model.set_per_particle(per_particle)
    expected = on_nodes.get_spectra(model)
    on_nodes.clear_all_emissions()
    found = on_nodes.get_spectra(extract_directly(model))
    assert_close(found.lnu, expected.lnu)
    assert found.vel_shifted
    still = on_nodes.get_spectra(extract_directly(IncidentEmission(emulated)))
    assert np.abs(still.lnu / found.lnu - 1).max() > 1e-3
    on_nodes.clear_all_emissions()


@pytest.mark.slow
def test_lines(emulated, on_nodes):
    ids = ["H 1 4861.32A", "H 1 6562.80A,N 2 6583.45A"]
    for per_particle in (False, True):
        model = MODELS["total"](emulated)
        model.set_per_particle(per_particle)
        if not per_particle:
            model = NebularEmission(emulated)
        expected = on_nodes.get_lines(ids, model)
        on_nodes.clear_all_emissions()
        found = on_nodes.get_lines(ids, extract_directly(model))
        np.testing.assert_array_equal(found.line_ids, expected.line_ids)
        for name in ("luminosity", "continuum"):
            np.testing.assert_allclose(
                getattr(found, name).to_value(getattr(expected, name).units),
                getattr(expected, name),
                rtol=1e-4,
            )
        on_nodes.clear_all_emissions()
    direct = extract_directly(NebularEmission(emulated))
    with pytest.raises(MissingLines, match="X 1 1A"):
        on_nodes.get_lines(["X 1 1A"], direct)
    with pytest.raises(UnimplementedFunctionality, match="no width"):
        on_nodes.get_lines(
            ids, extract_directly(NebularEmission(emulated, vel_shift=True))
        )


def test_parametric_stars_stay_at_the_nodes(emulated):
    stars = ParametricStars(
        emulated.log10ages,
        emulated.metallicities,
        sf_hist=SFH.Constant(max_age=50 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e8 * Msun,
    )
    model = NebularEmission(emulated)
    expected = stars.get_spectra(model).lnu
    lines = stars.get_lines(["H 1 6562.80A"], model).luminosity
    direct = extract_directly(model)
    np.testing.assert_array_equal(stars.get_spectra(direct).lnu, expected)
    np.testing.assert_allclose(
        stars.get_lines(["H 1 6562.80A"], direct).luminosity, lines, rtol=1e-12
    )


def test_it_works_on_other_wavelengths_and_nothing_is_evaluated(anywhere):
    grid = EmulatedGrid.example(
        new_lam=np.geomspace(3000, 8000, 50) * angstrom, ignore_lines=True
    )
    model = extract_directly(IncidentEmission(grid))
    found = anywhere.get_spectra(model).lnu
    assert found.shape == (50,)
    assert not grid.spectra.evaluated
    full = EmulatedGrid.example(ignore_lines=True)
    fine = anywhere.get_spectra(
        extract_directly(IncidentEmission(full))
    ).get_resampled_sed(new_lam=grid.lam)
    assert_close(found, fine.lnu)
    anywhere.clear_all_emissions()


def test_any_number_of_particles_needs_few_compilations(caplog):
    """One for the latents; for the fluxes of a few, and of many, each one."""
    new_lam = np.geomspace(3000, 8000, 30) * angstrom
    grid = EmulatedGrid.example(new_lam=new_lam, ignore_lines=True)
    model = extract_directly(IncidentEmission(grid))
    rng = np.random.default_rng(6)

    def compiled(*numbers):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level("WARNING"):
            for n in numbers:
                stars = particles(
                    10 ** rng.uniform(6, 10, n), 10 ** rng.uniform(-3, -1.5, n)
                )
                stars.get_spectra(model)
        return [m for m in caplog.messages if m.startswith("Compiling")]

    # Others pick the wavelengths out.
    first = [m for m in compiled(1, 300) if "code)" in m.split(" with ")[0]]
    assert 1 <= len(first) <= 3
    assert not compiled(2, 3, 6, 12, 25, 50, 100, 200, 700, 1100)


def test_the_model_itself_is_left_alone(emulated, on_nodes):
    model = MODELS["total"](emulated)
    labels = set(model._models)
    direct = extract_directly(model)
    assert set(direct._models) == labels
    assert any(m._is_extracting for m in model._models.values())
    assert not any(m._is_extracting for m in direct._models.values())


def test_without_an_emulated_grid_there_is_nothing_to_do(native):
    with pytest.raises(InconsistentArguments, match="pass one as its grid"):
        extract_directly(IncidentEmission(native))
