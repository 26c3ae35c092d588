"""Grids on other axes than those of the weights."""

import numpy as np
import pytest
from conftest import hand_over
from scipy.interpolate import RegularGridInterpolator
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments
from synthesizer.grid import Grid
from synthesizer.particle import Stars
from unyt import Msun, Myr, yr

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.emulator.scaling import AxisDomain
from synthesizer_emulator.grid.refine import at_points, on_mesh, scaled_nodes

AGES = np.array([2.0, 5.0, 30.0, 800.0])


@pytest.mark.slow
def test_refined_axes_keep_the_nodes_and_put_others_between(emulated):
    fine = EmulatedGrid.example(refine={"metallicities": 4, "ages": 2})
    assert fine.shape == (111, 25, emulated.nlam)
    np.testing.assert_array_equal(fine._ages[::2], emulated._ages)
    np.testing.assert_array_equal(
        fine._metallicities[::4], emulated._metallicities
    )
    assert (np.diff(fine._metallicities) > 0).all()
    # In the middle of a logged axis is the geometric mean.
    np.testing.assert_allclose(
        fine._ages[1] ** 2, fine._ages[0] * fine._ages[2], rtol=1e-12
    )
    # At the nodes by NumPy, between them by JAX, in single precision.
    expected = emulated.spectra["incident"]
    np.testing.assert_allclose(
        fine.spectra["incident"][::2, ::4], expected, rtol=5e-4
    )
    found = fine.spectra["incident"][::2, ::4][expected > 0]
    assert np.median(np.abs(found / expected[expected > 0] - 1)) < 1e-5
    np.testing.assert_allclose(
        fine.stellar_fraction[::2, ::4], emulated.stellar_fraction, rtol=1e-14
    )
    for ion, values in emulated.log10_specific_ionising_lum.items():
        np.testing.assert_allclose(
            fine.log10_specific_ionising_lum[ion][::2, ::4], values, rtol=1e-14
        )
    np.testing.assert_array_equal(
        fine._extract_axes_values["log10ages"], np.log10(fine._ages)
    )


@pytest.mark.slow
def test_between_the_nodes_are_the_networks(emulated):
    grid = EmulatedGrid.example(
        axes={"ages": AGES * Myr, "metallicities": [0.003, 0.017]}
    )
    assert grid.shape[:2] == (4, 2)
    assert grid.ages.units == emulated.ages.units
    for i, age in enumerate(AGES * 1e6):
        for j, metallicity in enumerate((0.003, 0.017)):
            point = np.array([age, metallicity])
            lnu = np.asarray(emulated.emulator.spectrum("nebular", point))
            np.testing.assert_allclose(
                grid.spectra["nebular"][i, j],
                lnu,
                rtol=2e-4,
                atol=1e-6 * lnu.max(),
            )
            lum = emulated.emulator.lines("luminosity", point)
            np.testing.assert_allclose(
                grid.line_lums["nebular"][i, j].to_value("erg/s"),
                lum,
                rtol=2e-4,
            )


def test_spellings_of_axes():
    linear = EmulatedGrid.example(axes={"ages": AGES * 1e6})
    logged = EmulatedGrid.example(axes={"log10ages": np.log10(AGES * 1e6)})
    np.testing.assert_allclose(linear._ages, logged._ages, rtol=1e-12)
    ends = EmulatedGrid.example(axes={"metallicities": [0.05, 0.1000000001]})
    assert ends._metallicities[-1] == EmulatedGrid.example()._metallicities[-1]


def test_names_follow_the_axes(emulated):
    def named(**kwargs):
        return EmulatedGrid.example(**kwargs).grid_name

    own = emulated.grid_name
    assert named(refine={"ages": 1}) == own
    others = [
        named(refine={"ages": 2}),
        named(refine={"ages": 3}),
        named(axes={"metallicities": [0.01, 0.02]}),
        emulated.reduce_axis(1e7 * yr, 1e9 * yr, "ages").grid_name,
        emulated.collapse("ages").grid_name,
    ]
    assert len({own, *others}) == 6
    assert all(name.startswith(f"{own}_axes-") for name in others)
    assert named(refine={"ages": 2}) == others[0]
    fine = EmulatedGrid.example(refine={"ages": 2})
    assert fine.original_name == own
    assert (
        fine.reduce_axis(fine.ages[0], fine.ages[-1], "ages").grid_name
        == fine.grid_name
    )


@pytest.mark.slow
def test_grids_of_two_axes_don_t_share_particle_weights(emulated):
    """The trap of Synthesizer's cache, which goes by the grid's name."""
    rng = np.random.default_rng(0)
    stars = Stars(
        initial_masses=np.full(30, 1e6) * Msun,
        ages=10 ** rng.uniform(6, 10, 30) * yr,
        metallicities=rng.uniform(0.001, 0.04, 30),
    )
    grids = [
        emulated,
        EmulatedGrid.example(refine={"metallicities": 3}),
        emulated.reduce_axis(1e6 * yr, 1e10 * yr, "ages"),
    ]
    together = [stars.get_spectra(IncidentEmission(g)).lnu for g in grids]
    for grid, found in zip(grids, together, strict=True):
        stars._grid_weights = {"cic": {}, "ngp": {}}
        stars.clear_all_emissions()
        alone = stars.get_spectra(IncidentEmission(grid)).lnu
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"refine": {"masses": 2}}, "no axis 'masses'; it has: ages, metal"),
        ({"refine": {"ages": 0}}, r"refine\['ages'\] must be a whole number"),
        ({"axes": {"ages": [1e7, 1e6]}}, "strictly ascending"),
        ({"axes": {"ages": [[1e6, 1e7]]}}, "must be one-dimensional"),
        ({"axes": {"ages": [1e6, 1e12]}}, "does not extrapolate"),
        ({"axes": {"ages": [np.nan]}}, "does not extrapolate"),
        (
            {"axes": {"ages": [1e6, 1e7]}, "refine": {"log10ages": 2}},
            "'ages' was given twice",
        ),
    ],
)
def test_bad_axes_are_refused(arguments, message):
    with pytest.raises(InconsistentArguments, match=message):
        EmulatedGrid.example(**arguments)


def test_precision_and_wavelengths_go_with_other_axes():
    grid = EmulatedGrid.example(
        refine={"metallicities": 2},
        use_precision=np.float32,
    )
    assert grid.spectra["incident"].dtype == np.float32
    assert grid._metallicities.dtype == np.float32
    assert grid.stellar_fraction.dtype == np.float32


@pytest.mark.slow
def test_a_third_axis(three_axes):
    native = Grid("three", grid_dir=three_axes)
    fine = EmulatedGrid(
        "three", grid_dir=three_axes, refine={"ionisation_parameters": 2}
    )
    assert fine.shape == (8, 4, 5, 150)
    # The stars know nothing of the gas, so this has two axes.
    np.testing.assert_array_equal(
        fine.stellar_fraction, native.stellar_fraction
    )
    emulated = EmulatedGrid("three", grid_dir=three_axes)
    same = hand_over(emulated, native)
    np.testing.assert_allclose(
        fine.line_lums["nebular"][..., ::2, :],
        same.line_lums["nebular"],
        rtol=5e-5,
    )
    one = fine.collapse("ionisation_parameters", "emulator", value=0.02)
    np.testing.assert_array_equal(one.stellar_fraction, fine.stellar_fraction)


def test_stored_values_between_the_nodes(emulated):
    """Against SciPy's own monotone cubics in two dimensions."""
    header = emulated.weights.header
    domain = emulated.weights.domain
    values = header.log10_specific_ionising_luminosity["HI"]
    rng = np.random.default_rng(1)
    points = np.stack(
        [10 ** rng.uniform(6, 10, 50), rng.uniform(0.001, 0.09, 50)], axis=-1
    )
    nodes = scaled_nodes(header, domain)
    scaled = np.stack(
        [d.scaled(points[:, i], np) for i, d in enumerate(domain)], axis=-1
    )
    true = RegularGridInterpolator(nodes, values, method="pchip")(scaled)
    found = at_points(values, header, domain, points)
    np.testing.assert_allclose(found, true, rtol=1e-10)
    mesh = on_mesh(values, header, domain, [np.sort(s) for s in scaled.T])
    np.testing.assert_allclose(
        np.diagonal(mesh),
        at_points(values, header, domain, np.sort(points, axis=0)),
        rtol=1e-10,
    )


def test_no_photons_at_all_is_a_photon_a_second(emulated):
    header, domain = emulated.weights.header, emulated.weights.domain
    values = header.log10_specific_ionising_luminosity["HI"].copy()
    values[20:] = -np.inf
    points = np.array([[header.axes[0].values[19] * 1.01, 0.01], [1e10, 0.01]])
    found = at_points(values, header, domain, points)
    assert np.isfinite(found).all()
    assert found[1] == 0.0


@pytest.mark.parametrize(
    ("scale", "low"),
    [("log10", 1e-4), ("power", 1e-4), ("power", 0.0), ("linear", 0.0)],
)
def test_scales_can_be_undone(scale, low):
    domain = AxisDomain("x", low, 0.1, scale)
    values = np.linspace(low, 0.1, 7)
    np.testing.assert_allclose(
        domain.unscaled(domain.scaled(values, np)),
        values,
        rtol=1e-9,
        atol=1e-15,
    )
