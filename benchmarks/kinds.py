"""Does every kind of grid that Synthesizer uses have an emulator?

Writes each kind, small and of analytic spectra, in the layout of
grid-generation's scripts: names, units, attributes and shapes are theirs.
Loads it by Synthesizer, builds an emulator, and compares arrays and methods of
`EmulatedGrid` with those of `Grid`. Prints the table of docs/kinds.md.

    python benchmarks/kinds.py --json docs/benchmarks/kinds.json
"""

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import record
from numpy.typing import NDArray
from synthesizer import exceptions
from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.attenuation import DraineLiGrainCurves
from synthesizer.emission_models.generators.dust import DraineLi07
from synthesizer.grid import Grid
from synthesizer.particle import BlackHoles, Stars
from unyt import Lsun, Msun, angstrom, pc, yr

from synthesizer_emulator import EmulatedGrid, build, emulated_grids

LAM = np.geomspace(100.0, 1e5, 120)
DUST_LAM = np.geomspace(1e4, 1e7, 150)
LINES = {
    "H 1 1215.67A": 1215.67,
    "H 1 4861.32A": 4861.32,
    "O 3 5006.84A": 5006.84,
    "H 1 6562.80A": 6562.80,
}
# Enough for spectra this smooth.
EPOCHS = 100

CLOUDY_SPECTRA = ("incident", "transmitted", "nebular", "linecont")

# The values along each axis, the units as unyt spells them, and whether
# Synthesizer interpolates in their logarithm.
AXES: dict[str, tuple[NDArray, str, bool]] = {
    "ages": (np.geomspace(1e6, 1e10, 10), "yr", True),
    "metallicities": (np.geomspace(1e-4, 0.04, 5), "dimensionless", False),
    "alpha_enhancements": (
        np.array([-0.2, 0.0, 0.2, 0.4, 0.6]),
        "dimensionless",
        False,
    ),
    "high_mass_slope": (np.arange(1.3, 3.01, 0.4), "dimensionless", False),
    "ionisation_parameters": (
        np.geomspace(1e-4, 0.1, 4),
        "dimensionless",
        True,
    ),
    "reference_ionisation_parameters": (
        np.geomspace(1e-3, 0.1, 3),
        "dimensionless",
        True,
    ),
    "hydrogen_densities": (np.geomspace(10, 1e4, 4), "cm**(-3)", True),
    "column_densities": (np.array([19.0, 20.0, 21.0]), "dimensionless", False),
    "redshifts": (np.array([0.0, 5.0, 10.0]), "dimensionless", False),
    "abundance_scalings.nitrogen_to_oxygen": (
        np.array([-2.0, -1.5, -1.03, -0.5]),
        "dimensionless",
        False,
    ),
    "depletion_scales": (np.array([0.0, 0.5, 1.0]), "dimensionless", False),
    "turbulences": (np.array([10.0, 100.0, 600.0]), "km/s", False),
    "masses": (np.geomspace(1e5, 1e10, 6), "Msun", True),
    "accretion_rates_eddington": (
        np.geomspace(1e-2, 1.0, 5),
        "dimensionless",
        True,
    ),
    "cosine_inclinations": (np.linspace(0.1, 0.98, 4), "dimensionless", False),
    "spins": (np.array([0.0, 0.5, 0.99]), "dimensionless", False),
}


def draw_axes(**nodes: int) -> dict[str, tuple[NDArray, str, bool]]:
    """Return some of the axes, with fewer nodes where a number is given."""
    chosen = {}
    for name, n in nodes.items():
        name = name.replace("__", ".")
        values, units, logged = AXES[name]
        chosen[name] = (values[:n] if n else values, units, logged)
    return chosen


def spectra_of(axes: Mapping[str, tuple], lam: NDArray) -> NDArray:
    """Return smooth spectra (n1, ..., nd, n), a greybody for each node.

    Its temperature and luminosity are powers of the values of all axes.
    """
    mesh = np.meshgrid(*(v for v, _, _ in axes.values()), indexing="ij")
    temperature = np.full(mesh[0].shape, 4e4)
    log_luminosity = np.zeros(mesh[0].shape)
    for i, ((values, _, logged), grid) in enumerate(
        zip(axes.values(), mesh, strict=True)
    ):
        if len(values) == 1:
            continue
        position = np.log10(grid) if logged else grid
        position = (position - position.min()) / np.ptp(position)
        temperature *= 1.0 - 0.5 * position / (1 + i)
        log_luminosity -= (2.0 / (1 + i)) * position
    x = 1.44e8 / (lam * temperature[..., None])
    planck = (1e4 / lam) ** 3 / np.expm1(np.minimum(x, 600.0))
    return 10.0 ** (20.0 + log_luminosity[..., None]) * planck


def write_array(
    hdf: h5py.File,
    path: str,
    values: NDArray,
    units: str,
    description: str,
    log_on_read: bool = False,
) -> None:
    """Write an array with the attributes of `GridFile.write_dataset`."""
    hdf[path] = values
    hdf[path].attrs["Units"] = units
    hdf[path].attrs["Description"] = description
    hdf[path].attrs["log_on_read"] = log_on_read


def write_common(
    path: Path,
    axes: Mapping[str, tuple],
    spectra: Mapping[str, NDArray],
    lam: NDArray = LAM,
    weight: str = "initial_masses",
    model: Mapping[str, Any] | None = None,
) -> Path:
    """Write what `GridFile.write_grid_common` writes."""
    with h5py.File(path, "w") as hdf:
        hdf.attrs["synthesizer_grids_version"] = "0.1"
        hdf.attrs["synthesizer_version"] = "1.3.1"
        hdf.attrs["date_created"] = "2026-06-23"
        hdf.create_group("Model").attrs.update(model or {})
        hdf.attrs["axes"] = list(axes)
        hdf.attrs["WeightVariable"] = weight
        for name, (values, units, logged) in axes.items():
            write_array(hdf, f"axes/{name}", values, units, name, logged)
        if spectra:
            write_array(hdf, "spectra/wavelength", lam, "Å", "Wavelength")
        for name, values in spectra.items():
            units = "erg/(Hz*s)"
            write_array(hdf, f"spectra/{name}", values, units, "Spectra")
    return path


def add_ionising(path: Path, incident: NDArray) -> None:
    """Write ionising luminosities, as `add_specific_ionising_lum`."""
    with h5py.File(path, "r+") as hdf, np.errstate(divide="ignore"):
        for ion, limit in (("HI", 912.0), ("HeII", 228.0)):
            ionising = np.where(limit > LAM, incident / LAM, 0.0)
            write_array(
                hdf,
                f"log10_specific_ionising_luminosity/{ion}",
                np.log10(1e27 * ionising.sum(axis=-1)),
                "dimensionless",
                "Ionising photon production rate",
            )


def add_fractions(path: Path, shape: tuple[int, ...], remnants: bool) -> None:
    """Write the fractions of mass in stars and in remnants."""
    fraction = np.linspace(1.0, 0.6, shape[0]).reshape(
        -1, *[1] * (len(shape) - 1)
    )
    fraction = np.broadcast_to(fraction, shape)
    with h5py.File(path, "r+") as hdf:
        write_array(hdf, "star_fraction", fraction, "dimensionless", "Stars")
        if remnants:
            write_array(
                hdf,
                "remnant_fraction",
                1.0 - fraction,
                "dimensionless",
                "Remnants",
            )


def stellar(
    path: Path,
    axes: Mapping[str, tuple],
    fractions: bool = True,
    remnants: bool = False,
    **model: Any,
) -> Path:
    """Write a grid of stars without gas."""
    incident = spectra_of(axes, LAM)
    write_common(path, axes, {"incident": incident}, model=model)
    if fractions:
        add_fractions(path, incident.shape[:-1], remnants)
    add_ionising(path, incident)
    return path


def yggdrasil(path: Path, fcov: str) -> Path:
    """Write Population III stars, of one metallicity."""
    axes = {
        "ages": (np.geomspace(1e4, 3.6e6, 14), "yr", True),
        "metallicities": (np.array([0.0]), "dimensionless", False),
    }
    spectra = spectra_of(axes, LAM)
    name = "incident" if fcov == "0" else f"nebular_fcov_{fcov}"
    variant = "PopIII" if fcov == "0" else f"POPIII-fcov_{fcov}"
    write_common(
        path,
        axes,
        {name: spectra},
        model={"sps_name": "yggdrasil", "sps_variant": variant},
    )
    if fcov == "0":
        add_ionising(path, spectra)
    with h5py.File(path, "r+") as hdf:
        hdf.attrs["axes_alternative"] = ["log10ages", "metallicities"]
    return path


def cloudy(
    path: Path,
    axes: Mapping[str, tuple],
    weight: str = "initial_masses",
    spectra: bool = True,
    failed: tuple[tuple[int, ...], ...] = (),
    scale: float = 1.0,
) -> Path:
    """Write a grid of gas, as `create_synthesizer_grid.py`."""
    incident = scale * spectra_of(axes, LAM)
    power = np.where(LAM <= 912.0, incident, 0.0).sum(-1, keepdims=True)
    transmitted = np.where(LAM > 912.0, incident, 0.0)
    continuum = power * (LAM / 5000.0) ** 0.3 * 1e-2 * (LAM > 912.0)
    lams = np.array(list(LINES.values()))
    luminosity = 1e12 * power * np.array([20.0, 1.0, 2.0, 3.0])
    linecont = np.zeros_like(incident)
    for i, line in enumerate(lams):
        linecont[..., np.argmin(np.abs(LAM - line))] += (
            luminosity[..., i] / 1e12
        )
    values = dict(
        zip(
            CLOUDY_SPECTRA,
            (incident, transmitted, continuum + linecont, linecont),
            strict=True,
        )
    )

    def at_lines(spectrum: NDArray) -> NDArray:
        return np.apply_along_axis(
            lambda one: np.interp(lams, LAM, one), -1, spectrum
        )

    lines = {"luminosity": luminosity}
    if spectra:
        lines |= {
            "transmitted": at_lines(transmitted),
            "incident": at_lines(incident),
            "nebular_continuum": at_lines(continuum),
            "total_continuum": at_lines(continuum + transmitted),
        }
    failures = np.zeros(incident.shape[:-1])
    for node in failed:
        failures[node] = 1.0
        for array in (*values.values(), *lines.values()):
            array[node] = 0.0
    write_common(path, axes, values if spectra else {}, weight=weight)
    add_ionising(path, scale * spectra_of(axes, LAM))
    with h5py.File(path, "r+") as hdf:
        hdf.attrs["incident_axes"] = list(axes)[:2]
        gas = hdf.create_group("CloudyParams")
        gas.attrs["cloudy_version"] = "c23.01"
        gas.attrs["grains"] = "Orion"
        gas.attrs["depletion_model"] = "None"
        scalings = gas.create_group("abundance_scalings")
        scalings.attrs["nitrogen"] = "GalacticConcordance"
        scalings.attrs["carbon_to_oxygen"] = -0.34
        if spectra:
            hdf.attrs["spec_names"] = CLOUDY_SPECTRA
            write_array(
                hdf,
                "spectra/normalisation",
                np.ones(incident.shape[:-1]),
                "erg/(Hz*s)",
                "Spectra",
            )
        write_array(hdf, "failures", failures, "dimensionless", "failures")
        write_array(hdf, "lines/wavelength", lams, "Å", "Wavelength")
        hdf.create_dataset(
            "lines/id",
            data=np.array(list(LINES), object),
            dtype=h5py.string_dtype("utf-8"),
        )
        for name, array in lines.items():
            units = "erg/s" if name == "luminosity" else "erg/(Hz*s)"
            write_array(hdf, f"lines/{name}", array, units, name)
    return path


def black_holes(
    path: Path, axes: Mapping[str, tuple], weight: str, **model: Any
) -> Path:
    """Write a grid of discs around black holes, per erg/s."""
    incident = 1e-36 * spectra_of(axes, LAM)
    write_common(
        path,
        axes,
        {"incident": incident},
        weight=weight,
        model={"type": "agn", **model},
    )
    add_ionising(path, incident)
    return path


def feltre(path: Path) -> Path:
    """Write the broken power laws of Feltre et al. (2016)."""
    lam = np.geomspace(10.0, 1e6, 200)
    slopes = np.array([-2.0, -1.8, -1.6, -1.4, -1.2, -1.0])
    axes = {
        "alpha1": (slopes, "dimensionless", False),
        "alpha2": (np.array([-0.5]), "dimensionless", False),
        "alpha3": (np.array([2.0]), "dimensionless", False),
    }
    bends = lam / 2500.0, lam / 1e5
    shape = np.where(
        lam < 2500.0,
        bends[0] ** -slopes[:, None],
        np.where(lam < 1e5, bends[0] ** 0.5, 40.0**0.5 * bends[1] ** -2.0),
    )
    write_common(
        path,
        axes,
        {"incident": 1e-16 * shape[:, None, None]},
        lam=lam,
        weight="bolometric_luminosities",
        model={"name": "bpl-feltre16", "type": "agn"},
    )
    with h5py.File(path, "r+") as hdf:
        for ion, rate in (("HI", 9.0), ("HeII", 8.0)):
            write_array(
                hdf,
                f"log10_specific_ionising_luminosity/{ion}",
                rate + slopes[:, None, None],
                "dimensionless",
                "Ionising photon production rate",
            )
    return path


def dust_emission(path: Path) -> Path:
    """Write the emission of dust, as `create_dl07_grid.py`.

    It has no units, no weight variable, and spectra of two shapes.
    """
    qpahs = 0.01 * np.array([0.47, 1.77, 3.19, 4.58])
    umins = np.array([0.1, 0.3, 1.0, 3.0, 8.0, 25.0])
    alphas = np.arange(1.0, 3.1, 0.5)
    pah = 1e13 * np.exp(-((np.log(DUST_LAM / 7.7e4) / 0.1) ** 2))

    def bodies(kelvin: NDArray) -> NDArray:
        x = 1.43878e8 / DUST_LAM / kelvin[..., None]
        warm = (1e5 / DUST_LAM) ** 4.8 / np.expm1(np.minimum(x, 600.0))
        return 1e20 * warm

    pahs = qpahs[:, None, None] * umins[None, :, None] * pah
    diffuse = bodies(18.0 * umins ** (1 / 6))[None] + pahs
    pdr = (
        bodies(25.0 * umins[:, None] ** (1 / 6) * (4.0 - alphas))[None]
        + 3.0 * pahs[:, :, None]
    )
    with h5py.File(path, "w") as hdf:
        hdf.attrs["axes"] = ["qpah", "umin", "alpha"]
        for name, values in (
            ("qpah", qpahs),
            ("umin", umins),
            ("alpha", alphas),
        ):
            hdf[f"axes/{name}"] = values
            hdf[f"axes/{name}"].attrs["Description"] = name
            hdf[f"axes/{name}"].attrs["Units"] = "dimensionless"
        hdf.create_group("spectra").attrs["spec_names"] = [
            "pdr",
            "diffuse",
            "fsil_pdr",
            "fsil_diffuse",
        ]
        for name, spectra in (("pdr", pdr), ("diffuse", diffuse)):
            hdf[f"spectra/{name}"] = spectra
            hdf[f"spectra/{name}_fsil"] = spectra / (spectra + 1e12)
        hdf["spectra/wavelength"] = DUST_LAM
    return path


def extinction_curves(path: Path) -> Path:
    """Write extinction curves, as `create_dustextcurve_draine_li.py`.

    The curves are proportional to the ratio of dust to gas, which starts at
    1e-99, for no dust.
    """
    ratios = np.insert(np.geomspace(1e-10, 0.1, 40), 0, 1e-99)
    microns = np.geomspace(0.09, 1000.0, 150)
    with h5py.File(path, "w") as hdf:
        hdf.attrs["synthesizer_grids_version"] = "0.1"
        hdf.attrs["axes"] = ["dtg"]
        hdf.create_group("Model").attrs["mode"] = "lognormal"
        write_array(hdf, "axes/dtg", ratios, "dimensionless", "dtg", True)
        group = "extinction_curves"
        write_array(hdf, f"{group}/wavelength", microns, "µm", "Wavelength")
        for name, slope in (
            ("graphite_a0.01um", 1.3),
            ("graphite_a0.1um", 0.9),
            ("silicate_a0.01um", 1.5),
            ("silicate_a0.1um", 1.0),
        ):
            curve = 5e-20 / (1.0 + (microns / 0.2) ** slope)
            write_array(
                hdf,
                f"{group}/{name}",
                ratios[:, None] * curve,
                "cm**2",
                "Extinction curve A(lam)/N_H",
            )
    return path


@dataclass(frozen=True)
class Kind:
    """A kind of grid.

    Attributes:
        name (str): The name of the grid file.
        title (str): The models and the layout.
        write (callable): Writes the grid to a path.
        use (callable): What Synthesizer computes with the grid, as an array;
            None for nothing.
        options (Mapping): Arguments of `Grid` and `EmulatedGrid`.
    """

    name: str
    title: str
    write: Callable[[Path], Path]
    use: Callable[[Any], NDArray] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def use_stars(grid: Grid, spectrum: str = "incident") -> NDArray:
    """Return the integrated spectrum of three star particles."""
    stars = Stars(
        initial_masses=np.array([1e6, 2e6, 3e6]) * Msun,
        ages=np.array([1.3e6, 2e6, 3e6]) * yr,
        metallicities=np.array([0.001, 0.004, 0.02]),
        **{
            axis: np.full(3, np.mean(grid._axes_values[axis]))
            for axis in grid.axes[2:]
        },
    )
    model = EmissionModel(
        spectrum, grid=grid, extract=spectrum, emitter="stellar"
    )
    return np.asarray(stars.get_spectra(model).lnu)


def use_black_holes(grid: Grid) -> NDArray:
    """Return the spectrum of two black holes."""
    holes = BlackHoles(
        masses=np.array([3e6, 4e8]) * Msun,
        accretion_rates=np.array([0.02, 1.0]) * Msun / yr,
        **{
            axis: np.full(2, np.mean(grid._axes_values[axis]))
            for axis in grid.axes
            if axis not in ("masses", "accretion_rates_eddington")
        },
    )
    model = EmissionModel(
        "disc", grid=grid, extract="incident", emitter="blackhole"
    )
    return np.asarray(holes.get_spectra(model).lnu)


def use_dust_emission(grid: Grid) -> NDArray:
    """Return the emission of dust by `DraineLi07`."""
    generator = DraineLi07(
        grid, dust_mass=1e7 * Msun, gamma=0.1, umin=2.0, alpha=2.4
    )
    lams = np.geomspace(3e4, 5e6, 90) * angstrom
    return np.asarray(generator.get_spectra(lams, ldust=1e10 * Lsun).lnu)


def use_extinction(grid: Grid) -> NDArray:
    """Return the optical depth of `DraineLiGrainCurves`."""
    with (
        emulated_grids()
        if isinstance(grid, EmulatedGrid)
        else (contextlib.nullcontext())
    ):
        curves = DraineLiGrainCurves(
            grid.grid_name,
            grid.grid_dir,
            grain_dict={"graphite": [0.01], "silicate": [0.1]},
        )
    assert type(curves.grid) is type(grid)
    column = Msun / pc**2
    return np.asarray(
        curves.get_tau_at_lam(
            np.geomspace(1500.0, 2e4, 30) * angstrom,
            sigmalos_H=np.array([10.0, 30.0]) * column,
            sigmalos_graphite_a0p01um=np.array([0.02, 0.01]) * column,
            sigmalos_silicate_a0p1um=np.array([0.05, 0.2]) * column,
        )
    )


def use_nothing_but_pop3(grid: Grid) -> NDArray:
    """Return the spectrum of Population III stars."""
    return use_stars(grid, grid.available_spectra[0])


STARS = {"ages": 0, "metallicities": 0}
KINDS = (
    Kind(
        "bc03",
        "BC03, Maraston: age, metallicity",
        lambda p: stellar(p, draw_axes(**STARS), sps_name="bc03"),
        use_stars,
    ),
    Kind(
        "bpass-2.2.1",
        "BPASS 2.2.1: also the fraction in remnants",
        lambda p: stellar(
            p, draw_axes(**STARS), remnants=True, sps_name="bpass"
        ),
        use_stars,
    ),
    Kind(
        "bpass-2.3",
        "BPASS 2.3: α enhancement",
        lambda p: stellar(
            p,
            draw_axes(**STARS, alpha_enhancements=0),
            fractions=False,
            sps_name="bpass",
        ),
        use_stars,
    ),
    Kind(
        "fsps",
        "FSPS: slope of the IMF",
        lambda p: stellar(
            p, draw_axes(**STARS, high_mass_slope=0), sps_name="fsps"
        ),
        use_stars,
    ),
    Kind(
        "yggdrasil",
        "Yggdrasil, Population III: one metallicity",
        lambda p: yggdrasil(p, "0"),
        use_nothing_but_pop3,
    ),
    Kind(
        "yggdrasil_fcov_0.5",
        "Yggdrasil with gas: `nebular_fcov_0.5`",
        lambda p: yggdrasil(p, "0.5"),
        use_nothing_but_pop3,
    ),
    Kind(
        "cloudy-sps",
        "Cloudy: age, metallicity",
        lambda p: cloudy(p, draw_axes(**STARS)),
        use_stars,
    ),
    Kind(
        "cloudy-UnH",
        "Cloudy: ionisation parameter, hydrogen density",
        lambda p: cloudy(
            p,
            draw_axes(
                ages=5,
                metallicities=3,
                hydrogen_densities=3,
                ionisation_parameters=3,
            ),
        ),
    ),
    Kind(
        "cloudy-NH",
        "Cloudy: column density, redshift",
        lambda p: cloudy(
            p,
            draw_axes(
                ages=5, metallicities=3, column_densities=0, redshifts=0
            ),
        ),
    ),
    Kind(
        "cloudy-NO",
        "Cloudy: abundances, depletion",
        lambda p: cloudy(
            p,
            draw_axes(
                ages=5,
                metallicities=3,
                abundance_scalings__nitrogen_to_oxygen=3,
                depletion_scales=0,
            ),
        ),
    ),
    Kind(
        "cloudy-failures",
        "Cloudy that failed at two nodes",
        lambda p: cloudy(p, draw_axes(**STARS), failed=((2, 1), (6, 3))),
        use_stars,
    ),
    Kind(
        "cloudy-lines",
        "Cloudy, lines only",
        lambda p: cloudy(p, draw_axes(**STARS), spectra=False),
        options={"ignore_spectra": True},
    ),
    Kind(
        "qsosed",
        "QSOSED: mass, accretion rate, inclination",
        lambda p: black_holes(
            p,
            draw_axes(
                masses=0, accretion_rates_eddington=0, cosine_inclinations=0
            ),
            "bolometric_luminosities",
            family="qsosed",
        ),
        use_black_holes,
    ),
    Kind(
        "relqso",
        "RELQSO: also spin (no weight)",
        lambda p: black_holes(
            p,
            draw_axes(
                masses=4,
                accretion_rates_eddington=3,
                spins=0,
                cosine_inclinations=3,
            ),
            "None",
            family="relqso",
        ),
    ),
    Kind(
        "bpl-feltre16",
        "Broken power law (Feltre+16): one axis",
        feltre,
    ),
    Kind(
        "nlr",
        "Narrow-line region, 5 axes",
        lambda p: cloudy(
            p,
            draw_axes(
                masses=4,
                accretion_rates_eddington=3,
                metallicities=3,
                ionisation_parameters=3,
                hydrogen_densities=3,
            ),
            "bolometric_luminosities",
            scale=1e-33,
        ),
    ),
    Kind(
        "blr",
        "Broad-line region, 7 axes",
        lambda p: cloudy(
            p,
            draw_axes(
                masses=3,
                accretion_rates_eddington=2,
                metallicities=2,
                ionisation_parameters=2,
                hydrogen_densities=3,
                column_densities=2,
                turbulences=2,
            ),
            "bolometric_luminosities",
            scale=1e-33,
        ),
    ),
    Kind(
        "draine_li_dust_emission",
        "Dust emission (Draine & Li 2007): `diffuse` lacks `alpha`",
        dust_emission,
        use_dust_emission,
    ),
    Kind(
        "dust_extcurve_draine_li",
        "Extinction curves (Draine & Li): one axis, from 1e-99",
        extinction_curves,
        use_extinction,
    ),
)


def kind(name: str) -> Kind:
    """Return the kind of this name."""
    return next(k for k in KINDS if k.name == name)


def worst_error(got: NDArray, true: NDArray, floor: float = 1e-5) -> float:
    """Return the largest fractional error of bright values."""
    got, true = np.asarray(got, float), np.asarray(true, float)
    if got.shape != true.shape:
        raise ValueError(f"shape {got.shape} instead of {true.shape}")
    peak = true.max(axis=-1, keepdims=True)
    # Synthesizer's extinction by no dust is not zero, but 1e-99.
    bright = (true > floor * peak) & (true > 1e-30 * true.max())
    if np.any(got[np.broadcast_to(peak == 0, got.shape)]):
        raise ValueError("emission where the grid has none")
    return float(np.abs(got[bright] / true[bright] - 1.0).max(initial=0.0))


def methods(native: Grid, emulated: EmulatedGrid) -> dict[str, float]:
    """Return the largest difference of the results of each method.

    The native grid is not changed; methods that fail on it are left out.
    """
    name = next(iter(emulated.spectra or emulated.line_lums))
    axis = native.axes[0]
    values = native._axes_values[axis]
    inner = {a: float(np.mean(v[:2])) for a, v in native._axes_values.items()}

    def array(grid: Grid) -> NDArray:
        return grid.spectra[name] if grid.spectra else grid.line_lums[name]

    def reduced(grid: Grid) -> NDArray:
        unit = getattr(getattr(grid, axis), "units", 1.0)
        ends = values[[0, -2]] * unit
        return array(grid.reduce_axis(*ends, axis))

    def interpolated(grid: Grid) -> NDArray:
        found = grid.interpolate_grid_at_axes_value(
            spectra_type=name, out_dtype=np.float64, **inner
        )
        return (
            found["spectra"].lnu if "spectra" in found else found["lines"].lum
        )

    def rebinned(grid: Grid) -> NDArray:
        lam = np.geomspace(*native.lam.value[[3, -3]], 50) * angstrom
        return array(grid.reduce_rest_frame_lam(lam))

    def in_range(grid: Grid) -> NDArray:
        low, high = native.lam[[10, -10]]
        return array(grid.reduce_rest_frame_range(low, high))

    def sed(grid: Grid) -> NDArray:
        point = grid.get_grid_point(**{axis: values[1]})[:1]
        zeros = (0,) * (array(grid).ndim - 2)
        return array(grid)[(*point, *zeros)]

    tried = {
        "reduce_axis": reduced,
        "interpolate_grid_at_axes_value": interpolated,
        "get_grid_point": sed,
    }
    if native.has_spectra:
        tried |= {
            "reduce_rest_frame_lam": rebinned,
            "reduce_rest_frame_range": in_range,
        }
    results = {}
    for method, function in tried.items():
        try:
            true = function(native)
        except (IndexError, ValueError, AttributeError):
            # Synthesizer's own method fails for this kind: that of the
            # emulated grid must not, but has nothing to be compared with.
            function(emulated)
            continue
        results[method] = worst_error(function(emulated), true)
    return results


def try_kind(kind: Kind, folder: Path, **settings: Any) -> dict[str, Any]:
    """Write a kind of grid, build an emulator, and compare the two."""
    kind.write(folder / f"{kind.name}.hdf5")
    result: dict[str, Any] = {"title": kind.title}
    try:
        native = Grid(kind.name, grid_dir=folder, **kind.options)
        result["native"] = "yes"
    except (KeyError, exceptions.GridError) as error:
        native, result["native"] = None, f"no ({type(error).__name__})"
    start = time.perf_counter()
    build(folder / f"{kind.name}.hdf5", progress=False, **settings)
    result["build_seconds"] = time.perf_counter() - start
    emulated = EmulatedGrid(kind.name, grid_dir=folder, **kind.options)
    result["axes"] = {a: len(v) for a, v in emulated._axes_values.items()}
    if native is None:
        with h5py.File(folder / f"{kind.name}.hdf5") as hdf:
            true = hdf["lines/luminosity"][:]
        got = emulated.line_lums["nebular"].to_value("erg/s")
        result["line_lums"] = worst_error(got, true)
        return result
    for group in ("spectra", "line_lums", "line_conts"):
        true, got = getattr(native, group), getattr(emulated, group)
        if set(true) != set(got) and "spectra" not in settings:
            raise ValueError(f"{group}: {sorted(got)}, not {sorted(true)}")
        true = {name: true[name] for name in got}
        if true:
            result[group] = max(worst_error(got[n], true[n]) for n in true)
    result["methods"] = methods(native, emulated)
    if kind.use is not None:
        native = Grid(kind.name, grid_dir=folder, **kind.options)
        emulated = EmulatedGrid(kind.name, grid_dir=folder, **kind.options)
        result["use"] = worst_error(kind.use(emulated), kind.use(native))
    return result


def percent(value: float | None) -> str:
    """Return a fraction in per cent."""
    return "" if value is None else f"{100 * value:.1g}%"


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the results as a table in Markdown."""
    rows = [
        "| kind | nodes | native | spectra | lines | methods | in use |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results.values():
        lines = [result[g] for g in ("line_lums", "line_conts") if g in result]
        cells = (
            result["title"],
            " x ".join(map(str, result["axes"].values())),
            result["native"],
            percent(result.get("spectra")),
            percent(max(lines, default=None)),
            percent(max(result.get("methods", {}).values(), default=None)),
            percent(result.get("use")),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Try all kinds, print the table, and write the results."""
    path = record.json_argument(__doc__)
    results = {}
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            with contextlib.redirect_stdout(io.StringIO()):
                results[kind.name] = try_kind(
                    kind, Path(folder), training={"epochs": EPOCHS}
                )
    print(table(results))
    record.write(path, {"kinds": results})


if __name__ == "__main__":
    main()
