"""An emulator measured against a grid whose distance from it is known."""

import html.parser
import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import (
    QUICK,
    analytic_header,
    write_analytic_grid,
    write_grid,
)
from synthesizer.exceptions import (
    GridError,
    MissingSpectraType,
)

from synthesizer_emulator import EmulatedGrid, build, evaluate
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.evaluation import report
from synthesizer_emulator.evaluation.measures import (
    derivatives,
)
from synthesizer_emulator.evaluation.measures.residuals import (
    Example,
    spectrum_errors,
)
from synthesizer_emulator.evaluation.report.figures import (
    panels,
    residuals,
    stages,
)
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.records import write_json
from synthesizer_emulator.weights.file import SUFFIX

EXAMPLE = example_folder() / f"{EXAMPLE_NAME}.hdf5"
WEIGHTS = example_folder() / f"{EXAMPLE_NAME}{SUFFIX}"


@pytest.fixture(scope="module")
def dimmer(header, emulated, tmp_path_factory):
    """Return a grid of which the emulator is 1% too bright, everywhere.

    And 4% in the spectra of one age.
    """
    plain = replace(
        header,
        spectra_units={"incident": "erg/s/Hz"},
        lines=None,
        cloudy=None,
    )
    values = np.array(emulated.spectra["incident"]) / 1.01
    values[30] *= 1.01 / 1.04
    path = tmp_path_factory.mktemp("dimmer") / "dimmer.hdf5"
    write_grid(path, plain, {"spectra/incident": values})
    return path


@pytest.fixture(scope="module")
def evaluation(dimmer):
    """Return all measures, which takes long."""
    return evaluate(dimmer, WEIGHTS, galaxies=52, recoveries=6, progress=False)


@pytest.mark.slow
def test_the_error_that_is_there_is_found(evaluation):
    errors = evaluation.emissions["spectra/incident"]
    summary = errors.summary
    np.testing.assert_allclose(
        [summary.p50, summary.p95, summary.p99, summary.worst],
        [0.01, 0.01, 0.04, 0.04],
        rtol=1e-4,
    )
    assert summary.spectra == 56 * 7
    np.testing.assert_allclose(errors.means[30], 0.04, rtol=1e-4)
    by_age = errors.by_axis["ages"].p50
    np.testing.assert_allclose(by_age[29:32], [0.01, 0.04, 0.01], rtol=1e-4)
    np.testing.assert_allclose(errors.by_wavelength.p50, 0.01, rtol=1e-4)
    assert errors.correlation.length == np.inf
    worst = errors.examples["worst"]
    assert worst.node["ages"] == evaluation.axes[0].values[30]
    np.testing.assert_allclose(worst.emulated, 1.04 * worst.true, rtol=1e-5)
    assert evaluation.same_nodes
    assert evaluation.architecture == "residual_table"


@pytest.mark.slow
def test_what_is_read_off_spectra(evaluation):
    found = evaluation.quantities["incident"]
    for name in ("ionising_photon_rate", "bolometric_luminosity"):
        errors = found[name].summary
        np.testing.assert_allclose(errors.p50, 0.01, rtol=1e-4)
        np.testing.assert_allclose(errors.worst, 0.04, rtol=1e-4)
    assert found["d4000"].summary.worst < 1e-5
    assert found["beta"].summary.worst < 1e-5


@pytest.mark.slow
def test_magnitudes_of_galaxies(evaluation):
    """All are 1% too bright, but for what stars of one age give them."""
    found = evaluation.photometry["incident"]
    brighter = -2.5 * np.log10(1.01), -2.5 * np.log10(1.04)
    assert (found.errors < brighter[0] + 1e-6).all()
    assert (found.errors > brighter[1]).all()
    np.testing.assert_allclose(found.summary.p50, -brighter[0], rtol=0.3)
    assert found.magnitudes["F444W"].number == 52
    for colour in found.colours.values():
        assert colour.p50 < 2e-3
    assert next(iter(found.colours)) == "F070W - F090W"


@pytest.mark.slow
def test_labels_are_recovered(evaluation):
    """Even of spectra that are too faint, as the mass is fitted, too."""
    found = evaluation.recovery
    old = found.true[:, 0] > 3e6  # younger ones are hardly different
    error = np.log10(found.recovered / found.true)[old]
    assert np.median(np.abs(error)) < 1e-3
    assert found.labels["ages"].p50 < 1e-2
    np.testing.assert_allclose(
        np.median(found.log10_mass), -np.log10(1.01), atol=1e-4
    )


@pytest.mark.slow
def test_derivatives(evaluation):
    assert evaluation.jacobian is evaluation.derivatives
    found = evaluation.derivatives.labels
    for slopes in found.values():
        assert slopes.logged
        assert slopes.emulator.p50 < 0.01 * slopes.size
        assert slopes.grid.p50 < 0.2 * slopes.size


@pytest.mark.slow
def test_json_holds_the_numbers(evaluation, tmp_path):
    evaluation.write_json(tmp_path / "new" / "numbers.json")
    written = json.loads((tmp_path / "new" / "numbers.json").read_text())
    errors = written["evaluation"]["emissions"]["spectra/incident"]
    assert errors["summary"]["p50"] == pytest.approx(0.01, rel=1e-4)
    assert len(errors["by_axis"]["ages"]["p95"]) == 56
    assert written["versions"]["jax"]


@pytest.mark.slow
def test_the_report_holds_the_numbers(evaluation, tmp_path):
    page = report.write_report(evaluation, tmp_path / "report")
    text = page.read_text()
    tags = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append((tag, dict(attributes)))

    Reader().feed(text)
    images = [a["src"] for tag, a in tags if tag == "img"]
    files = list((tmp_path / "report").glob("*.png"))
    assert len(images) == len(files) == len({*images})
    assert all(src.startswith("data:image/png;base64,") for src in images)
    assert not [tag for tag, _ in tags if tag in ("script", "link")]
    links = [a["href"].removeprefix("#") for tag, a in tags if tag == "a"]
    assert links == [a["id"] for tag, a in tags if tag == "h2"]
    for table in evaluation.tables():
        for name, cells in table.rows:
            assert f"<td>{name}</td><td>{cells[0]}</td>" in text
            assert name in str(evaluation)


def test_curves_along_all_axes_are_within_their_panels():
    """They share a scale, whichever of them varies most."""
    axes = analytic_header(n_ages=6, n_metals=5, n_parameters=4).axes
    lam = np.geomspace(912.0, 1e5, 50)
    errors = np.full((6, 5, 4, 50), 1e-3)
    errors[:, 2] *= 100
    errors[:, 4] /= 100
    found = spectrum_errors(errors, lam, axes)
    drawn = [p for p in residuals.profiles(found, axes).axes if p.lines]
    by_title = {p.get_xlabel(): p for p in drawn}
    for title in ("age / yr", "metallicity", "ionisation parameter"):
        values = np.concatenate([c.get_ydata() for c in by_title[title].lines])
        low, high = by_title[title].get_ylim()
        assert low <= values.min() and values.max() <= high
    *maps, _ = residuals.maps(found, axes).axes
    shown = {(p.get_xlabel(), p.get_ylabel()): p.images[0] for p in maps}
    third = shown["metallicity", "ionisation parameter"].get_array()
    np.testing.assert_allclose(third[:, 2], 10.0, rtol=1e-5)  # per cent
    np.testing.assert_allclose(third[:, 3], 0.1, rtol=1e-5)


def test_lines_of_reports_are_broken_in_gaps():
    """Spectra, residuals, and errors by wavelength."""
    axes = analytic_header(n_ages=6, n_metals=5, n_parameters=4).axes
    lam = np.concatenate([np.arange(5000.0, 5150.0), np.arange(5250, 5390)])
    flux = np.full(len(lam), 2.0)
    found = spectrum_errors(np.full((6, 5, 4, len(lam)), 1e-3), lam, axes)
    examples = {"worst": Example({}, 0.01, lam, flux, 1.01 * flux)}
    drawn = [
        *residuals.spectra(examples).axes,
        residuals.profiles(found, axes).axes[0],
        stages.zoomed(examples, (5100.0, 5300.0)).axes[0],
        stages.signed(found.bands, (5100.0, 5300.0)).axes[0],
    ]
    for panel in drawn:
        # The ticks of a logarithmic scale would be on top of each other.
        assert panel.get_xscale() == "linear"
        x, y = panel.lines[0].get_data()
        assert np.isnan(y[(x > 5150.0) & (x < 5250.0)]).any()
        assert np.isfinite(y).sum() > 20
    for band in drawn[-1].collections:
        for path in band.get_paths():
            ends = path.vertices[:, 0].min(), path.vertices[:, 0].max()
            assert ends[1] < 5200.0 or ends[0] > 5200.0


def test_legends_are_within_their_figures():
    """And above the note at their foot, also where the figure is narrow."""
    figure = panels.new_figure(3.4, 2.0)
    panel = figure.subplots()
    for i in range(6):
        panel.plot([0, 1], [0, i], label=f"trained together, validation {i}")
    handles, titles = panel.get_legend_handles_labels()
    legend = panels.legend_below(figure, handles, titles, 4)
    panels._write_at_foot(figure, "testbed, 2026-11-27")
    panels._lay_out(figure)
    box, (note,) = legend.get_window_extent(), figure.texts
    assert box.x0 >= 0.0 and box.x1 <= figure.bbox.x1
    assert box.y0 >= note.get_window_extent().y1
    assert panel.get_tightbbox().y0 >= box.y1


@pytest.fixture
def without_derivatives(monkeypatch):
    """Leave out what is tested elsewhere and takes long."""
    monkeypatch.setattr(
        derivatives, "compare_derivatives", lambda *_, **__: None
    )


@pytest.mark.slow
def test_lines(without_derivatives):
    measured = evaluate(
        EXAMPLE, spectra=["linecont"], galaxies=0, recoveries=0, progress=False
    )
    assert list(measured.emissions) == [
        "spectra/linecont",
        "lines/luminosity",
        "lines/nebular_continuum",
        "lines/transmitted",
    ]
    with h5py.File(EXAMPLE) as hdf:
        ids = [i.decode() for i in hdf["lines/id"]]
    assert list(measured.emissions["lines/luminosity"].lines) == ids
    assert measured.photometry == {}
    assert measured.recovery is None
    assert "beta" not in measured.quantities["linecont"]


def test_files_that_can_not_be_compared(tmp_path, dimmer):
    with pytest.raises(GridError, match=r"No weights file at .*--weights"):
        evaluate(dimmer)
    with pytest.raises(GridError, match=r"without '\.emulator'"):
        evaluate(WEIGHTS, WEIGHTS)
    other = write_analytic_grid(tmp_path / "other.hdf5")
    with pytest.raises(GridError, match=r"1719 wavelengths, but .* with 150"):
        evaluate(other, WEIGHTS)
    with pytest.raises(
        MissingSpectraType, match="have incident in common; got x"
    ):
        evaluate(dimmer, WEIGHTS, spectra=["x"])
    wide = tmp_path / "wide.hdf5"
    wide.write_bytes(dimmer.read_bytes())
    with h5py.File(wide, "a") as hdf:
        hdf["axes/metallicities"][-1] = 0.2
    with pytest.raises(GridError, match=r"in metallicities, .* to 0\.2"):
        evaluate(wide, WEIGHTS)


@pytest.mark.slow
def test_an_axis_may_be_negative(tmp_path):
    """As one of logarithms; its lowest node is no lower for rounding."""
    path = write_analytic_grid(tmp_path / "logs.hdf5", gas=False)
    with h5py.File(path, "a") as hdf:
        hdf["axes/metallicities"][...] = np.log10(hdf["axes/metallicities"])
    build(path, spectra=["incident"], **QUICK)
    found = evaluate(path, galaxies=0, recoveries=0, progress=False)
    assert found.same_nodes
    assert found.emissions["spectra/incident"].summary.p50 < 0.1


def test_numbers_that_are_none_are_null_in_json(tmp_path):
    write_json(tmp_path / "x.json", {"a": np.array([1.0, np.nan, np.inf])})
    assert json.loads((tmp_path / "x.json").read_text())["a"] == [
        1,
        None,
        None,
    ]


@pytest.mark.slow
def test_the_command(dimmer, tmp_path, monkeypatch, without_derivatives):
    """Without drawing again."""
    monkeypatch.setattr(
        report, "write_report", lambda _, folder, __: folder / "report.html"
    )
    result = CliRunner().invoke(
        main,
        [
            "evaluate", str(dimmer), "--weights", str(WEIGHTS),
            "--galaxies", "0", "--recoveries", "0",
            "--json", str(tmp_path / "e.json"),
            "--plots", str(tmp_path / "plots"),
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "spectra/incident" in result.output
    assert str(tmp_path / "plots" / "report.html") in result.output
    written = json.loads((tmp_path / "e.json").read_text())
    assert written["evaluation"]["photometry"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "nosuch"], "No weights file at 'nosuch'"),
        (["--filters", "nosuch"], "No filters 'nosuch'"),
        (["--galaxies", "-1"], "galaxies must be a whole number"),
    ],
)
def test_mistakes_end_in_a_message(arguments, message):
    result = CliRunner().invoke(main, ["evaluate", str(EXAMPLE), *arguments])
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.slow
def test_an_emulator_of_a_range_of_wavelengths(tmp_path):
    path = write_analytic_grid(tmp_path / "g.hdf5", analytic_header())
    build(path, spectra=["incident"], lam_lims=(2000.0, 9000.0), **QUICK)
    found = evaluate(path, recoveries=3, stages=10, progress=False)
    errors = found.emissions["spectra/incident"]
    assert 2000 < errors.by_wavelength.at[0] < errors.by_wavelength.at[-1]
    assert errors.by_wavelength.at[-1] < 9000
    assert found.photometry == {}
    grid = EmulatedGrid("g", grid_dir=tmp_path)
    with h5py.File(path) as hdf:
        lam = hdf["spectra/wavelength"][:]
        true = hdf["spectra/incident"][..., (lam >= 2000) & (lam <= 9000)]
    expected = np.abs(grid.spectra["incident"] / true - 1.0)
    np.testing.assert_allclose(errors.means, expected.mean(axis=-1), rtol=1e-3)
    assert found.stages["incident"].whole.number == 10
