"""The inputs of a library as JSON values.

They are stored in the library file, and identify a library that was
interrupted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection
from unyt import unyt_array

from synthesizer_emulator.digests import digest, sketch
from synthesizer_emulator.galaxies.igm import translate_igm
from synthesizer_emulator.galaxies.translate import recipe
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.grid.lazy import LazySpectra
from synthesizer_emulator.library.priors import Prior
from synthesizer_emulator.records import current_versions

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# Longer arrays are replaced by their digest.
_LONGEST = 20

# The redshifts at which cosmologies are compared.
_REDSHIFTS = np.array([0.01, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0])

# Attributes of Synthesizer's objects that are not arguments.
_IGNORED = ("description", "required_params", "last_")


def describe_prior(prior: Prior) -> dict[str, Any]:
    """Return the class and the settings of a prior."""
    settings = {f.name: getattr(prior, f.name) for f in fields(prior)}
    given = {k: v for k, v in settings.items() if v not in (None, "")}
    return {"prior": type(prior).__name__, **_json_value(given)}


def describe_quantiles(priors: Iterable[Prior]) -> str:
    """Return a digest of the quantiles of priors, also of users' classes."""
    return digest([_some_quantiles(prior) for prior in priors])


def describe_model(model: EmissionModel) -> dict[str, Any]:
    """Return the models in the tree of an emission model, by label."""
    return {
        label: {
            key: value
            for key, value in _describe_part(part).items()
            if value not in (None, [], {})
        }
        for label, part in ModelQueue(model).models.items()
    }


def describe_grids(
    model: EmissionModel, lines: bool = False
) -> dict[str, Any]:
    """Return the grids of a model, with digests of the extracted spectra.

    With `lines`, digests of their lines are included.
    """
    extracted: dict[int, tuple[Grid, set[str]]] = {}
    for part in ModelQueue(model).models.values():
        if part._is_extracting:
            grid = part.grid
            extracted.setdefault(id(grid), (grid, set()))[1].add(part.extract)
    grids: dict[str, Any] = {}
    for grid, names in extracted.values():
        # Different grids may have the same name.
        same = sum(name.partition(" #")[0] == grid.grid_name for name in grids)
        name = f"{grid.grid_name} #{same + 1}" if same else grid.grid_name
        grids[name] = describe_grid(grid, sorted(names))
        if lines:
            grids[name]["lines"] = _digest_lines(grid, sorted(names))
    return grids


def describe_recipe(
    model: EmissionModel,
    emissions: Iterable[str] | None,
    varying: Iterable[str],
    fixed: Mapping[str, Any],
) -> str:
    """Return a digest of the operations of an emission model on its grids.

    It includes the dust curves at the wavelengths, the code of parameter
    functions, masks and scalings: see `translate.recipe`.
    """
    operations = recipe(model, emissions, varying, fixed)
    terms = {
        label: sorted(
            digest(source, sorted(map(digest, factors)), parts)
            for source, factors, parts in terms
        )
        for label, terms in operations.pop("terms").items()
    }
    return digest(terms, operations)


def describe_filters(filters: FilterCollection | None) -> dict[str, str]:
    """Return a digest of the transmission curve of each filter, by code."""
    if filters is None:
        return {}
    return {
        code: digest(
            filters[code].original_lam.to_value("angstrom"),
            filters[code].original_t,
        )
        for code in filters.filter_codes
    }


def describe_distances(cosmo: "FLRW") -> str:
    """Return a digest of the distances and ages in a cosmology.

    Cosmologies with the same `repr` may differ in distances and ages.
    """
    distances = cosmo.luminosity_distance(_REDSHIFTS).to_value("Mpc")
    return digest(distances, cosmo.age(_REDSHIFTS).to_value("Gyr"))


def describe_igm(igm: Any) -> dict[str, Any] | None:
    """Return the attributes of an IGM model, and a digest of its values."""
    if igm is None:
        return None
    model = igm() if isinstance(igm, type) else igm
    return {**describe_object(model), "values": digest(translate_igm(model))}


def describe_object(obj: Any) -> Any:
    """Return the class and the attributes of an object."""
    if obj is None:
        return None
    state = vars(obj) if hasattr(obj, "__dict__") else {}
    return {
        "class": type(obj).__name__,
        **{
            name.lstrip("_"): _json_value(value)
            for name, value in state.items()
            if _is_simple(value) and not name.lstrip("_").startswith(_IGNORED)
        },
    }


def describe_software() -> dict[str, str]:
    """Return the versions of packages, and the floating-point precision."""
    return {**current_versions(), "precision": str(jnp.zeros(()).dtype)}


def _some_quantiles(prior: Prior) -> NDArray[np.float64]:
    """Return quantiles of a prior, (n, ...)."""
    u = np.linspace(0.01, 0.99, 33)
    if prior.condition is None:
        given: tuple[NDArray[np.float64], ...] = ()
    else:
        given = (np.linspace(prior.knots[0], prior.knots[-1], len(u)),)
    if prior.is_array:
        u = np.repeat(u[:, None], prior.dimensions, axis=1)
    return prior.quantile(u, *given)


def _describe_part(model: EmissionModel) -> dict[str, Any]:
    """Return the operation of one model in the tree."""
    return {
        "grid": model.grid.grid_name if model._is_extracting else None,
        "extract": model.extract,
        "combine": _labels(model.combine or ()),
        "apply_to": _labels([model.apply_to] if model.apply_to else ()),
        "transformer": describe_object(model.transformer),
        "generator": describe_object(model.generator),
        "masks": [_json_value(mask) for mask in model.masks],
        "scale_by": [str(scaler) for scaler in model.scale_by],
        "fixed_parameters": _json_value(model.fixed_parameters),
    }


def describe_grid(grid: Grid, spectra: Iterable[str] = ()) -> dict[str, Any]:
    """Return the metadata of a native or emulated grid.

    Digests stand for its wavelengths, its nodes, and the spectra in `spectra`.
    For an emulated grid the provenance of the weights is included.
    """
    lam = grid.lam.to_value("angstrom")
    metadata: dict[str, Any] = {
        "shape": [int(size) for size in grid.shape],
        "wavelengths": {**_summary(lam), "digest": digest(lam)},
        "nodes": digest(
            [grid._extract_axes_values[axis] for axis in grid._extract_axes]
        ),
        "spectra": {
            name: (
                grid.spectra.digest(name)
                if isinstance(grid.spectra, LazySpectra)
                else digest(grid.spectra[name])
            )
            for name in spectra
        },
    }
    if isinstance(grid, EmulatedGrid):
        provenance = grid.provenance
        metadata |= {
            "built_from": provenance.grid_name,
            "source_sha256": provenance.source_hash,
            "architecture": provenance.architecture,
            "architecture_config": _json_value(provenance.architecture_config),
            "training_config": _json_value(provenance.training_config),
            "built_with": _json_value(provenance.versions),
        }
    return metadata


def _digest_lines(grid: Grid, spectra: Iterable[str]) -> str:
    """Return a digest of the lines of some spectra of a grid."""
    return digest(
        list(map(str, grid.available_lines)),
        [
            sketch(np.asarray(values[name]))
            for values in (grid.line_lums, grid.line_conts)
            for name in spectra
        ],
    )


def _labels(models: Iterable[EmissionModel | str]) -> list[str]:
    """Return the labels of models."""
    return [m if isinstance(m, str) else m.label for m in models]


def _is_simple(value: Any) -> bool:
    """Whether a value is a number, a string, or an array of these."""
    simple = (bool, int, float, str, np.generic, np.ndarray, type(None))
    return isinstance(value, simple) or (
        isinstance(value, list | tuple) and all(map(_is_simple, value))
    )


def _json_value(value: Any) -> Any:
    """Convert a value to JSON; replace long arrays by their digests."""
    if isinstance(value, Mapping):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, unyt_array) and value.size <= _LONGEST:
        return f"{value.value.tolist()} {value.units}"
    if isinstance(value, np.ndarray):
        if value.size > _LONGEST or value.dtype == object:
            return digest(value)[:16]
        return _json_value(value.tolist())
    if isinstance(value, list | tuple):
        return [_json_value(v) for v in value]
    if isinstance(value, np.generic):
        return _json_value(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, str | int | float | bool | type(None)):
        return value
    return type(value).__name__


def _summary(lam: NDArray) -> dict[str, Any]:
    """Return the number of wavelengths, and three of them to six digits."""
    some = {"first": lam[0], "middle": lam[len(lam) // 2], "last": lam[-1]}
    return {"n": len(lam), **{k: f"{v:.6g}" for k, v in some.items()}}
