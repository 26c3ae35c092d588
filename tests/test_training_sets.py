"""Training sets that are not the nodes of a grid."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import LAM, analytic_at, write_analytic_samples
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.grid import Grid

from synthesizer_emulator import EmulatedGrid, build
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.building.hypercube import Hypercube
from synthesizer_emulator.building.scattered import ScatteredSamples
from synthesizer_emulator.emulator.scaling import Coordinates
from synthesizer_emulator.gridfile.header import IONISING
from synthesizer_emulator.gridfile.samples import SampleFile

QUICK = {
    "architecture": "pca",
    "settings": {
        "hidden": [64, 64],
        "components": 12,
        "normalisation": "global",
        "whiten": False,
    },
    "training": {"epochs": 300, "batch_size": 64, "learning_rate": 1e-2},
    "progress": False,
}
AXES = {"ages": 30, "metallicities": [1e-4, 1e-3, 1e-2, 4e-2]}


def fluxes(samples):
    """Return the values that samples were prepared from, (m, n)."""
    eps = samples.soft_log.softening
    return (np.exp(samples.y) - eps) * np.exp(samples.log_norm)[:, None]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder of `runs`, an emulator of two files of samples."""
    folder = tmp_path_factory.mktemp("samples")
    write_analytic_samples(folder / "runs.hdf5", 192)
    write_analytic_samples(folder / "more.hdf5", 64, skip=192)
    report = build(
        [folder / "runs.hdf5", folder / "more.hdf5"],
        axes=AXES,
        author="Cecilia",
        notes="thesis",
        **QUICK,
    )
    return folder, report


def test_a_hypercube_holds_what_synthesizer_interpolates(analytic_grid):
    nodes = GridNodes.from_grid(analytic_grid)
    cube = Hypercube(nodes, 400, seed=1)
    native = Grid("analytic", grid_dir=analytic_grid.parent)
    for emission, what in (
        ("spectra/incident", lambda found: found["spectra"]._lnu),
        ("spectra/linecont", lambda found: found["spectra"]._lnu),
        (
            "lines/luminosity",
            lambda found: found["lines"].luminosity.to("erg/s"),
        ),
    ):
        samples = cube.samples(emission, 1e-8)
        points = Coordinates(cube.domain).to_values(samples.points)
        name = emission.split("/")[1]
        found = native.interpolate_grid_at_axes_value(
            spectra_type="nebular" if name == "luminosity" else name,
            ages=points[:, 0],
            metallicities=points[:, 1],
        )
        expected = np.asarray(what(found))
        np.testing.assert_allclose(
            fluxes(samples), expected, rtol=1e-6, atol=1e-14 * expected.max()
        )


def test_a_hypercube_fills_the_domain_evenly(analytic_grid):
    cube = Hypercube(GridNodes.from_grid(analytic_grid), 400, seed=1)
    points = cube.samples("spectra/incident", 1e-8).points
    assert len(points) == 400
    for column in points.T:
        counts, _ = np.histogram(column, bins=20, range=(-1, 1))
        assert (counts == 20).all()
    # Of the gas nothing is learned where the interpolation fades out.
    gas = cube.samples("spectra/linecont", 1e-8)
    ages = Coordinates(cube.domain).to_values(gas.points)[:, 0]
    alive = cube.header.axes[0].values[gas.has_emission[:, 0]]
    assert 0 < len(ages) < 400
    assert ages.max() <= alive.max()


@pytest.mark.slow
def test_an_emulator_of_a_hypercube(analytic_grid):
    report = build(
        analytic_grid, latin_hypercube=300, spectra=["incident"], **QUICK
    )
    assert report.provenance.trained_on.startswith("Latin hypercube of 300")
    assert report.provenance.errors["spectra/incident"]["spectra"] == 72
    assert report.provenance.errors["spectra/incident"]["p50"] < 0.1


@pytest.mark.slow
def test_scattered_samples_become_a_grid(built):
    folder, report = built
    grid = EmulatedGrid("runs", grid_dir=folder)
    assert grid.shape == (30, 4, 150)
    np.testing.assert_allclose(grid.log10ages[[0, -1]], [6, 10])
    np.testing.assert_allclose(grid.metallicities, AXES["metallicities"])
    ages, metals = np.meshgrid(
        grid.ages.value, grid.metallicities, indexing="ij"
    )
    true = analytic_at(LAM, ages, metals)
    for name in ("incident", "nebular", "transmitted"):
        expected = true[f"spectra/{name}"]
        # Which nodes have gas is known but to the distance of samples.
        certain = (ages < 1.5e7) | (name == "incident")
        bright = expected > 1e-5 * expected.max(-1, keepdims=True)
        bright &= certain[..., None]
        error = np.abs(grid.spectra[name][bright] / expected[bright] - 1)
        assert np.median(error) < 0.05, name
    old = ages > 6e7
    assert (grid.line_lums["nebular"][old] == 0).all()
    assert report.provenance.trained_on == "256 scattered samples of 2 files"


@pytest.mark.slow
def test_what_samples_store_is_interpolated_to_the_nodes(built):
    folder, _ = built
    grid = EmulatedGrid("runs", grid_dir=folder)
    part = (grid.log10ages - 6) / 4
    for found, expected in (
        (grid.log10_specific_ionising_lum["HI"], 46 - part),
        (grid.stellar_fraction, 1 - 0.3 * part),
    ):
        np.testing.assert_allclose(
            found, expected[:, None] + 0 * found, atol=0.05
        )


@pytest.mark.slow
def test_the_errors_are_those_of_samples_kept_out(built):
    folder, report = built
    emulator = EmulatedGrid("runs", grid_dir=folder).emulator
    files = [folder / "runs.hdf5", folder / "more.hdf5"]
    parts = []
    for path in files:
        with h5py.File(path) as hdf:
            parts.append(
                (hdf["parameters"][...], hdf["spectra/incident"][...])
            )
    points, true = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.random.default_rng(0).permutation(256)
    points, true = (np.array(a)[order[:26]] for a in (points, true))
    evaluate = jax.vmap(lambda p: emulator.spectrum("incident", p))
    scored = LAM >= 912
    flux, true = evaluate(jnp.asarray(points))[:, scored], true[:, scored]
    bright = true > 1e-5 * true.max(axis=1, keepdims=True)
    stated = report.provenance.errors["spectra/incident"]
    assert stated["spectra"] == 26
    np.testing.assert_allclose(
        stated["worst"], np.abs(flux / true - 1)[bright].max(), rtol=1e-3
    )


@pytest.mark.slow
def test_the_author_and_notes_are_kept(built):
    folder, _ = built
    card = EmulatedGrid("runs", grid_dir=folder).provenance
    assert (card.author, card.notes) == ("Cecilia", "thesis")


def test_two_files_are_as_one(tmp_path):
    whole = write_analytic_samples(tmp_path / "whole.hdf5", 40)
    parts = [
        write_analytic_samples(tmp_path / "a.hdf5", 25),
        write_analytic_samples(tmp_path / "b.hdf5", 15, skip=25),
    ]
    one, two = (ScatteredSamples.open(p, AXES) for p in ([whole], parts))
    for emission in one.emissions:
        np.testing.assert_array_equal(
            one.samples(emission, 1e-8).y, two.samples(emission, 1e-8).y
        )
    np.testing.assert_allclose(
        one.header.star_fraction, two.header.star_fraction
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (5, np.geomspace(1e6, 1e10, 5)),
        ("5", np.geomspace(1e6, 1e10, 5)),
        ("1e7:1e9:3", [1e7, 1e8, 1e9]),
        ("1e7,2e7,1e8", [1e7, 2e7, 1e8]),
        ([1e6, 3e6], [1e6, 3e6]),
    ],
)
def test_ways_to_choose_nodes(tmp_path, choice, expected):
    path = write_analytic_samples(tmp_path / "s.hdf5", 8, gas=False)
    axes = {**AXES, "ages": choice}
    header = ScatteredSamples.open([path], axes).header
    np.testing.assert_allclose(header.axes[0].values, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (None, r"ages \(1e\+06 to 1e\+10\).*got none for ages, metallicities"),
        ({"ages": 5}, "got none for metallicities.*--axes ages=50"),
        ({**AXES, "mass": 3}, "got the unknown parameter mass"),
        ({**AXES, "ages": 1}, "'ages' must have at least two nodes"),
        ({**AXES, "ages": [1e7, 1e6]}, "strictly ascending"),
        ({**AXES, "ages": "1e6:1e8"}, "LOW:HIGH:NUMBER, got '1e6:1e8'"),
        ({**AXES, "ages": "young"}, "got 'young'"),
        (
            {**AXES, "ages": [1e6, 1e11]},
            r"1e\+06 to 1e\+10.*does not extrapolate",
        ),
    ],
)
def test_bad_choices_of_nodes(tmp_path, axes, message):
    path = write_analytic_samples(tmp_path / "s.hdf5", 8, gas=False)
    with pytest.raises(InconsistentArguments, match=message):
        build(path, axes=axes, **QUICK)


def test_the_default_says_who_can_learn_from_samples(tmp_path, analytic_grid):
    path = write_analytic_samples(tmp_path / "s.hdf5", 8, gas=False)
    message = (
        "'residual_table' must be trained on the nodes of a grid, got 8 "
        "scattered samples.*another architecture: .*payne, pca, three_comp"
    )
    with pytest.raises(InconsistentArguments, match=message):
        build(path, axes=AXES, progress=False)
    with pytest.raises(InconsistentArguments, match="got Latin hypercube"):
        build(analytic_grid, latin_hypercube=50, progress=False)


def test_what_does_not_go_together(tmp_path, analytic_grid):
    path = write_analytic_samples(tmp_path / "s.hdf5", 8, gas=False)
    with pytest.raises(InconsistentArguments, match=r"'analytic.hdf5' is a g"):
        build([path, analytic_grid], axes=AXES, **QUICK)
    with pytest.raises(InconsistentArguments, match=r"EmulatedGrid\(.*axes="):
        build(analytic_grid, axes={"ages": 5}, **QUICK)
    with pytest.raises(InconsistentArguments, match="needs a grid"):
        build(path, axes=AXES, latin_hypercube=10, **QUICK)
    with pytest.raises(InconsistentArguments, match="latin_hypercube must be"):
        build(analytic_grid, latin_hypercube=0, **QUICK)


def _names(hdf):
    hdf["parameters"].attrs["names"] = ["ages", "metals"]


def _wavelengths(hdf):
    hdf["spectra/wavelength"][3] *= 1.001


def _fewer_names(hdf):
    hdf["parameters"].attrs["names"] = ["ages"]


def _fewer_units(hdf):
    hdf["parameters"].attrs["Units"] = ["yr"]


def _no_units(hdf):
    del hdf["parameters"].attrs["Units"]


def _outside(hdf):
    hdf["parameters"].attrs["high"] = [1e7, 4e-2]


def _not_finite(hdf):
    hdf["parameters"][2, 1] = np.nan


def _bad_value(hdf):
    hdf["spectra/incident"][5, 77] = -1.0


def _fewer_spectra(hdf):
    values = hdf["spectra/incident"][:-1]
    del hdf["spectra/incident"]
    hdf["spectra/incident"] = values
    hdf["spectra/incident"].attrs["Units"] = "erg/s/Hz"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_names, "s.hdf5' and '.*d.hdf5' can't be joined: their parameters"),
        (_wavelengths, "can't be joined: their wavelengths differ"),
        (_fewer_names, r"one column for each of its names \(ages\)"),
        (_fewer_units, "one entry for each of ages, metallicities"),
        (_no_units, "'.*d.hdf5' is not a complete file of samples.*Units"),
        (_outside, "must lie within the attributes 'low'"),
        (_not_finite, "at least two samples and finite values only"),
        (
            _bad_value,
            r"negative value at sample 5 of '.*d.hdf5' \(ages = .*entry 77",
        ),
        (
            _fewer_spectra,
            "'spectra/incident' of '.*d.hdf5' must have the shape",
        ),
    ],
)
def test_damaged_files_of_samples(tmp_path, damage, message):
    paths = [
        write_analytic_samples(tmp_path / "s.hdf5", 8, gas=False),
        write_analytic_samples(tmp_path / "d.hdf5", 8, skip=8, gas=False),
    ]
    with h5py.File(paths[1], "a") as hdf:
        damage(hdf)
    with pytest.raises(GridError, match=message):
        build(paths, axes=AXES, **QUICK)


@pytest.fixture
def samples(tmp_path):
    """Return the path of a small file of samples, with lines."""
    return write_analytic_samples(tmp_path / "s.hdf5", 8)


def read_all(path):
    """Read everything of a file of samples."""
    file = SampleFile.open(path)
    for emission in file.contents.units:
        file.read(emission)


def test_units_of_samples_are_not_evaluated(samples, tmp_path):
    touched = tmp_path / "touched"
    evil = f"__import__('pathlib').Path('{touched}').touch()"
    whole = samples.read_bytes()
    with h5py.File(samples) as hdf:
        stated = []
        hdf.visititems(
            lambda name, entry: (
                stated.append(name) if "Units" in entry.attrs else None
            )
        )
    assert "parameters" in stated
    for entry in [*stated, "lines/wavelength"]:
        for text in (evil, "10**10**10"):
            samples.write_bytes(whole)
            with h5py.File(samples, "r+") as hdf:
                several = entry == "parameters"
                hdf[entry].attrs["Units"] = ["yr", text] if several else text
            with pytest.raises(GridError, match=r"can't be read: .* is no"):
                read_all(samples)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("star_fraction", np.nan, "not finite at sample 7"),
        ("star_fraction", -0.1, "negative value at sample 7"),
        (f"{IONISING}/HI", np.nan, "not finite at sample 7"),
        (f"{IONISING}/HI", np.inf, "not finite at sample 7"),
        ("spectra/wavelength", np.nan, "finite and positive"),
        ("lines/wavelength", np.inf, "finite and positive"),
    ],
)
def test_numbers_that_no_sample_has(samples, entry, value, message):
    with h5py.File(samples, "r+") as hdf:
        hdf[entry][-1] = value
    with pytest.raises(GridError, match=rf"{entry}'.*{message}.* again"):
        build(samples, axes=AXES, **QUICK)


@pytest.mark.parametrize("low", [[np.nan, 1e-4], [-np.inf, 1e-4]])
def test_the_box_of_samples_has_ends(samples, low):
    with h5py.File(samples, "r+") as hdf:
        hdf["parameters"].attrs["low"] = low
    with pytest.raises(GridError, match=r"'low' and 'high' .* finite"):
        read_all(samples)


@pytest.mark.parametrize(
    "replace_by",
    [
        lambda hdf, name: hdf.create_group(name),
        lambda hdf, name: hdf.__setitem__(name, "text"),
        lambda hdf, name: hdf.__setitem__(name, np.ones(8, complex)),
        lambda hdf, name: hdf.__setitem__(name, np.ones(8, "f4,f4")),
        lambda hdf, name: hdf.create_dataset(name, (8,), h5py.ref_dtype),
        lambda hdf, name: hdf.__setitem__(name, h5py.Empty("f4")),
        lambda hdf, name: hdf.__setitem__(name, np.ones((2, 2, 2))),
        lambda hdf, name: hdf.__setitem__(name, 1.0),
    ],
)
def test_nothing_else_in_place_of_an_array_of_samples(samples, replace_by):
    whole, names = samples.read_bytes(), []
    with h5py.File(samples) as hdf:
        hdf.visititems(
            lambda name, entry: (
                names.append(name) if isinstance(entry, h5py.Dataset) else None
            )
        )
    for name in names:
        samples.write_bytes(whole)
        with h5py.File(samples, "r+") as hdf:
            attributes = dict(hdf[name].attrs)
            del hdf[name]
            replace_by(hdf, name)
            hdf[name].attrs.update(attributes)
        with pytest.raises(GridError, match=r"s\.hdf5"):
            read_all(samples)


@pytest.mark.parametrize(
    "wrong",
    [
        h5py.Empty("f4"),
        np.ones((3, 2)),
        np.ones(2, "f4,f4"),
        np.array([["x", "y"]], "S"),
        b"\xff\xfe",
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "name", ["names", "Units", "log_on_read", "low", "high"]
)
def test_nothing_else_in_place_of_an_attribute(samples, name, wrong):
    with h5py.File(samples, "r+") as hdf:
        hdf["parameters"].attrs[name] = wrong
    with pytest.raises(GridError, match=r"s\.hdf5"):
        read_all(samples)


@pytest.mark.parametrize("twice", ["the file", "one sample"])
def test_two_samples_at_one_point_are_named(tmp_path, twice):
    path = write_analytic_samples(tmp_path / "s.hdf5", 32)
    paths = [path, path]
    if twice == "one sample":
        paths = [path]
        with h5py.File(path, "r+") as hdf:
            hdf["parameters"][7] = hdf["parameters"][3]
    with pytest.raises(GridError, match="same point as sample"):
        ScatteredSamples.open(paths, {"ages": 5, "metallicities": 4})


@pytest.mark.parametrize("nodes", [10**12, "1000000000000", "1e6:1e9:10**9"])
def test_too_many_nodes_are_refused(tmp_path, nodes):
    path = write_analytic_samples(tmp_path / "s.hdf5", 32)
    with pytest.raises(InconsistentArguments, match=r"nodes"):
        ScatteredSamples.open([path], {"ages": nodes, "metallicities": 4})


def test_too_many_nodes_in_all_are_refused(tmp_path):
    path = write_analytic_samples(tmp_path / "s.hdf5", 32)
    axes = {"ages": 200_000, "metallicities": 200_000}
    with pytest.raises(InconsistentArguments, match="x 200000 nodes would"):
        ScatteredSamples.open([path], axes)


@pytest.mark.slow
def test_a_range_of_wavelengths(analytic_grid):
    options = {**QUICK, "settings": {"components": 4, "hidden": [4]}}
    options["spectra"] = ["incident"]
    options["architecture"] = "pca"
    report = build(analytic_grid, lam_lims=(1000.0, 8000.0), **options)
    inside = (LAM >= 1000.0) & (LAM <= 8000.0)
    trained_on = report.provenance.trained_on
    assert trained_on.startswith("72 nodes, ")
    assert trained_on.endswith(" Angstrom")
    grid = EmulatedGrid("analytic", grid_dir=analytic_grid.parent)
    np.testing.assert_allclose(grid.lam.value, LAM[inside])
    with pytest.raises(
        InconsistentArguments, match=f"It has {inside.sum()} wavelengths, not"
    ):
        build(analytic_grid, lam_lims=(1000.0, 7000.0), **options)
    with pytest.raises(InconsistentArguments, match=r"analytic\.hdf5' must"):
        build(analytic_grid, lam_lims=(1000.0, 1001.0), **options)
