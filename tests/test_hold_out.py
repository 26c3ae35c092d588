"""Hold-outs against brute force, SciPy and Synthesizer's own numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import analytic_header, write_analytic_grid, write_grid
from synthesizer.exceptions import InconsistentArguments
from synthesizer.grid import Grid

from synthesizer_emulator.cli.main import main
from synthesizer_emulator.evaluation.hold_out import score
from synthesizer_emulator.evaluation.measures.baselines import (
    pchip_of_components,
    synthesizer_interpolation,
)
from synthesizer_emulator.evaluation.thinned import ThinnedGrid
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import Drop

AXES = (
    Axis("ages", np.geomspace(1e6, 1e9, 10), "yr", True),
    Axis("metallicities", np.array([1e-4, 4e-4, 4e-3, 0.02]), "", False),
)


def test_what_is_left_out():
    assert Drop.parse("ages:2").left_out(AXES)[0].tolist() == [1, 3, 5, 7]
    assert Drop.parse("ages:3").left_out(AXES)[0].tolist() == [2, 5, 8]
    both = Drop.parse("metallicities=0.004,4e-4 ages=1e7").left_out(AXES)
    assert {i: list(v) for i, v in both.items()} == {1: [1, 2], 0: [3]}


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("ages:1", "AXIS:K .*at least 2.*got 'ages:1'"),
        ("ages:x", "AXIS=VALUE.*got 'ages:x'"),
        ("ages", "got 'ages'"),
        ("", "got ''"),
        ("ages:2 ages=3", "have the axis 'ages' twice, in 'ages:2 ages=3'"),
        ("ages:20", "leaves out none of the 10 nodes"),
        ("z=0.1", "no axis 'z'; it has ages, metallicities"),
        ("metallicities=0.005", "no node at 0.005; the nearest are 0.0004"),
        ("metallicities=0.02", r"ends of metallicities \(0.0001 and 0.02\)"),
    ],
)
def test_nodes_that_can_not_be_left_out(drop, message):
    with pytest.raises(InconsistentArguments, match=message):
        Drop.parse(drop).left_out(AXES)


@pytest.fixture(scope="module")
def grid_path(tmp_path_factory):
    return write_analytic_grid(tmp_path_factory.mktemp("grid") / "g.hdf5")


def test_synthesizer_interpolates_linearly(grid_path):
    """In flux, in log age and in metallicity: by hand, for all emissions."""
    grid = NativeGrid.open(grid_path)
    header = grid.header
    stored = {e: grid.read(e) for e in header.units}
    ages, metals = (axis.values for axis in header.axes)
    i, j, t, u = 3, 2, 0.25, 0.6
    age = 10 ** ((1 - t) * np.log10(ages[i]) + t * np.log10(ages[i + 1]))
    metal = (1 - u) * metals[j] + u * metals[j + 1]
    points = np.array([[age, metal], [ages[1], metals[4]]])
    for emission, values in stored.items():
        younger, older = values[i], values[i + 1]
        row = (1 - t) * younger + t * older
        by_hand = (1 - u) * row[j] + u * row[j + 1]
        got = synthesizer_interpolation(grid, emission, points)
        np.testing.assert_allclose(got, [by_hand, values[1, 4]], rtol=1e-9)


def test_pchip_is_exact_where_log_flux_is_linear_in_the_labels():
    """And only there is it: a bend between nodes shows."""
    slopes = np.linspace(-0.3, 0.1, 50)
    mesh = np.meshgrid(*(np.log10(a.values) for a in AXES), indexing="ij")
    power = 10 ** (mesh[0][..., None] * slopes + 0.3 * mesh[1][..., None])
    kept = [0, 2, 3, 5, 8, 9]
    thin = (replace(AXES[0], values=AXES[0].values[kept]), AXES[1])
    missing = np.ones((10, 4), bool)
    missing[kept] = False
    got = pchip_of_components(power[kept], thin, AXES, missing)
    true = power[missing]
    bright = true > 1e-5 * true.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(got[bright], true[bright], rtol=1e-3)
    bent = power * 10 ** (np.sin(2 * mesh[0])[..., None] * slopes)
    got = pchip_of_components(bent[kept], thin, AXES, missing)
    assert np.abs(got[bright] / bent[missing][bright] - 1).max() > 0.01


def test_no_emission_is_none_between_nodes_without():
    values = np.ones((10, 4, 5))
    values[6:] = 0.0
    kept = [0, 2, 4, 6, 8, 9]
    thin = (replace(AXES[0], values=AXES[0].values[kept]), AXES[1])
    missing = np.ones((10, 4), bool)
    missing[kept] = False
    got = pchip_of_components(values[kept], thin, AXES, missing)
    by_age = got.reshape(4, 4, 5)  # of the ages 1, 3, 5, 7
    np.testing.assert_allclose(by_age[:2], 1.0, rtol=1e-6)
    np.testing.assert_allclose(by_age[2], 0.5, rtol=1e-6)
    assert (by_age[3] == 0).all()


def test_the_error_that_is_there_is_found(grid_path, tmp_path):
    """An emulator that is 1% too bright, beside numbers by hand."""
    native = Grid("g", grid_dir=grid_path.parent)
    grid = NativeGrid.open(grid_path)
    header = grid.header
    stored = {e: grid.read(e) for e in header.units}

    class OnePerCentMore:
        def _at_points(self, emission):
            nodes = (
                native.get_grid_point(ages=age, metallicities=metallicity)
                for age, metallicity in thinned.points
            )
            return 1.01 * np.array([stored[emission][node] for node in nodes])

        def spectrum(self, name, view):
            return view(self._at_points(f"spectra/{name}"))

        def lines(self, name):
            return self._at_points(f"lines/{name}")

    left_out = Drop.parse("ages:2").left_out(header.axes)
    thinned = ThinnedGrid.write(grid, left_out, tmp_path)
    arrays = OnePerCentMore()
    found = {emission: score(thinned, emission, arrays) for emission in stored}
    for emission, schemes in found.items():
        ours = schemes["emulator"].summary
        shown = [ours.p50, ours.p999, ours.worst, ours.mean_max]
        np.testing.assert_allclose(shown, 0.01, rtol=1e-5, err_msg=emission)
    # Linear between the neighbours that are left, in log age, by hand.
    scored = (native._lam >= 912) & (native._lam <= 1e5)
    flux = native.spectra["incident"][..., scored]
    true = flux[1:11:2]
    linear = 0.5 * (flux[0:10:2] + flux[2:12:2])
    bright = true > 1e-5 * true.max(axis=-1, keepdims=True)
    errors = np.abs(linear[bright] / true[bright] - 1)
    theirs = found["spectra/incident"]["synthesizer"]
    np.testing.assert_allclose(
        [theirs.summary.p50, theirs.summary.p95, theirs.summary.p999],
        np.quantile(errors, [0.5, 0.95, 0.999]),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        theirs.errors, np.quantile(errors, theirs.levels), rtol=1e-4
    )


def test_the_thinned_grid_is_a_grid(tmp_path):
    """With three axes, nodes left out of two at once."""
    path = write_analytic_grid(
        tmp_path / "whole.hdf5", n_ages=8, n_metals=4, n_parameters=3
    )
    left_out = {0: np.array([2, 3]), 2: np.array([1])}
    thinned = ThinnedGrid.write(NativeGrid.open(path), left_out, tmp_path)
    whole = Grid("whole", grid_dir=tmp_path)
    thin = Grid("thinned", grid_dir=tmp_path)
    assert thin.shape == (6, 4, 2, 150)
    assert len(thinned.points) == 8 * 4 * 3 - 6 * 4 * 2
    kept = np.ix_([0, 1, 4, 5, 6, 7], range(4), [0, 2])
    for name, values in whole.spectra.items():
        np.testing.assert_array_equal(thin.spectra[name], values[kept])
    np.testing.assert_array_equal(
        thin.line_lums["nebular"], whole.line_lums["nebular"][kept]
    )
    assert thin.log10_specific_ionising_lum["HI"].shape == (6, 4, 2)
    assert thin.stellar_fraction.shape == (6, 4)


@pytest.mark.slow
def test_the_command(tmp_path, quick_figures):
    """On a smooth grid the emulator beats linear interpolation."""
    path = write_analytic_grid(tmp_path / "smooth.hdf5", gas=False)
    numbers, plots = tmp_path / "new" / "out.json", tmp_path / "figures"
    result = CliRunner().invoke(
        main,
        [
            "hold-out", str(path), "--spectra", "incident",
            "--drop", "metallicities:2", "--json", str(numbers),
            "--plots", str(plots), "--epochs", "25", "--set", "hidden=[8]",
            "--recoveries", "5",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    written = json.loads(numbers.read_text())
    (experiment,) = written["experiments"]
    errors = {
        scheme: prediction["summary"]["p50"]
        for scheme, prediction in experiment["predictions"][
            "spectra/incident"
        ].items()
    }
    assert errors["emulator"] < 0.5 * errors["synthesizer"]
    assert f"{100 * errors['synthesizer']:.4g}" in result.output
    ratio = errors["emulator"] / errors["synthesizer"]
    assert f"{ratio:.3f}" in result.output
    assert written["machine"]["jax"]
    images = [
        f"without_metallicities_2_{what}.{kind}"
        for what in ("recovery", "spectra_incident")
        for kind in ("pdf", "png")
    ]
    assert sorted(f.name for f in plots.iterdir()) == ["report.html", *images]
    page = (plots / "report.html").read_text()
    assert str(plots / "report.html") in result.output
    assert page.count("data:image/png;base64,") == 2
    assert f"<td>{100 * errors['synthesizer']:.4g}</td>" in page
    # Even spectra that were left out tell the temperature of their
    # greybody, which is all that they tell.
    true, recovered = (
        np.log10(experiment["recovery"][key]) @ [-0.22, -0.05]
        for key in ("true", "recovered")
    )
    np.testing.assert_allclose(recovered, true, atol=5e-3)
    assert np.ptp(true) > 0.1
    assert "recovered from 5 incident" in result.output


def test_mistakes_end_in_a_message(grid_path):
    arguments = ["hold-out", str(grid_path), "--drop", "ages=3"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "ages has no node at 3" in result.output


def test_extra_axes_need_no_lines(tmp_path):
    """A plain grid whose header has no optional parts."""
    header = replace(
        analytic_header(n_ages=5, n_metals=4),
        spectra_units={"incident": "erg/s/Hz"},
        lines=None,
        cloudy=None,
        star_fraction=None,
        log10_specific_ionising_luminosity={},
    )
    rng = np.random.default_rng(0)
    values = 10 ** rng.uniform(0, 0.1, (5, 4, len(header.lam)))
    write_grid(tmp_path / "plain.hdf5", header, {"spectra/incident": values})
    left_out = {1: np.array([1])}
    grid = NativeGrid.open(tmp_path / "plain.hdf5")
    ThinnedGrid.write(grid, left_out, tmp_path)
    thin = Grid("thinned", grid_dir=tmp_path, ignore_lines=True)
    np.testing.assert_array_equal(
        thin.spectra["incident"], values[:, [0, 2, 3]]
    )
