"""An emulator measured against a grid whose distance from it is known."""

import html.parser
import json
from dataclasses import replace

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from click.testing import CliRunner
from conftest import (
    QUICK,
    analytic_emissions,
    analytic_header,
    write_analytic_grid,
    write_grid,
)
from synthesizer.emission_models import IncidentEmission
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.exceptions import (
    GridError,
    MissingSpectraType,
    UnmetDependency,
    UnrecognisedOption,
)
from synthesizer.instruments.filters import FilterCollection
from synthesizer.parametric import SFH, Stars, ZDist
from unyt import Msun, angstrom, yr

from synthesizer_emulator import build, evaluate
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.evaluation import report
from synthesizer_emulator.evaluation.measures import (
    derivatives,
    filters,
    magnitudes,
    recovery,
)
from synthesizer_emulator.evaluation.measures.residuals import spectrum_errors
from synthesizer_emulator.evaluation.measures.subset import most_sensitive
from synthesizer_emulator.evaluation.report.figures import residuals
from synthesizer_emulator.files.hdf5 import open_hdf5
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.reading import read_header
from synthesizer_emulator.records import write_json
from synthesizer_emulator.weights.file import SUFFIX

EXAMPLE = example_folder() / f"{EXAMPLE_NAME}.hdf5"
WEIGHTS = example_folder() / f"{EXAMPLE_NAME}{SUFFIX}"


@pytest.fixture(scope="module")
def header():
    with open_hdf5(EXAMPLE) as hdf:
        return read_header(hdf, EXAMPLE)


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
    return evaluate(
        dimmer, WEIGHTS, galaxies=52, recoveries=12, progress=False
    )


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


def test_what_is_read_off_spectra(evaluation):
    found = evaluation.quantities["incident"]
    for name in ("ionising_photon_rate", "bolometric_luminosity"):
        errors = found[name].summary
        np.testing.assert_allclose(errors.p50, 0.01, rtol=1e-4)
        np.testing.assert_allclose(errors.worst, 0.04, rtol=1e-4)
    assert found["d4000"].summary.worst < 1e-5
    assert found["beta"].summary.worst < 1e-5


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


def test_labels_come_back(evaluation):
    """Even of spectra that are too faint, as the mass is fitted, too."""
    found = evaluation.recovery
    old = found.true[:, 0] > 3e6  # younger ones are hardly different
    error = np.log10(found.recovered / found.true)[old]
    assert np.median(np.abs(error)) < 1e-3
    assert found.labels["ages"].p50 < 1e-2
    np.testing.assert_allclose(
        np.median(found.log10_mass), -np.log10(1.01), atol=1e-4
    )


def test_slopes(evaluation):
    found = evaluation.derivatives.labels
    for slopes in found.values():
        assert slopes.logged
        assert slopes.emulator.p50 < 0.01 * slopes.size
        assert slopes.grid.p50 < 0.2 * slopes.size


def test_json_and_report_hold_the_numbers(evaluation, tmp_path):
    evaluation.write_json(tmp_path / "new" / "numbers.json")
    written = json.loads((tmp_path / "new" / "numbers.json").read_text())
    errors = written["evaluation"]["emissions"]["spectra/incident"]
    assert errors["summary"]["p50"] == pytest.approx(0.01, rel=1e-4)
    assert len(errors["by_axis"]["ages"]["p95"]) == 56
    assert written["versions"]["jax"]

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


def test_the_spectrum_that_tells_most_is_fitted(tmp_path):
    """Starlight does not know the ionisation parameter of the gas."""
    path = tmp_path / "g.hdf5"
    header = analytic_header(n_ages=5, n_metals=4, n_parameters=3)
    emissions = analytic_emissions(header)
    # The continuum of this gas reddens as it ages, too.
    tilt = 0.1 * np.arange(5).reshape(5, 1, 1, 1) * np.log(header.lam)
    emissions["spectra/nebular"] *= np.exp(tilt)
    write_grid(path, header, emissions)
    grid = NativeGrid.open(path)
    spectra = ["incident", "linecont", "nebular", "transmitted"]
    assert most_sensitive(grid, spectra) == "nebular"
    # Of equals the first, but lines alone as the last.
    assert most_sensitive(grid, spectra[::3]) == "incident"
    example = NativeGrid.open(EXAMPLE)
    assert most_sensitive(example, spectra[1::-1]) == "incident"


def test_curves_along_all_axes_are_within_their_panels():
    """They share a scale, whichever of them varies most."""
    axes = analytic_header(n_ages=6, n_metals=5, n_parameters=4).axes
    lam = np.geomspace(912.0, 1e5, 50)
    errors = np.full((6, 5, 4, 50), 1e-3)
    errors[:, 2] *= 100
    errors[:, 4] /= 100
    found = spectrum_errors(errors, lam, axes)
    drawn = [p for p in residuals.profiles(found, axes).axes if p.lines]
    panels = {p.get_xlabel(): p for p in drawn}
    for title in ("age / yr", "metallicity", "ionisation parameter"):
        values = np.concatenate([c.get_ydata() for c in panels[title].lines])
        low, high = panels[title].get_ylim()
        assert low <= values.min() and values.max() <= high
    *maps, _ = residuals.maps(found, axes).axes
    shown = {(p.get_xlabel(), p.get_ylabel()): p.images[0] for p in maps}
    third = shown["metallicity", "ionisation parameter"].get_array()
    np.testing.assert_allclose(third[:, 2], 10.0, rtol=1e-5)  # per cent
    np.testing.assert_allclose(third[:, 3], 0.1, rtol=1e-5)


@pytest.fixture
def without_derivatives(monkeypatch):
    """Leave out what is tested elsewhere and takes long."""
    monkeypatch.setattr(
        derivatives, "compare_derivatives", lambda *_, **__: None
    )


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
    with pytest.raises(GridError, match=r"1719 wavelengths, but .* and 150"):
        evaluate(other, WEIGHTS)
    with pytest.raises(MissingSpectraType, match="have x; they have incident"):
        evaluate(dimmer, WEIGHTS, spectra=["x"])
    wide = tmp_path / "wide.hdf5"
    wide.write_bytes(dimmer.read_bytes())
    with h5py.File(wide, "a") as hdf:
        hdf["axes/metallicities"][-1] = 0.2
    with pytest.raises(GridError, match=r"to 0\.2 in metallicities, bey"):
        evaluate(wide, WEIGHTS)


def test_an_axis_may_be_negative(tmp_path):
    """As one of logarithms; its lowest node is no lower for rounding."""
    path = write_analytic_grid(
        tmp_path / "logs.hdf5", gas=False, n_ages=6, n_metals=2
    )
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


def test_galaxies_are_those_of_synthesizer(native, header):
    """SFZH, spectrum and fluxes, by Synthesizer's own galaxy."""
    drawn = magnitudes.random_histories(header.axes, 52, seed=1)
    bands = filters.nircam_top_hats()
    for i in (0, 7, 29):
        stars = Stars(
            native.log10ages,
            native.metallicities,
            sf_hist=SFH.LogNormal(
                tau=drawn.tau[i],
                peak_age=drawn.peak_age[i] * yr,
                max_age=drawn.max_age[i] * yr,
            ),
            metal_dist=ZDist.Normal(
                mean=drawn.metallicity[i], sigma=drawn.metallicity_sigma[i]
            ),
            initial_mass=1e10 * Msun,
        )
        np.testing.assert_allclose(
            drawn.sfzh[i], stars.sfzh, rtol=1e-3, atol=1e5
        )
        sed = stars.get_spectra(IncidentEmission(native))
        ours = np.tensordot(drawn.sfzh[i], native.spectra["incident"], 2)
        np.testing.assert_allclose(ours, sed._lnu, rtol=1e-4)
        z = float(drawn.redshift[i])
        sed.get_fnu(Planck18, z, igm=Inoue14())
        theirs = sed.get_photo_fnu(bands, verbose=False)
        fluxes = magnitudes.observed_fluxes(
            native._lam, ours[None], drawn.redshift[i : i + 1], bands
        )
        np.testing.assert_allclose(
            fluxes[0],
            [theirs[code].to_value("nJy") for code in bands.filter_codes],
            rtol=1e-4,
        )


def test_galaxies_are_younger_than_the_universe(header):
    drawn = magnitudes.random_histories(header.axes, 52, seed=2)
    assert (drawn.max_age <= Planck18.age(drawn.redshift).to_value("yr")).all()
    np.testing.assert_allclose(drawn.sfzh.sum(axis=(1, 2)), 1e10, rtol=1e-5)
    assert drawn.redshift.min() == 0 and drawn.redshift.max() == 5


def test_galaxies_have_one_node_on_further_axes(tmp_path):
    path = write_analytic_grid(
        tmp_path / "three.hdf5", n_ages=8, n_metals=4, n_parameters=3
    )
    with open_hdf5(path) as hdf:
        axes = read_header(hdf, path).axes
    sfzh = magnitudes.random_histories(axes, 52, seed=0).sfzh
    used = (sfzh > 0).any(axis=(1, 2))
    assert (used.sum(axis=1) == 1).all()
    assert used.any(axis=0).all()


def test_magnitudes_by_hand():
    native = np.array([[1.0, 2.0, 4.0], [1.0, 1e-9, 3.0]])
    emulated = native * np.array([1.0, 0.99, 1.02])
    found = magnitudes.photometry_errors(
        native, emulated, np.zeros(2), ["I/A.A", "I/A.B", "I/A.C"]
    )
    faint, bright = -2.5 * np.log10([0.99, 1.02])
    np.testing.assert_allclose(
        found.errors, [[0, faint, bright], [0, np.nan, bright]]
    )
    assert found.magnitudes["B"].number == 1
    np.testing.assert_allclose(found.colours["A - B"].worst, faint)
    np.testing.assert_allclose(found.colours["B - C"].bias, faint - bright)


def test_filters_by_name(tmp_path):
    hats = filters.named_filters("top-hats")
    assert len(hats.filter_codes) == 8
    hats.write_filters(str(tmp_path / "mine.hdf5"))
    mine = filters.named_filters(str(tmp_path / "mine.hdf5"))
    assert list(mine.filter_codes) == list(hats.filter_codes)
    with pytest.raises(UnrecognisedOption, match="No filters 'x'; there are"):
        filters.named_filters("x")


def test_real_curves(monkeypatch):
    """Pivot wavelengths of the NIRCam documentation, in micron."""
    pytest.importorskip("sedpy")
    bands = filters.named_filters("curves")
    expected = [0.704, 0.901, 1.154, 1.501, 1.990, 2.786, 3.563, 4.421]
    pivots = [bands[c].pivwv().to_value("um") for c in bands.filter_codes]
    np.testing.assert_allclose(pivots, expected, rtol=1e-2)


def test_real_curves_need_a_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sedpy.observate", None)
    with pytest.raises(UnmetDependency, match="pip install astro-sedpy"):
        filters.named_filters("curves")


def test_top_hats_have_the_width_of_the_bands():
    bands = filters.nircam_top_hats()
    for code, (low, high) in filters.NIRCAM_WIDE.items():
        lam, curve = bands.lam.to_value("angstrom"), bands[code].t
        np.testing.assert_allclose(
            np.trapezoid(curve, lam), high - low, rtol=0.03
        )


def test_labels_between_the_nodes_are_found(emulated, header):
    """Of spectra that the network itself gives, of any mass."""
    labels = [Label(axis) for axis in header.axes]
    rng = np.random.default_rng(3)
    ages = 10 ** rng.uniform(6.7, 10.2, 12)
    true = np.column_stack([ages, 10 ** rng.uniform(-3.9, -1.1, 12)])
    spectra = [
        np.asarray(emulated.emulator.spectrum("incident", jnp.asarray(p)))
        for p in true
    ]
    masses = 10 ** rng.uniform(-2, 2, 12)
    scored = (emulated._lam > 912) & (emulated._lam < 1e5)
    values, log10_mass, misfit = recovery.recover(
        emulated.emulator,
        "incident",
        labels,
        np.array(spectra, float) * masses[:, None],
        scored,
    )
    error = np.abs(np.log10(values / true)).max(axis=1)
    found = misfit < 1e-3
    assert found.sum() >= 10
    assert (error[found] < 5e-3).all()
    np.testing.assert_allclose(
        log10_mass[found], np.log10(masses[found]), atol=5e-3
    )


def test_slopes_between_nodes_are_those_of_a_power_law(header):
    labels = [Label(axis) for axis in header.axes]
    mesh = np.meshgrid(*(label.nodes for label in labels), indexing="ij")
    flux = 10 ** (-0.7 * mesh[0] + 0.2 * mesh[1])[..., None] * np.ones(4)
    flux[20, 3, 2] = 0.0
    slopes, bright = derivatives.node_derivatives(labels, flux)
    near = np.zeros(flux.shape, bool)
    near[19:22, 3, 2] = near[20, 2:5, 2] = True
    assert (bright == ~near).all()
    expected = np.log(10) * np.array([-0.7, 0.2])
    expected = np.broadcast_to(expected, slopes.shape)
    np.testing.assert_allclose(slopes[bright], expected[bright], rtol=1e-6)


def test_the_command(dimmer, tmp_path, monkeypatch, without_derivatives):
    """Without drawing again."""
    monkeypatch.setattr(
        report, "write_report", lambda _, folder: folder / "report.html"
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


def test_users_may_bring_filters(header, native):
    bands = FilterCollection(
        tophat_dict={
            "V": {"lam_min": 5000 * angstrom, "lam_max": 6000 * angstrom}
        }
    )
    lnu = native.spectra["incident"][30, :2]
    flat = magnitudes.observed_fluxes(
        native._lam, lnu, np.array([0.0, 0.0]), bands
    )
    inside = (native._lam > 5000) & (native._lam < 6000)
    ratio = lnu[1, inside].mean() / lnu[0, inside].mean()
    np.testing.assert_allclose(flat[1, 0] / flat[0, 0], ratio, rtol=0.02)
