"""Libraries as Synthesizer's instruments see them.

Premade instruments download their filters, so that most instruments are made
of top hats here.
"""

from unittest.mock import Mock
from urllib.error import URLError

import h5py
import numpy as np
import pytest
import yaml
from synthesizer.conversions import apparent_mag_to_fnu
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments, IncorrectUnits
from synthesizer.imaging import Image
from synthesizer.instruments import (
    FilterCollection,
    Instrument,
    InstrumentCollection,
    premade,
)
from unyt import Hz, angstrom, arcsecond, erg, nJy, s, uJy

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.galaxies.filters import as_filters
from synthesizer_emulator.galaxies.instruments import (
    as_instruments,
    filters_of,
    noise_of,
)
from synthesizer_emulator.library import (
    Draws,
    History,
    Library,
    LibraryFile,
    Uniform,
)
from synthesizer_emulator.library.config import LibraryConfig
from synthesizer_emulator.library.noise import PhotometricNoise

EDGES = {
    "JWST/NIRCam.a": (11000.0, 13000.0),
    "JWST/NIRCam.b": (18000.0, 22000.0),
}
BLUE = {"HST/ACS.c": (7000.0, 9000.0)}


def tophats(edges):
    return FilterCollection(
        tophat_dict={
            code: {"lam_min": low * angstrom, "lam_max": high * angstrom}
            for code, (low, high) in edges.items()
        }
    )


@pytest.fixture(scope="module")
def jwst():
    """Return an imager with a depth for each filter, in magnitudes."""
    return Instrument(
        "JWST",
        filters=tophats(EDGES),
        resolution=0.03 * arcsecond,
        depth={"JWST/NIRCam.a": 28.0, "JWST/NIRCam.b": 27.0},
        depth_app_radius=0.15 * arcsecond,
        snrs=5.0,
    )


@pytest.fixture(scope="module")
def hst():
    """Return a photometric instrument with a depth in flux density."""
    return Instrument("HST", filters=tophats(BLUE), depth=0.02 * uJy, snrs=10)


@pytest.fixture(scope="module")
def model():
    lam = np.geomspace(900.0, 3e4, 150) * angstrom
    return IncidentEmission(EmulatedGrid.example(new_lam=lam))


def make_library(model, n=6, seed=1, **arguments):
    arguments = {"noise": True, "redshift": Uniform(0.5, 1.5), **arguments}
    return Library(
        model,
        sf_hist=History("Constant", {"max_age": Uniform(0.1, 1, units="Gyr")}),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        stars={"log10initial_mass": Uniform(8, 12)},
        draws=Draws(n, seed=seed),
        **arguments,
    )


def test_the_noise_is_synthesizers(jwst, hst):
    """The depth over the signal-to-noise ratio: of its images, too."""
    noise = noise_of([jwst, hst])
    assert noise == pytest.approx(
        {
            # 28 AB mag are 22.9 nJy (Oke & Gunn 1983).
            "JWST/NIRCam.a": 22.9087 / 5,
            "JWST/NIRCam.b": 57.5440 / 5,
            "HST/ACS.c": 2.0,
        },
        rel=1e-5,
    )
    image = Image(
        resolution=0.03 * arcsecond,
        fov=3.0 * arcsecond,
        img=np.zeros((100, 100)) * nJy,
    )
    depth = apparent_mag_to_fnu(28.0)
    noisy = image.apply_noise_from_snr(snr=jwst.snrs, depth=depth)
    assert noisy.arr.std() == pytest.approx(noise["JWST/NIRCam.a"], rel=0.03)


def test_collections_and_premade_classes(jwst, hst):
    collection = InstrumentCollection()
    collection.add_instruments(jwst, hst)
    codes = [*EDGES, *BLUE]
    for given in (collection, [jwst, hst]):
        found = as_instruments(given)
        assert filters_of(found).filter_codes == codes
        assert list(noise_of(found)) == codes
    assert as_filters(collection).filter_codes == codes
    assert as_filters(jwst).filter_codes == list(EDGES)
    # Those of the user are not changed.
    assert jwst.filters.filter_codes == list(EDGES)
    subset = premade.JWSTNIRCamWide
    assert issubclass(subset, type(jwst))
    with pytest.raises(InconsistentArguments, match=r"JWSTNIRCamWide\(\)"):
        as_instruments(subset)


@pytest.mark.slow
def test_noise_is_added_to_the_photometry(model, jwst, hst, tmp_path):
    library = make_library(model, n=9, instruments=[jwst, hst])
    # In parts of any size, the same galaxies.
    file = library.write(tmp_path / "a.hdf5", part_size=4, progress=False)
    flux = file["photometry/incident"]
    noisy = file["noisy_photometry/incident"]
    made = library.make(slice(0, 9))
    np.testing.assert_array_equal(made["noisy_photometry/incident"], noisy)
    part = library.make(slice(5, 8))["noisy_photometry/incident"]
    np.testing.assert_allclose(part, noisy[5:8], rtol=1e-6)
    levels = noise_of([jwst, hst])
    assert file.about["noise"] == pytest.approx(levels)
    assert np.all(np.abs(noisy - flux) < 6 * np.array(list(levels.values())))
    # Without noise, or another seed, the photometry is another or the same.
    plain = make_library(model, n=9, instruments=[jwst, hst], noise=False)
    alone = plain.make(slice(0, 9))
    assert "noisy_photometry/incident" not in alone
    np.testing.assert_array_equal(alone["photometry/incident"], flux)
    table = LibraryFile.open(tmp_path / "a.hdf5").to_table()
    column = table["noisy_photometry/incident/HST/ACS.c"]
    np.testing.assert_array_equal(column.to_value("nJy"), noisy[:, 2])
    with h5py.File(tmp_path / "a.hdf5") as hdf:
        assert hdf["noisy_photometry/incident"].attrs["Units"] == "nJy"
    assert library.digest != plain.digest


def test_the_noise_is_gaussian_and_independent():
    """Over more galaxies than are drawn at a time."""
    n, levels = 9000, {"a": 1.0, "b": 30.0, "c": 0.01}
    made = PhotometricNoise(levels, seed=1)
    noise = np.concatenate(
        [made.draw(slice(i, i + 3000)) for i in range(0, n, 3000)]
    )
    scaled = noise / np.array(list(levels.values()))
    assert np.abs(scaled.mean(axis=0)).max() < 4 / np.sqrt(n)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=4 / np.sqrt(n))
    np.testing.assert_allclose(
        np.corrcoef(scaled.T), np.eye(3), atol=4 / np.sqrt(n)
    )
    assert len(np.unique(scaled)) == scaled.size
    other = PhotometricNoise(levels, seed=2).draw(slice(0, 9))
    assert not np.isin(other, noise).any()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"instruments": None}, InconsistentArguments, "noise needs instrum"),
        ({"outputs": "lnu"}, InconsistentArguments, "add it, or leave out"),
        ({"filters": BLUE}, InconsistentArguments, "can't be combined"),
        ({"noise": 1}, InconsistentArguments, "noise must be true or false"),
        ({"instruments": [3]}, InconsistentArguments, "InstrumentCollection"),
        ({"instruments": []}, InconsistentArguments, "At least one"),
    ],
)
def test_inconsistent_arguments(change, error, says, model, jwst):
    with pytest.raises(error, match=says):
        make_library(model, **{"instruments": jwst, **change})


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (
            {},
            InconsistentArguments,
            "needs its depth and snrs, got no depth and no snrs: add",
        ),
        (
            {"depth": {"HST/ACS.x": 28.0}, "snrs": 5.0},
            InconsistentArguments,
            "'HST/ACS.c' of the instrument 'a' needs its depth and snrs, got "
            "no depth: add depth of this filter to the instrument, or leave "
            "out noise",
        ),
        ({"depth": 28.0, "snrs": 0.0}, InconsistentArguments, "snrs of"),
        ({"depth": -3 * nJy, "snrs": 5.0}, InconsistentArguments, "the depth"),
        (
            {"depth": 1e28 * erg / s / Hz, "snrs": 5.0},
            IncorrectUnits,
            "the depth of 'HST/ACS.c'",
        ),
    ],
)
def test_depths_that_make_no_noise(arguments, error, says):
    with pytest.raises(error, match=says):
        noise_of([Instrument("a", filters=tophats(BLUE), **arguments)])


@pytest.mark.parametrize("name", ["mine", "JWSTNIRCamWide"])
def test_a_depth_in_a_file_needs_its_snrs(name, tmp_path):
    filters = {code: list(edges) for code, edges in BLUE.items()}
    for given, says in (
        ({"depth": 28}, f"'{name}' has depth without snrs: add snrs"),
        ({"snrs": 5}, f"'{name}' has snrs without depth: add depth"),
    ):
        with pytest.raises(
            InconsistentArguments, match=rf"library.yaml': .*{says}"
        ):
            read_config(tmp_path, {name: {"filters": filters, **given}})


def test_instruments_that_photometry_cannot_use(jwst):
    slit = Instrument("slit", lam=np.linspace(1e4, 2e4, 9) * angstrom)
    with pytest.raises(InconsistentArguments, match="'slit' has no filters"):
        as_instruments([jwst, slit])
    again = Instrument("again", filters=tophats(EDGES))
    with pytest.raises(InconsistentArguments, match="belongs to two instrum"):
        as_instruments([jwst, again])


CONFIG = {
    "file": "library.hdf5",
    "grid": {
        "name": "bc03-example",
        "new_lam": {"resolution": 30, "from": 900, "to": 30000},
    },
    "emission_model": "IncidentEmission",
    "redshift": 1.0,
    "stars": {"log10initial_mass": {"uniform": [8, 12]}},
    "sf_hist": {"Constant": {"max_age": "1 Gyr"}},
    "metal_dist": {"DeltaConstant": {"metallicity": 0.01}},
    "draws": {"n": 3},
    "noise": True,
}


def read_config(folder, instruments):
    path = folder / "library.yaml"
    config = {**CONFIG, "instruments": instruments}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return LibraryConfig.read(path).library


def test_instruments_in_a_file(hst, tmp_path, monkeypatch):
    filters = {code: list(edges) for code, edges in EDGES.items()}
    library = read_config(
        tmp_path,
        {
            "JWST": {
                "filters": filters,
                "depth": {"JWST/NIRCam.a": 28.0, "JWST/NIRCam.b": "57.5 nJy"},
                "snrs": 5,
            },
        },
    )
    assert library.about["noise"] == pytest.approx(
        {"JWST/NIRCam.a": 22.9087 / 5, "JWST/NIRCam.b": 11.5},
        rel=1e-5,
    )
    # A file of Synthesizer's.
    collection = InstrumentCollection()
    collection.add_instruments(hst)
    collection.write_instruments(str(tmp_path / "hst.hdf5"))
    written = read_config(tmp_path, "hst.hdf5")
    assert written.about["noise"] == pytest.approx({"HST/ACS.c": 2.0})
    # A premade one, whose filter Synthesizer downloaded before; and another.
    monkeypatch.setenv("SYNTHESIZER_SVO_FILTER_CACHE", str(tmp_path))
    with h5py.File(tmp_path / "JWST_NIRCam.F115W.hdf5", "w") as hdf:
        hdf["wavelength"] = np.linspace(9e3, 1.4e4, 50)
        hdf["transmission"] = np.hanning(50)
        hdf.attrs["svo_url"] = "nowhere"
    subset = {"filter_subset": ["JWST/NIRCam.F115W"], "depth": 28, "snrs": 5}
    made = read_config(tmp_path, {"JWSTNIRCamWide": subset})
    assert made.about["noise"] == pytest.approx(
        {"JWST/NIRCam.F115W": 22.9087 / 5}, rel=1e-5
    )
    monkeypatch.setattr(
        "urllib.request.urlopen", Mock(side_effect=URLError("none"))
    )
    for entry, says in (
        ({"JWSTNIRCamWide": {"depth": 28, "snrs": 5}}, "can't be made"),
        ({"JWSTNIRcam": {"depth": 28}}, "Did you mean 'JWSTNIRCam'"),
        ({"a": {"filters": BLUE, "depths": 2}}, "Did you mean 'depth'"),
        ([1], "must be the path of a file"),
    ):
        with pytest.raises(InconsistentArguments, match=says) as met:
            read_config(tmp_path, entry)
        assert "'instruments':" in str(met.value)
