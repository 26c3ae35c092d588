"""What made a library, in words and numbers that JSON knows.

It goes into the file, for whoever finds it in a drawer, and tells one
library from another when an interrupted one is taken up.
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

from synthesizer_emulator.digests import digest
from synthesizer_emulator.galaxies.igm import translate_igm
from synthesizer_emulator.galaxies.translate import recipe
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.grid.lazy import LazySpectra
from synthesizer_emulator.library.priors import Prior
from synthesizer_emulator.records import current_versions

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# Longer arrays are told by their digest.
_LONGEST = 20

# Where two cosmologies are compared.
_REDSHIFTS = np.array([0.01, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0])

# What Synthesizer's objects keep beside what they were made with.
_NOISE = ("description", "required_params", "last_")


def about_prior(prior: Prior) -> dict[str, Any]:
    """Return what a prior is; what it is without is left out."""
    said = {f.name: getattr(prior, f.name) for f in fields(prior)}
    known = {k: _plain(v) for k, v in said.items() if v not in (None, "")}
    return {"prior": type(prior).__name__, **known}


def about_quantiles(priors: Iterable[Prior]) -> str:
    """Return a digest of the values that priors have, whatever their class."""
    parts = np.linspace(0.01, 0.99, 33)
    return digest([prior.quantile(parts) for prior in priors])


def about_model(model: EmissionModel) -> dict[str, Any]:
    """Return the tree of an emission model, by the labels of its parts."""
    return {
        label: {
            key: value
            for key, value in _about_part(part).items()
            if value not in (None, [], {})
        }
        for label, part in ModelQueue(model).models.items()
    }


def about_grids(model: EmissionModel) -> dict[str, Any]:
    """Return the grids that a model extracts from, by name.

    With the digest of every spectrum that it extracts.
    """
    extracted: dict[int, tuple[Grid, set[str]]] = {}
    for part in ModelQueue(model).models.values():
        if part._is_extracting:
            grid = part.grid
            extracted.setdefault(id(grid), (grid, set()))[1].add(part.extract)
    found: dict[str, Any] = {}
    for grid, names in extracted.values():
        # Two of the same name may well be two grids.
        same = sum(name.partition(" #")[0] == grid.grid_name for name in found)
        name = f"{grid.grid_name} #{same + 1}" if same else grid.grid_name
        found[name] = about_grid(grid, sorted(names))
    return found


def about_recipe(
    model: EmissionModel,
    emissions: Iterable[str] | None,
    varying: Iterable[str],
    fixed: Mapping[str, Any],
) -> str:
    """Return a digest of all that is done to the spectra of the grids.

    Of the dust curves at the wavelengths, the code of parameter functions,
    the masks, the scalings: see `translation.recipe`.
    """
    found = recipe(model, emissions, varying, fixed)
    terms = {
        label: sorted(
            digest(source, sorted(map(digest, factors)), parts)
            for source, factors, parts in terms
        )
        for label, terms in found.pop("terms").items()
    }
    return digest(terms, found)


def about_filters(filters: FilterCollection | None) -> dict[str, str]:
    """Return a digest of the curve of each filter, by its code."""
    if filters is None:
        return {}
    return {
        code: digest(
            filters[code].original_lam.to_value("angstrom"),
            filters[code].original_t,
        )
        for code in filters.filter_codes
    }


def about_distances(cosmo: "FLRW") -> str:
    """Return a digest of the distances and ages that a cosmology finds.

    Two cosmologies that are written alike may compute them differently.
    """
    distances = cosmo.luminosity_distance(_REDSHIFTS).to_value("Mpc")
    return digest(distances, cosmo.age(_REDSHIFTS).to_value("Gyr"))


def about_igm(igm: Any) -> dict[str, Any] | None:
    """Return a model of the intergalactic medium, and its coefficients."""
    if igm is None:
        return None
    model = igm() if isinstance(igm, type) else igm
    return {**about_object(model), "values": digest(translate_igm(model))}


def about_object(thing: Any) -> Any:
    """Return the class of an object and what it was made with."""
    if thing is None:
        return None
    state = vars(thing) if hasattr(thing, "__dict__") else {}
    return {
        "class": type(thing).__name__,
        **{
            name.lstrip("_"): _plain(value)
            for name, value in state.items()
            if _is_plain(value) and not name.lstrip("_").startswith(_NOISE)
        },
    }


def about_software() -> dict[str, str]:
    """Return the versions and the precision that numbers depend on."""
    return {**current_versions(), "precision": str(jnp.zeros(()).dtype)}


def _about_part(model: EmissionModel) -> dict[str, Any]:
    """Return one model of a tree."""
    return {
        "grid": model.grid.grid_name if model._is_extracting else None,
        "extract": model.extract,
        "combine": _labels(model.combine or ()),
        "apply_to": _labels([model.apply_to] if model.apply_to else ()),
        "transformer": about_object(model.transformer),
        "generator": about_object(model.generator),
        "masks": [_plain(mask) for mask in model.masks],
        "scale_by": [str(scaler) for scaler in model.scale_by],
        "fixed_parameters": _plain(model.fixed_parameters),
    }


def about_grid(grid: Grid, spectra: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a grid is.

    Args:
        grid (Grid): The grid, native or emulated.
        spectra (iterable of str): Those whose values matter.
    """
    lam = grid.lam.to_value("angstrom")
    known: dict[str, Any] = {
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
        card = grid.provenance
        known |= {
            "built_from": card.grid_name,
            "source_sha256": card.source_hash,
            "architecture": card.architecture,
            "architecture_config": _plain(card.architecture_config),
            "training_config": _plain(card.training_config),
            "built_with": _plain(card.versions),
        }
    return known


def _labels(models: Iterable[EmissionModel | str]) -> list[str]:
    """Return the labels of models."""
    return [m if isinstance(m, str) else m.label for m in models]


def _is_plain(value: Any) -> bool:
    """Return whether a value says something without its object."""
    simple = (bool, int, float, str, np.generic, np.ndarray, type(None))
    return isinstance(value, simple) or (
        isinstance(value, list | tuple) and all(map(_is_plain, value))
    )


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, unyt_array) and value.size <= _LONGEST:
        return f"{value.value.tolist()} {value.units}"
    if isinstance(value, np.ndarray):
        if value.size > _LONGEST or value.dtype == object:
            return digest(value)[:16]
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, str | int | float | bool | type(None)):
        return value
    return type(value).__name__


def _summary(lam: NDArray) -> dict[str, Any]:
    """Return what distinguishes wavelengths, whatever rounds them."""
    some = {"first": lam[0], "middle": lam[len(lam) // 2], "last": lam[-1]}
    return {"n": len(lam), **{k: f"{v:.6g}" for k, v in some.items()}}
