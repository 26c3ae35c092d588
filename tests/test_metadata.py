"""What makes a library is told from what makes another."""

import copy
import time
from dataclasses import replace
from functools import partial

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, Planck18
from conftest import QUICK, write_analytic_grid
from synthesizer.emission_models import (
    AttenuatedEmission,
    IncidentEmission,
    ParameterFunction,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.grid import Grid
from synthesizer.instruments import Filter, FilterCollection
from unyt import Gyr, Myr, angstrom

from synthesizer_emulator import EmulatedGrid, build, digests
from synthesizer_emulator.library import Draws, History, Library, Uniform
from synthesizer_emulator.library.parts import Parts
from synthesizer_emulator.weights.file import read_weights, write_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a small grid, stars alone, and its weights."""
    folder = tmp_path_factory.mktemp("grids")
    path = write_analytic_grid(folder / "small.hdf5", gas=False)
    build(path, **QUICK)
    return folder


@pytest.fixture
def native(folder):
    """Return the native grid, as it was just read."""
    return Grid("small", grid_dir=folder)


@pytest.fixture
def emulated(folder):
    """Return the emulated grid, as it was just read."""
    return EmulatedGrid("small", grid_dir=folder)


def attenuated(grid, curve=None, tau_v="tau_v", mask=5, **kwargs):
    """Return a model with dust, whose mask and depth can be chosen."""
    young = IncidentEmission(
        grid,
        label="young",
        mask_attr="ages",
        mask_op="<=",
        mask_thresh=mask * Myr,
    )
    return AttenuatedEmission(
        emitter="stellar",
        apply_to=young,
        dust_curve=curve or PowerLaw(slope=-0.7),
        tau_v=tau_v,
        label="attenuated",
        **kwargs,
    )


def depth_of(factor):
    """Return a function of a galaxy's parameter, with a number inside."""
    return ParameterFunction(
        lambda strength: factor * jnp.sqrt(strength), "tau_v", ["strength"]
    )


def band(transmission=None):
    """Return one filter, with a curve of its own."""
    lam = np.linspace(9000, 12000, 50) * angstrom
    curve = np.sin(np.linspace(0, np.pi, 50))
    if transmission is not None:
        curve = transmission(curve)
    return FilterCollection(
        filters=[Filter("A/b.near", transmission=curve, new_lam=lam)]
    )


def digest_of(model, **changes):
    """Return the digest of a library of a model."""
    stars = {"log10initial_mass": Uniform(8, 12), "strength": Uniform(0, 1)}
    asked = {"tau_v": 0.3} if changes.pop("deep", False) else {}
    library = Library(
        **{
            "emission_model": model,
            "sf_hist": History("Constant", {"max_age": 1 * Gyr}),
            "metal_dist": History("DeltaConstant", {"metallicity": 0.01}),
            "stars": {**stars, **asked},
            "draws": Draws(5, seed=3),
            "redshift": Uniform(0, 5),
            "filters": band(),
            **changes,
        }
    )
    return Parts(None, 5, 5, library.about).digest


@pytest.fixture
def digest(native):
    """Return what finds the digest of a library that differs somewhere."""

    def of(grid=None, model=attenuated, tau_v=None, **changes):
        tau_v = tau_v or depth_of(2.0)
        made = model(native if grid is None else grid, tau_v=tau_v)
        return digest_of(made, **changes)

    return of


class Rescaled(FlatLambdaCDM):
    """A cosmology that is written like another and computes otherwise."""

    def __repr__(self):
        return repr(Planck18)


class SteeperLaw(PowerLaw):
    """Another dust curve under the name of Synthesizer's."""

    def get_extinction_curve(self, lam, **kwargs):
        return 1.01 * super().get_extinction_curve(lam, **kwargs)


class Squared(Uniform):
    """Another prior under the name of this package's."""

    def quantile(self, u):
        return super().quantile(u**2)


SteeperLaw.__name__ = "PowerLaw"
Squared.__name__ = "Uniform"


def absorbing(scale):
    """Return Synthesizer's model with other coefficients."""
    igm = Inoue14()
    igm.alf1 = igm.alf1 * scale
    return igm


CHANGES = {
    "parameter function": {"tau_v": depth_of(2.001)},
    "another parameter's function": {
        "tau_v": ParameterFunction(
            lambda strength: 2.0 * strength, "tau_v", ["strength"]
        )
    },
    "dust curve": {"model": partial(attenuated, curve=PowerLaw(slope=-0.701))},
    "dust curve of the same name": {
        "model": partial(attenuated, curve=SteeperLaw(slope=-0.7))
    },
    "mask": {"model": partial(attenuated, mask=20)},
    "filter curve": {"filters": band(lambda curve: curve**1.01)},
    "cosmology": {"cosmo": FlatLambdaCDM(H0=70, Om0=0.3)},
    "cosmology of the same name": {"cosmo": Rescaled(H0=70, Om0=0.3)},
    "igm": {"igm": Inoue14},
    "coefficients of the igm": {"igm": absorbing(1.01)},
    "prior of the same name": {"redshift": Squared(0, 5)},
}


def test_every_input_changes_the_digest(digest):
    found = {name: digest(**change) for name, change in CHANGES.items()}
    found["none"] = digest()
    assert len(set(found.values())) == len(found)
    # The same again, of objects that were made anew.
    again = digest(tau_v=depth_of(2.0), filters=band(), igm=None)
    assert again == found["none"]
    assert digest(igm=Inoue14()) == found["igm"]


def changed_on_disk(path, name, change):
    """Change one value of a spectrum on the disk."""
    with h5py.File(path, "r+") as hdf:
        values = hdf[name][...]
        values[3, 2, 40] *= change
        hdf[name][...] = values


def test_a_native_grid_that_changed_is_another(digest, folder, tmp_path):
    path = write_analytic_grid(tmp_path / "small.hdf5", gas=False)
    before = digest(Grid("small", grid_dir=tmp_path))
    assert before == digest()
    # A spectrum that the model does not use may change.
    changed_on_disk(path, "spectra/transmitted", 2.0)
    assert digest(Grid("small", grid_dir=tmp_path)) == before
    changed_on_disk(path, "spectra/incident", 1 + 1e-5)
    assert digest(Grid("small", grid_dir=tmp_path)) != before


@pytest.mark.parametrize("kind", [Grid, EmulatedGrid])
def test_wavelengths_with_the_same_ends_are_others(digest, folder, kind):
    lam = np.geomspace(1000, 3e4, 101)
    moved = lam.copy()
    moved[30] *= 1.001
    one, same, other = (
        digest(kind("small", grid_dir=folder, new_lam=new * angstrom))
        for new in (lam, lam * (1 + 1e-15), moved)
    )
    assert one == same
    assert one != other


def test_weights_of_another_build_are_others(digest, folder, tmp_path):
    weights = read_weights(folder / "small.emulator")
    tensors = {path: dict(of) for path, of in weights.tensors.items()}
    name = next(n for n in tensors["spectra/incident"] if "kernel" in n)
    of = tensors["spectra/incident"]
    of[name] = of[name] * np.float32(1.00001)
    write_weights(
        tmp_path / "small.emulator", replace(weights, tensors=tensors)
    )
    one = EmulatedGrid("small", grid_dir=folder)
    other = EmulatedGrid("small", grid_dir=tmp_path)
    assert one.provenance == other.provenance
    assert digest(one) != digest(other)


def written(grid):
    grid.spectra["incident"] = 1.01 * grid.spectra["incident"]


def written_into(grid):
    grid.spectra["incident"][5] *= 1.01


@pytest.mark.parametrize("kind", [Grid, EmulatedGrid])
@pytest.mark.parametrize("change", [written, written_into])
def test_spectra_that_were_written_are_others(digest, folder, kind, change):
    grid = kind("small", grid_dir=folder)
    before = digest(grid)
    changed = copy.deepcopy(grid)
    change(changed)
    assert digest(changed) != before
    assert digest(grid) == before


def test_an_emulated_grid_is_the_same_evaluated_or_not(emulated, folder):
    lam = np.geomspace(1000, 3e4, 100) * angstrom
    before = emulated.spectra.digest("incident")
    _ = emulated.spectra["incident"]
    assert emulated.spectra.digest("incident") == before
    emulated.interp_spectra(lam)
    fresh = EmulatedGrid("small", grid_dir=folder, new_lam=lam)
    assert fresh.spectra.digest("incident") == emulated.spectra.digest(
        "incident"
    )


def test_nodes_of_another_axis_are_others(folder):
    def found(**axes):
        grid = EmulatedGrid("small", grid_dir=folder, axes=axes)
        return grid.spectra.digest("incident")

    middle = found(metallicities=[1e-3, 2e-3, 1e-2])
    assert middle != found(metallicities=[1e-3, 3e-3, 1e-2])
    assert middle == found(metallicities=[1e-3, 2e-3, 1e-2])


def test_digests_are_fast():
    """A spectrum of BC03 in full, some 20 million numbers, in a second."""
    values = np.random.default_rng(0).random((221, 7, 13216))
    taken = []
    for _ in range(3):
        start = time.process_time()
        digests.digest(values)
        taken.append(time.process_time() - start)
    assert min(taken) < 1.0
