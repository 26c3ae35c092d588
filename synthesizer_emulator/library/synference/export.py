"""Libraries drawn from priors, in Synference's format.

For users of `Library` who train with Synference. The photometry is copied;
supplementary parameters are computed from the same draws.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import signature
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import jax
import numpy as np
from numpy.typing import NDArray
from synference import SUPP_FUNCTIONS, CombinedBasis, GalaxyBasis
from synference.library import UNIT_DICT, muv_filter
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    UnimplementedFunctionality,
)
from synthesizer.instruments import Instrument
from synthesizer.parametric import SFH, ZDist
from unyt import unyt_array

from synthesizer_emulator.files.hdf5 import open_hdf5
from synthesizer_emulator.files.writing import check_writable
from synthesizer_emulator.galaxies.batches import in_batches
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.galaxies.tree import grids_of
from synthesizer_emulator.library.file import LibraryFile
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.library.parameters import (
    GALAXY,
    MASS,
    METAL_DIST,
    REDSHIFT,
    SF_HIST,
    STARS,
    Parameter,
)
from synthesizer_emulator.library.synference.file import write_file
from synthesizer_emulator.library.synference.supplements import (
    SUPPLEMENTS,
    Sums,
    Supplements,
    translate_supplement,
)
from synthesizer_emulator.units import PURE
from synthesizer_emulator.validation import check_choice, check_memory

# The outputs that Synference can train on, and its names for them.
_KINDS = {"photometry": "photometry", "fnu": "spectra"}

# The number of galaxies drawn at a time.
_DRAWN_GALAXIES = 2**14


@dataclass(frozen=True)
class _Column:
    """A parameter of a library in Synference's format.

    Attributes:
        name (str): Synference's name.
        units (str): Synference's units.
        values (np.ndarray of float): The values, (n,).
        varies (bool): Whether it may differ between galaxies.
    """

    name: str
    units: str
    values: NDArray[np.float64]
    varies: bool = True


def write_synference(
    library: Library,
    made: LibraryFile | str | Path,
    path: str | Path,
    emission: str | None = None,
    supplements: Mapping[str, Any] | None = None,
) -> Path:
    """Write a library in Synference's format.

    The file is that of Synference's `GalaxyBasis` for the same galaxies, for
    `SBI_Fitter.init_from_hdf5` and `GalaxySimulator.from_library`. Parameters
    have the units of the library file, so that fractions are values in yr.
    The mass is `log_mass`. Other parameters given as logarithms stay
    logarithms if Synthesizer takes them, as `log10metallicity`, and become
    values otherwise. The values of an array, such as `logsfr_ratios`, are
    numbered from 1: `logsfr_ratios_1`.

    Args:
        library (Library): The library.
        made (LibraryFile/str/Path): The file that `library.write` wrote.
        path (str/Path): The file to write, `*.hdf5`.
        emission (str): The label of the emission; by default the root of the
            emission model, or the only one of the library.
        supplements (Mapping): Synference's supplementary functions by the
            name of the parameter, or tuples of the function and its other
            arguments, as for `GalaxyBasis.create_mock_library`. By default
            the star formation rate over 10 Myr (`sfr`), the surviving mass
            (`log_surviving_mass`) and the luminosity density at 1500
            Angstrom (`MUV`), as far as the grid has them.

    Returns:
        Path: The file.

    Raises:
        InconsistentArguments: If the file exists, `made` is another library,
            or the library has no observed fluxes, no such emission, several
            without the root, or two parameters of the same name.
        UnimplementedFunctionality: If a supplementary function has no batched
            form.
        GridError: If `made` is damaged.
        OSError: If the file can't be written.
    """
    path = check_new(path)
    output = next((o for o in _KINDS if o in library.outputs), None)
    if output is None:
        raise InconsistentArguments(
            "A library for Synference needs the output 'photometry' or 'fnu', "
            f"got {', '.join(library.outputs)}."
        )
    if not isinstance(made, LibraryFile):
        made = LibraryFile.open(made)
    if made.digest != library.digest:
        raise InconsistentArguments(
            f"'{made.path}' must be the file of this library, but was written "
            "by another, or with other software. Give the file that "
            "`library.write` wrote."
        )
    label = _emission(library, made, emission)
    translated = _translated(library, supplements)
    with open_hdf5(made.path) as hdf:
        columns = list(_columns(library, hdf))
        contents = _contents(library, hdf, f"{output}/{label}", columns)
        galaxies = hdf["galaxies"][...]
    contents |= {
        "supplementary_parameters": _supplements(
            library, label, translated, galaxies
        ),
        "supplementary_parameter_names": list(translated.by_name),
        "supplementary_parameter_units": [
            one.units for one in translated.by_name.values()
        ],
    }
    basis = _basis(library, columns)
    by_name = {column.name: column.values for column in columns}
    combined = CombinedBasis(
        bases=[basis],
        log_stellar_masses=by_name["log_mass"],
        redshifts=by_name["redshift"],
        base_emission_model_keys=[label],
        combination_weights=None,
        out_name=path.stem,
        out_dir=str(path.parent),
    )
    info = {"emission_model_key": label, "cat_type": _KINDS[output]}
    with TemporaryDirectory(
        prefix=f".{path.name}.", dir=path.parent
    ) as folder:
        write_file(basis, combined, contents, path, Path(folder), info)
    return path


def check_new(path: str | Path) -> Path:
    """Return the path of a file to write, before any work is done.

    Raises:
        InconsistentArguments: If it does not end in `.hdf5`, or exists.
        OSError: If it can't be written.
    """
    path = Path(path)
    if path.suffix != ".hdf5":
        raise InconsistentArguments(
            "The name of a library for Synference must end in .hdf5, got "
            f"'{path}'."
        )
    if path.exists():
        raise InconsistentArguments(
            f"'{path}' exists and is not replaced: delete it, or choose "
            "another file."
        )
    check_writable(path)
    return path


def _emission(
    library: Library, made: LibraryFile, emission: str | None
) -> str:
    """Return the label of the emission of a library to write."""
    labels, root = made.about["emissions"], library.emission_model.label
    if emission is not None:
        check_choice("emission", emission, labels)
        return emission
    if len(labels) > 1 and root not in labels:
        raise InconsistentArguments(
            "A library for Synference has one emission: give `emission`, one "
            f"of {', '.join(labels)}."
        )
    return root if root in labels else labels[0]


def _contents(
    library: Library, hdf: h5py.File, fluxes: str, columns: list[_Column]
) -> dict[str, Any]:
    """Return the parameters and the fluxes, by Synference's names.

    Args:
        library (Library): The library.
        hdf (h5py.File): Its file.
        fluxes (str): The array of fluxes, (n, n_bands) or (n, nlam).
        columns (list of _Column): The parameters.
    """
    output, _, _ = fluxes.partition("/")
    n, width = hdf[fluxes].shape
    check_memory(
        f"{n} galaxies in Synference's format",
        16.0 * n * (width + len(columns)),
        "make several libraries",
    )
    if output == "photometry":
        codes = list(hdf["filter_codes"].asstr()[...])
    else:
        codes = library.emission_model.lam.to_value("um")
    return {
        "parameters": np.stack([column.values for column in columns]),
        "parameter_names": [column.name for column in columns],
        "parameter_units": [column.units for column in columns],
        _KINDS[output]: np.asarray(hdf[fluxes], np.float64).T,
        "filter_codes": codes,
    }


def _columns(library: Library, hdf: h5py.File) -> Iterator[_Column]:
    """Yield the parameters of a library in Synference's order.

    Raises:
        InconsistentArguments: If two have the same name.
    """
    n, parameters = len(hdf["galaxies"]), library.parameters
    redshift = parameters.in_group(GALAXY).get(REDSHIFT)
    assert redshift is not None
    mass = parameters.in_group(STARS)[MASS]
    for first, name, units in (
        (redshift, "redshift", PURE),
        (mass, "log_mass", "log10_Msun"),
    ):
        if first.is_fixed:
            quantile = first.prior.quantile(np.ones(n))
        else:
            quantile = hdf[first.path][...]
        values = first.to_plain(quantile)
        if first is mass:
            values = np.log10(values)
        yield _Column(name, units, values, varies=not first.is_fixed)
    names = {"redshift": redshift, "log_mass": mass}
    for one in parameters:
        if one.is_fixed or one is redshift or one is mass:
            continue
        keeps = not one.is_log or _takes_logarithm(library, one)
        name = one.given_name if keeps else one.name
        if name in names:
            raise InconsistentArguments(
                "Synference needs different names for parameters, but "
                f"'{names[name].title}' and '{one.title}' have the same. Fix "
                "one of them, or choose another history."
            )
        names[name] = one
        values, units = hdf[one.path][...], hdf[one.path].attrs["Units"]
        if not keeps:
            values, units = one.to_plain(values), one.plain_unit
        # Synference can't read its own unit of metallicities, 'Zmet'.
        if name != "metallicity":
            units = UNIT_DICT.get(name.lower(), units)
        if values.ndim == 1:
            yield _Column(name, units, values)
            continue
        for i, column in enumerate(values.reshape(n, -1).T, start=1):
            yield _Column(f"{name}_{i}", units, column)


def _takes_logarithm(library: Library, parameter: Parameter) -> bool:
    """Whether Synthesizer takes the logarithm of a parameter."""
    if parameter.group == STARS:
        return parameter.name in library.sampler.axes
    histories = {SF_HIST: (SFH, library.sf_hist)}
    histories[METAL_DIST] = (ZDist, library.metal_dist)
    module, history = histories[parameter.group]
    accepted = signature(getattr(module, history.name)).parameters
    return parameter.given_name in accepted


def _translated(
    library: Library, supplements: Mapping[str, Any] | None
) -> Supplements:
    """Return the supplementary parameters, in the order of their names.

    Raises:
        UnimplementedFunctionality: If one has no batched form.
    """
    grid = grids_of(library.emission_model)[0]
    if supplements is None:
        supplements = _default_supplements(library)
    translated = {}
    for name, entry in sorted(supplements.items()):
        function, *arguments = (entry,) if callable(entry) else entry
        one = translate_supplement(function, tuple(arguments), grid)
        if one is None:
            title = getattr(function, "__qualname__", function)
            raise UnimplementedFunctionality(
                f"The supplementary function of '{name}', {title}, has no "
                f"batched form. Use one of {', '.join(SUPPLEMENTS)}."
            )
        translated[name] = one
    return Supplements(translated)


def _default_supplements(library: Library) -> dict[str, Any]:
    """Return the supplementary functions that a grid allows, by name."""
    model = library.emission_model
    grid = grids_of(model)[0]
    functions: dict[str, Any] = {"sfr": SUPP_FUNCTIONS.calculate_sfr}
    with suppress(GridError):
        _ = grid.stellar_fraction
        functions["log_surviving_mass"] = (
            SUPP_FUNCTIONS.calculate_surviving_mass,
            grid,
        )
    low, high = unyt_array(muv_filter.get_non_zero_lam_lims()).to("angstrom")
    if model.lam.min() <= low and high <= model.lam.max():
        functions["MUV"] = SUPP_FUNCTIONS.calculate_MUV
    return functions


def _supplements(
    library: Library,
    label: str,
    supplements: Supplements,
    galaxies: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the supplementary parameters of galaxies, (k, n).

    Args:
        library (Library): The library.
        label (str): The label of the emission.
        supplements (Supplements): The k parameters.
        galaxies (np.ndarray of int): The indices of the galaxies in the
            draws, ascending, (n,).
    """
    result = np.empty((len(supplements.by_name), len(galaxies)))
    if not len(result):
        return result
    source = library
    if supplements.far_uv:
        source = replace(
            library,
            outputs=("luminosities",),
            filters=muv_filter,
            lines=None,
            instruments=None,
            noise=False,
        )
    function = _sums(supplements, label)
    names = source.model.emission_parameters
    for start in range(0, library.draws.n, _DRAWN_GALAXIES):
        which = slice(start, min(start + _DRAWN_GALAXIES, library.draws.n))
        ends = np.searchsorted(galaxies, (which.start, which.stop))
        rows = galaxies[slice(*ends)] - start
        if not len(rows):
            continue
        drawn, _ = source.values(which)
        values = jax.tree.map(itemgetter(rows), drawn)
        redshift = values[REDSHIFT]
        emission = {name: values["emission"][name] for name in names}
        values = {**values, "emission": emission}
        batches = [
            sums
            for _, sums in in_batches(source.model, values, function=function)
        ]
        of_mass, far_uv = (
            np.concatenate([np.asarray(batch[i], float) for batch in batches])
            for i in range(2)
        )
        computed = supplements.values(Sums(of_mass, far_uv[:, 0], redshift))
        result[:, slice(*ends)] = np.stack(list(computed.values()))
    return result


def _sums(
    supplements: Supplements, label: str
) -> Callable[[GalaxyModel, Any], Any]:
    """Return the function of one galaxy that gives the parts of `Sums`."""

    def sums(model: GalaxyModel, values: Mapping[str, Any]) -> Any:
        of_mass = (
            supplements.mass_sums(model, values)
            if supplements.tables
            else jax.numpy.zeros(0)
        )
        if not supplements.far_uv:
            return of_mass, jax.numpy.zeros(1)
        return of_mass, model.galaxy(values)["luminosities"][label]

    return sums


def _basis(library: Library, columns: list[_Column]) -> GalaxyBasis:
    """Return the basis whose model Synference stores."""
    instrument = None
    if library.filters is not None:
        instrument = Instrument("filters", filters=deepcopy(library.filters))
    by_name = {column.name: column.values for column in columns}
    basis = GalaxyBasis(
        model_name=f"{library.sf_hist.name}_{library.metal_dist.name}",
        redshifts=by_name["redshift"],
        grid=grids_of(library.emission_model)[0],
        emission_model=library.emission_model,
        # Only their classes are stored.
        sfhs=[_instance(SFH, library.sf_hist.name)],
        metal_dists=[_instance(ZDist, library.metal_dist.name)],
        log_stellar_masses=by_name["log_mass"],
        galaxy_params=dict.fromkeys(
            name
            for one in library.parameters.in_group(STARS).values()
            for name in (one.name, one.given_name)
            if one.name != MASS and (one.is_fixed or name in by_name)
        ),
        cosmo=library.cosmo,
        instrument=instrument,
    )
    fixed = {
        one.name: one.fixed_value
        for one in library.parameters
        if one.is_fixed
        and not one.prior.is_array
        and one.name not in (REDSHIFT, MASS, *by_name)
    }
    basis.varying_param_names = [
        column.name
        for column in columns
        if column.varies and column.name != "log_mass"
    ]
    basis.fixed_param_names = list(fixed)
    basis.fixed_param_values = [float(value) for value in fixed.values()]
    basis.fixed_param_units = [
        str(getattr(value, "units", "")) for value in fixed.values()
    ]
    return basis


def _instance(module: Any, name: str) -> Any:
    """Return an instance of a class of histories, without parameters."""
    return object.__new__(getattr(module, name))
