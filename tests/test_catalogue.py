"""Catalogues of galaxies: their tables, and fits that are interrupted."""

import json

import h5py
import jax
import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from click.testing import CliRunner
from distributed import LocalCluster
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingUnits,
)

from synthesizer_emulator.cli.main import main
from synthesizer_emulator.inference import (
    Catalogue,
    CatalogueResults,
    Fit,
    Posterior,
    fit_catalogue,
    merge_results,
)
from synthesizer_emulator.inference.catalogue_fit import (
    fit_galaxy,
    galaxy_seed,
    suited,
)
from synthesizer_emulator.inference.config import FitConfig
from synthesizer_emulator.library import History, LogUniform, Uniform

pytest_plugins = ["quick_samplers"]

BANDS = {code: (code, f"{code}_err") for code in ("g", "r", "J")}
FILTERS = {"g": [4000, 5500], "r": [5500, 7000], "J": [11000, 13500]}
DERIVED = ["sfr_100Myr", "beta/incident"]
SHORT = {"beta/incident": "beta_incident"}
HALPHA = {"H 1 6562.80A": ("ha", "ha_err")}


def table(**changed):
    columns = {
        "id": ["a", "b", "c"],
        "g": [1.0, 2.0, 3.0],
        "g_err": [0.1, 0.2, 0.3],
        "r": [2.0, 3.0, 4.0],
        "r_err": [0.1, 0.2, 0.3],
        "J": [5.0, 6.0, 7.0],
        "J_err": [0.1, 0.2, 0.3],
    }
    return Table({k: v for k, v in (columns | changed).items() if len(v)})


def read(changed=None, **options):
    return Catalogue.from_table(
        table(**(changed or {})),
        **{"photometry": BANDS, "units": "uJy"} | options,
    )


def test_columns_become_photometry_in_nanojansky():
    found = read(
        {"r": [2.0, -99.0, 4.0], "J": [5.0, np.nan, 7.0]}, missing=-99
    )
    got = found.data["photometry"]
    expected = 1e3 * np.array([[1.0, 2, 5], [2, 0, 0], [3, 4, 7]])
    np.testing.assert_allclose(got.flux, expected)
    np.testing.assert_allclose(got.error[0], 100.0)
    np.testing.assert_array_equal(got.is_observed, expected > 0)
    assert found.codes == {"photometry": ("g", "r", "J")}
    assert str(found) == "3 galaxies, photometry in 3 filters"
    assert found.row("c") == 2
    data, known = found.galaxy(1)
    np.testing.assert_array_equal(data[0].is_observed, [True, False, False])
    assert known == {}


def test_units_of_columns_lines_and_known_parameters():
    given = QTable(table())
    for name in given.colnames[1:]:
        given[name] = given[name] * u.mJy
    given["ha"] = [1.0, 2.0, 3.0] * u.Unit("1e-20 W/m2")
    given["ha_err"] = 0.1 * given["ha"]
    given["z_spec"] = MaskedColumn([0.5, 0.6, 0.7], mask=[0, 1, 0])
    given["age"] = [1.0, 2.0, 3.0] * u.Gyr
    found = Catalogue.from_table(
        given,
        photometry=BANDS,
        line_fluxes=HALPHA,
        known={"redshift": "z_spec", "sf_hist/max_age": "age"},
    )
    flux = found.data["photometry"].flux
    np.testing.assert_allclose(flux[:, 0], [1e6, 2e6, 3e6])
    lines = found.data["line_fluxes"]
    np.testing.assert_allclose(lines.flux[:, 0], [1e-17, 2e-17, 3e-17])
    assert np.isnan(found.known["redshift"][1])
    assert str(found.known["sf_hist/max_age"].units) == "Gyr"
    units = {"photometry": "mJy", "line_fluxes": "1e-17*erg/s/cm**2"}
    plain = Catalogue.from_table(
        table(ha=[1.0, 2.0, 3.0], ha_err=[0.1, 0.2, 0.3]),
        photometry=BANDS,
        line_fluxes=HALPHA,
        units=units,
    )
    for kind, of_kind in plain.data.items():
        np.testing.assert_allclose(of_kind.flux, found.data[kind].flux)
        np.testing.assert_allclose(of_kind.error, found.data[kind].error)


def test_upper_limits_and_floors():
    by_column = read(
        {"J_limit": [0, 1, 0]},
        upper_limits={"J": "J_limit"},
        floor={"g": 0.1},
    ).data["photometry"]
    by_sign = read(
        {"J_err": [0.1, -0.2, 0.3]}, upper_limits="negative errors"
    ).data["photometry"]
    for got in (by_column, by_sign):
        expected = [[False] * 3, [False, False, True], [False] * 3]
        np.testing.assert_array_equal(got.is_limit, expected)
        np.testing.assert_allclose(got.error[1, 2], 200.0)
    np.testing.assert_allclose(
        by_column.error[:, 0], np.hypot([100, 200, 300], [100, 200, 300])
    )
    np.testing.assert_allclose(by_column.error[:, 1], [100, 200, 300])


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "csv", "txt"])
def test_files_that_astropy_reads(suffix, tmp_path):
    path = tmp_path / f"galaxies.{suffix}"
    formats = {"csv": "ascii.csv", "txt": "ascii"}
    table(id=[7, 8, 9]).write(path, format=formats.get(suffix))
    found = Catalogue.read(path, photometry=BANDS, units="nJy")
    assert found.ids.tolist() == [7, 8, 9]
    assert found.row("8") == 1
    np.testing.assert_allclose(found.data["photometry"].flux[:, 2], [5, 6, 7])


@pytest.mark.parametrize(
    ("changed", "options", "error", "message"),
    [
        ({"g_err": []}, {}, InconsistentArguments, r"'g_err'\. Did you mean"),
        ({}, {"id": "ID"}, InconsistentArguments, r"column 'ID'.*'id'"),
        ({"id": ["a", "b", "a"]}, {}, InconsistentArguments, r"has a more"),
        ({"id": [1.5, 2, 3]}, {}, InconsistentArguments, r"or strings, got f"),
        ({"g": [1, np.inf, 2]}, {}, InconsistentArguments, r"'g'.*b \(inf\)"),
        ({"g_err": [1, 0, -1]}, {}, InconsistentArguments,
         r"'g_err'.*2 of 3 galaxies: b \(0\), c \(-1\).*negative errors"),
        ({"g": ["x", "y", "z"]}, {}, InconsistentArguments, r"one number per"),
        ({}, {"units": None}, MissingUnits, r"'g'.*none\. Give them"),
        ({}, {"units": "yr"}, IncorrectUnits, r"converts to nJy"),
        ({}, {"photometry": {"g": "g"}}, InconsistentArguments, r"two colum"),
        ({}, {"photometry": None}, InconsistentArguments, r"give photometry"),
        ({}, {"floor": {"K": 0.1}}, InconsistentArguments, r"floor.*got 'K'"),
        ({}, {"floor": -0.1}, InconsistentArguments, r"floor must be a num"),
        ({}, {"upper_limits": {"K": "g"}}, InconsistentArguments, r"got 'K'"),
        ({}, {"upper_limits": "negative"}, InconsistentArguments, r"or be 'n"),
        ({}, {"missing": "-99"}, InconsistentArguments, r"missing must be"),
        ({}, {"known": {"redshift": "z"}}, InconsistentArguments, r"'z'"),
        ({}, {"units": {"lines": "nJy"}}, InconsistentArguments, r"'lines'"),
    ],
)  # fmt: skip
def test_bad_tables(changed, options, error, message):
    with pytest.raises(error, match=message):
        read(changed, **options)


def test_bad_rows_and_files(tmp_path):
    lost = {name: [np.nan] * 3 for name in ("g", "r", "J")}
    with pytest.raises(InconsistentArguments, match=r"one of the 3 galaxies"):
        read(lost)
    one_lost = {name: [1.0, np.nan, 3.0] for name in ("g", "r", "J")}
    with pytest.raises(InconsistentArguments, match=r"'b' has no data"):
        read(one_lost).galaxy(1)
    with pytest.raises(InconsistentArguments, match="at least one row"):
        Catalogue.from_table(table()[:0], photometry=BANDS)
    masked = table()
    masked["id"] = MaskedColumn(["a", "b", "c"], mask=[0, 0, 1])
    with pytest.raises(InconsistentArguments, match="none in rows 2"):
        Catalogue.from_table(masked, photometry=BANDS)
    magnitudes = table()
    magnitudes["g"].unit = "mag"
    with pytest.raises(IncorrectUnits, match=r"'g'.*got 'mag'\. Convert"):
        Catalogue.from_table(magnitudes, photometry=BANDS)
    with pytest.raises(InconsistentArguments, match="got 'd'"):
        read().row("d")
    with pytest.raises(OSError, match="does not exist"):
        Catalogue.read(tmp_path / "no.fits", photometry=BANDS)
    (tmp_path / "bad.fits").write_text("no table")
    with pytest.raises(InconsistentArguments, match="can't be read as a tab"):
        Catalogue.read(tmp_path / "bad.fits", photometry=BANDS)


def make_fit(grid, **changed):
    options = {
        "stars": {"log10initial_mass": Uniform(8.0, 11.0)},
        "filters": FILTERS,
        "redshift": Uniform(0.1, 1.0),
    }
    return Fit(
        IncidentEmission(grid),
        sf_hist=History(
            "Constant", {"max_age": LogUniform(10, 1000, units="Myr")}
        ),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        **options | changed,
    )


def test_what_does_not_suit_a_fit_is_found_before_it_is_compiled(emulated):
    fit = make_fit(emulated)
    reverse = dict(reversed(BANDS.items()))
    found = suited(read(photometry=reverse), fit)
    assert found.codes == {"photometry": ("g", "r", "J")}
    np.testing.assert_array_equal(
        found.data["photometry"].flux, read().data["photometry"].flux
    )
    assert found.digest == suited(read(), fit).digest
    ages = table()
    ages["age"] = [0.1, 0.2, np.nan] * u.Gyr
    known = Catalogue.from_table(
        ages, photometry=BANDS, units="nJy", known={"sf_hist/max_age": "age"}
    )
    np.testing.assert_allclose(
        suited(known, fit).known["sf_hist/max_age"], [100.0, 200.0, np.nan]
    )
    for catalogue, message in (
        (read(photometry={"g": BANDS["g"], "r": BANDS["r"]}), "it lacks J"),
        (read(photometry={**BANDS, "i": BANDS["g"]}), "the fit has no i"),
        (
            read({"z": [0.5, 0.6, 7.0]}, known={"redshift": "z"}),
            r"'redshift'.*0\.1 to 1; got 7",
        ),
        (read({"z": [1.0] * 3}, known={"redshif": "z"}), "Did you mean"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            suited(catalogue, fit)
    metres = table()
    metres["age"] = [0.1, 0.2, 0.3] * u.m
    with pytest.raises(IncorrectUnits, match="sf_hist/max_age"):
        suited(
            Catalogue.from_table(
                metres,
                photometry=BANDS,
                units="nJy",
                known={"sf_hist/max_age": "age"},
            ),
            fit,
        )
    with pytest.raises(InconsistentArguments, match="without spectrum"):
        suited(
            read(),
            make_fit(
                emulated,
                spectrum={"sigma_v": Uniform(1.0, 9.0, units="km/s")},
            ),
        )
    assert "model" not in vars(fit.library)


@pytest.fixture(scope="module")
def fit(emulated):
    return make_fit(emulated)


@pytest.fixture(scope="module")
def galaxies(fit):
    """Six galaxies of the model, with 10% errors and one missing band."""
    points = np.random.default_rng(1).random((6, 3))
    flux = fit.predict(points)["photometry"]
    columns = {"id": [f"G{i}" for i in range(6)]}
    for i, code in enumerate(FILTERS):
        columns[code], columns[f"{code}_err"] = flux[:, i], 0.1 * flux[:, i]
    columns["J"][4] = np.nan
    redshift = fit.parameters(points)["redshift"]
    columns["z"] = np.where(np.arange(6) < 2, redshift, np.nan)
    return Table(columns)


def as_catalogue(galaxies):
    return Catalogue.from_table(
        galaxies, photometry=BANDS, units="nJy", known={"redshift": "z"}
    )


def run(fit, galaxies, path, **options):
    options = {"method": "quick", "samples": 20, "progress": False} | options
    return fit_catalogue(fit, as_catalogue(galaxies), path, **options)


def contents(path):
    samples = path.with_name(f"{path.stem}.samples.hdf5")
    with h5py.File(samples) as hdf:
        arrays = {}
        hdf.visititems(
            lambda name, item: arrays.setdefault(
                name, item[...].tobytes() if hasattr(item, "dtype") else None
            )
        )
    return path.read_bytes(), arrays


@pytest.mark.slow
def test_the_table_has_the_posteriors_of_its_galaxies(
    fit, galaxies, quick, tmp_path
):
    results = run(fit, galaxies, tmp_path / "a.fits", seed=3, derived=DERIVED)
    assert results.galaxies == 6
    found = results.table
    assert found["id"].tolist() == galaxies["id"].tolist()
    for i in (0, 4):
        data, known = as_catalogue(galaxies).galaxy(i)
        assert list(known) == ["redshift"] * (i == 0)
        posterior = fit.run(
            data, "quick", seed=galaxy_seed(3, f"G{i}"), known=known
        )
        again = fit_galaxy(
            fit,
            as_catalogue(galaxies),
            f"G{i}",
            "quick",
            3,
            derived=DERIVED,
        )
        posterior = fit.derive(posterior, DERIVED)
        for name, quantiles in posterior.quantiles().items():
            short = SHORT.get(name, name.rpartition("/")[2])
            row = [found[f"{short}_{q}"][i] for q in (16, 50, 84)]
            np.testing.assert_array_equal(row, quantiles)
            assert found[f"{short}_best"][i] == posterior.best[name]
            np.testing.assert_array_equal(again.quantiles()[name], quantiles)
        assert found["ln_evidence"][i] == posterior.log_evidence
        assert found["chi_squared"][i] == posterior.chi_squared
        assert found["flag"][i] == bool(posterior.warnings)
    assert found["n_bands"].tolist() == [3, 3, 3, 3, 2, 3]
    assert str(found["max_age_50"].unit) == "Myr"
    np.testing.assert_allclose(
        found["redshift_50"][:2], galaxies["z"][:2], rtol=1e-6
    )
    about = json.loads(found.meta["ABOUT"])
    assert about["options"] == {"n_points": 64}
    assert about["derived"] == DERIVED
    assert str(found["sfr_100Myr_best"].unit) == "solMass / yr"
    assert about["parameters"]["parameters/redshift"]["high"] == 1.0
    with h5py.File(results.samples) as hdf:
        drawn = hdf["samples/sf_hist/max_age"]
        assert drawn.shape == (6, 20)
        assert drawn.attrs["Units"] == "Myr"
        # A constant rate, but for the age bins of the grid.
        mass = 10.0 ** hdf["samples/stars/log10initial_mass"][...]
        age = np.maximum(drawn[...], 100.0)
        rate = hdf["samples/derived/sfr_100Myr"]
        np.testing.assert_allclose(rate, 1e-6 * mass / age, rtol=0.1)
        assert hdf["samples/derived/beta_incident"].shape == (6, 20)
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.fits",
        "a.samples.hdf5",
    }
    # ECSV has the same numbers; the order of the galaxies does not matter.
    backwards = run(
        fit,
        galaxies[::-1],
        tmp_path / "b.ecsv",
        seed=3,
        samples=0,
        derived=DERIVED,
    )
    assert backwards.samples is None
    for name in found.colnames[1:-1]:
        np.testing.assert_array_equal(backwards.table[name][::-1], found[name])


@pytest.mark.slow
def test_interruptions_and_processes_do_not_show(
    fit, galaxies, quick, tmp_path
):
    path = tmp_path / "a.fits"
    run(fit, galaxies, path)
    expected = contents(path)
    assert quick.calls == 6
    run(fit, galaxies, path)
    assert quick.calls == 6
    path.unlink()
    quick.interrupt_at = 10
    with pytest.raises(KeyboardInterrupt):
        run(fit, galaxies, path)
    assert not path.exists()
    run(fit, galaxies, path)
    # Three before the interruption, and the other three after it.
    assert quick.calls == 6 + 4 + 3
    assert contents(path) == expected
    for process in (1, 0):
        shared = tmp_path / "shared" / "a.fits"
        assert run(fit, galaxies, shared, process=process, processes=2) is None
    result = CliRunner().invoke(main, ["merge", f"{shared}.parts"])
    assert "a.fits: 6 galaxies" in result.output
    assert contents(shared) == expected
    with LocalCluster(
        n_workers=2, processes=False, dashboard_address=":0"
    ) as cluster:
        spread = tmp_path / "spread" / "a.fits"
        run(fit, galaxies, spread, cluster=cluster)
    assert contents(spread) == expected


@pytest.mark.slow
def test_other_fits_are_refused(fit, galaxies, quick, emulated, tmp_path):
    path = tmp_path / "a.fits"
    quick.interrupt_at = 3
    with pytest.raises(KeyboardInterrupt):
        run(fit, galaxies, path)
    other = make_fit(emulated, redshift=Uniform(0.1, 1.2))
    with pytest.raises(
        InconsistentArguments,
        match=r"another catalogue.*: parameters \(parameters/redshift\)",
    ):
        run(other, galaxies, path)
    brighter = galaxies.copy()
    brighter["g"][0] *= 1.01
    with pytest.raises(InconsistentArguments, match="in: catalogue"):
        run(fit, brighter, path)
    with pytest.raises(InconsistentArguments, match="in: options"):
        run(fit, galaxies, path, n_points=65)
    run(fit, galaxies, path)
    with pytest.raises(InconsistentArguments, match="of another fit or cat"):
        run(other, galaxies, path)
    for names, message in (
        (["sfr_100Myr"], "of another fit or catalogue"),
        (["sfr_x"], r"'sfr_x' must have the form"),
        (["sfrs"], r"no derived quantity 'sfrs'.*Did you mean"),
        (5, "derived must be a name or a list"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            run(fit, galaxies, path, derived=names)
    with pytest.raises(InconsistentArguments, match=r"in \.fits or \.ecsv"):
        run(fit, galaxies, tmp_path / "a.txt")
    with pytest.raises(
        InconsistentArguments, match="must be among n_points; got"
    ):
        run(fit, galaxies, tmp_path / "b.fits", n_live=3)
    with pytest.raises(
        InconsistentArguments, match=r"be fitted: n_live must be"
    ):
        run(fit, galaxies, tmp_path / "b.fits", method="nested", n_live=0)
    assert not (tmp_path / "b.fits.parts").exists()
    renamed = galaxies.copy()
    renamed["id"][0] = "é"
    with pytest.raises(InconsistentArguments, match="ASCII only, got é"):
        run(fit, renamed, tmp_path / "b.fits")
    Table({"id": [1]}).write(tmp_path / "c.fits")
    with pytest.raises(InconsistentArguments, match="and is not replaced"):
        run(fit, galaxies, tmp_path / "c.fits")


@pytest.mark.slow
def test_galaxies_that_fail_do_not_stop_the_others(
    fit, galaxies, quick, tmp_path
):
    changed = galaxies.copy()
    # No galaxy is within 1e25 standard deviations.
    changed["g_err"][2] = 1e-25 * changed["g"][2]
    for code in FILTERS:
        changed[code][5] = np.nan
    g = float(galaxies["g"][1])
    quick.fails = lambda target: np.isclose(
        target.arguments.data.photometry.flux[0], g
    )
    results = run(fit, changed, tmp_path / "a.fits")
    assert results.failed == ("G1", "G2", "G5")
    assert "3 failed: G1, G2, G5" in str(results)
    found = results.table
    assert found["flag"].tolist()[1:3] == [2, 2]
    assert found["message"][5].startswith("The galaxy 'G5' has no data")
    assert found["message"][1] == "FloatingPointError: no convergence"
    assert "likelihood is zero" in found["message"][2]
    # Astropy masks NaN in FITS files.
    masked = np.ma.getmaskarray(found["max_age_50"])
    assert np.flatnonzero(masked).tolist() == [1, 2, 5]
    assert quick.calls == 4
    # 64 points are too few.
    assert results.not_converged
    assert "effective sample" in found["message"][0]
    reopened = CatalogueResults.open(tmp_path / "a.fits")
    assert reopened.failed == results.failed


@pytest.mark.slow
def test_galaxies_that_are_sampled_together(
    fit, galaxies, quick, together, tmp_path, caplog
):
    """Against the same sampler of one galaxy at a time."""
    fails, sizes = together
    options = {"n_points": 2000, "at_once": 4}
    alone = run(fit, galaxies, tmp_path / "a.fits", n_points=2000).table
    with jax.log_compiles(), caplog.at_level("WARNING"):
        path = tmp_path / "b.fits"
        results = run(fit, galaxies, path, method="together", **options)
    programs = [r for r in caplog.messages if "Finished XLA" in r]
    # One with free redshifts, and one for the two that are known.
    assert sum("over_galaxies" in line for line in programs) == 2
    # Two parts of three: two and one, and three.
    assert sizes == [3, 3, 3]
    for name in alone.colnames:
        if alone[name].dtype.kind == "f":
            np.testing.assert_allclose(
                results.table[name], alone[name], rtol=1e-3
            )
    expected = contents(path)
    for process in (1, 0):
        shared = tmp_path / "shared" / "b.fits"
        shares = {"process": process, "processes": 2}
        run(fit, galaxies, shared, method="together", **options, **shares)
    merge_results(f"{shared}.parts")
    assert contents(shared) == expected
    # One that fails is found, and does not change the others.
    g = float(galaxies["g"][4])
    fails.fails = lambda target: np.isclose(
        target.arguments.data.photometry.flux[0], g
    )
    path = tmp_path / "c.fits"
    found = run(fit, galaxies, path, method="together", **options)
    assert found.failed == ("G4",)
    kept = np.arange(6) != 4
    for name in ("id", "max_age_50", "ln_evidence"):
        np.testing.assert_array_equal(
            found.table[name][kept], results.table[name][kept]
        )
    assert found.table["message"][4] == "FloatingPointError: no convergence"
    with pytest.raises(InconsistentArguments, match="at_once must be"):
        run(fit, galaxies, path, at_once=0)


def test_parts_of_one_kind_are_merged(tmp_path):
    with pytest.raises(InconsistentArguments, match=r"no 'plan\.json'"):
        merge_results(tmp_path / "a.fits.parts")


YAML = """
grid: bc03-example
emission_model: IncidentEmission
redshift: {uniform: [0.1, 1]}
stars: {log10initial_mass: {uniform: [8, 11]}}
sf_hist: {Constant: {max_age: {log_uniform: [10, 1000], units: Myr}}}
metal_dist: {DeltaConstant: {metallicity: 0.01}}
filters: {g: [4000, 5500], r: [5500, 7000], J: [11000, 13500]}
columns:
  photometry: {g: [g, g_err], r: [r, r_err], J: [J, J_err]}
  known: {redshift: z}
  units: nJy
sampler: {nested: {n_live: 100, n_eff: 1e2}}
samples: 10
seed: 1
"""


def invoke(*arguments):
    return CliRunner().invoke(main, ["fit", *map(str, arguments)])


@pytest.mark.slow
def test_the_command_fits_a_catalogue_and_one_galaxy(
    galaxies, quick, tmp_path
):
    table, config = tmp_path / "galaxies.fits", tmp_path / "fit.yaml"
    galaxies.write(table)
    sampler = "sampler: {quick: {n_points: 500}}"
    config.write_text(
        YAML.replace("sampler: {nested", f"{sampler} # ")
        + "derived: [sfr_100Myr]\n"
    )
    result = invoke(table, config)
    assert result.exit_code == 0, result.output
    assert "6 galaxies" in result.output
    found = CatalogueResults.open(tmp_path / "galaxies-fit.fits")
    assert found.about["options"] == {"n_points": 500}
    assert np.isfinite(found.table["sfr_100Myr_50"]).all()
    result = invoke(table, config, "--id", "G0", "--plots", tmp_path / "plots")
    assert result.exit_code == 0, result.output
    assert f"ln evidence {found.table['ln_evidence'][0]:.2f}" in result.output
    written = Posterior.read(tmp_path / "galaxies-fit-G0.nc")
    assert list(written.derived) == ["sfr_100Myr"]
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "galaxies-fit-G0-corner.png",
        "galaxies-fit-G0-sed.png",
        "galaxies-fit-G0-sfh.png",
    }
    result = invoke(table, config, "--id", "G0")
    assert (result.exit_code, "--overwrite" in result.output) == (1, True)
    result = invoke(
        table, config, "--calibrate", "3", "--plots", tmp_path / "plots"
    )
    assert result.exit_code == 0, result.output
    assert "3 mock galaxies" in result.output
    assert (tmp_path / "plots" / "galaxies-fit-calibration.png").is_file()


def test_mistakes_in_the_command(tmp_path):
    (tmp_path / "old.nc").touch()
    path, config = tmp_path / "galaxies.csv", tmp_path / "fit.yaml"
    table(z=[0.5, 0.6, 0.7]).write(path)
    config.write_text(YAML)
    assert FitConfig.read(config).options == {"n_live": 100, "n_eff": 100}
    for options, code, message in (
        (["--id", "d"], 1, "one of the 3 of the catalogue, a, b, c; got 'd'"),
        (["--id", "a", "--out", "a.fits"], 1, "must end in .nc"),
        (
            ["--id", "a", "--workers", "2"],
            2,
            "--id and --calibrate fit galaxies in",
        ),
        (["--plots", "x"], 2, "give --id or --calibrate"),
        (["--calibrate", "9", "--out", "x.fits"], 2, "Leave out --out"),
        (["--overwrite"], 2, "The fit of a catalogue resumes"),
        (["--id", "a", "--out", tmp_path / "old.nc"], 1, "exists: choose"),
        (["--id", "a", "--calibrate", "9"], 2, "either --id or --calibrate"),
        (["--calibrate", "0"], 1, "n must be a whole number of at least 1"),
        (["--method", "nest"], 1, "Did you mean 'nested'?"),
        (["--out", "a.txt"], 1, "must end in .fits or .ecsv"),
        (["--process", "0"], 2, "--process and --processes"),
    ):
        result = invoke(path, config, *options)
        assert result.exit_code == code, result.output
        assert message in " ".join(result.output.split())
    for old, new, message in (
        ("redshift: {", "redshif: {", "Did you mean 'redshift'?"),
        ("columns:", "column:", "unknown entries: column"),
        ("g_err]", "gerr]", "Did you mean 'g_err'?"),
        ("units: nJy", "unit: nJy", "columns has unknown entries: unit"),
        ("n_live", "nlive", "must be among n_live"),
        ("samples: 10", "samples: x", "samples must be a whole number"),
        ("samples: 10", "at_once: 0", "at_once must be a whole number"),
        ("samples: 10", "derived: [sfrs]", "no derived quantity 'sfrs'"),
        ("max_age", "age", "'age'"),
    ):
        config.write_text(YAML.replace(old, new, 1))
        result = invoke(path, config)
        assert result.exit_code == 1, result.output
        assert message in " ".join(result.output.split())


def test_a_network_that_is_missing_is_named(tmp_path):
    pytest.importorskip("sbi", reason="needs the extra 'amortised'")
    path, config = tmp_path / "galaxies.csv", tmp_path / "fit.yaml"
    table(z=[0.5, 0.6, 0.7]).write(path)
    config.write_text(
        YAML.replace("nested: {n_live: 100", "amortised: {network: no.hdf5")
    )
    result = invoke(path, config)
    assert result.exit_code == 1, result.output
    assert "no.hdf5" in result.output


def test_filters_are_those_of_the_columns(tmp_path):
    config = tmp_path / "fit.yaml"
    config.write_text(YAML.replace("filters:", "#"))
    with pytest.raises(InconsistentArguments, match=r"codes.*got 'g'"):
        FitConfig.read(config)
