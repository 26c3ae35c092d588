"""What a galaxy and a grid lack of each other, said with the remedy.

Synthesizer finds it deep in an extraction, where it doesn't know what could
be done. Only `EmulatedGrid` and who extracts from one need this module.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any

from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.operations import Extraction
from synthesizer.emission_models.utils import get_param
from synthesizer.exceptions import (
    InconsistentArguments,
    MissingAttribute,
    MissingSpectraType,
)
from synthesizer.grid import Grid

# The axes that parametric stars have.
_PARAMETRIC = ("ages", "metallicities")

# What Synthesizer raises of what is missing.
_LACKS = (AttributeError, InconsistentArguments, MissingAttribute)


def check_parametric(grid: Grid) -> None:
    """Refuse a grid whose axes are not those of parametric stars.

    Args:
        grid (Grid): The grid.

    Raises:
        InconsistentArguments: Names the axes and the remedy.
    """
    if tuple(grid.axes) != _PARAMETRIC:
        others = [axis for axis in grid.axes if axis not in _PARAMETRIC]
        refused = (
            "Parametric stars have ages and metallicities; the grid "
            f"'{grid.grid_name}' has the axes {', '.join(grid.axes)}."
        )
        if len(grid.axes) != len(_PARAMETRIC) + len(others) or not others:
            raise InconsistentArguments(refused)
        said = ", ".join(f"{axis}: {_typical(grid, axis)}" for axis in others)
        raise InconsistentArguments(
            f"{refused} Take off the others: {_collapses(grid, others)}; in "
            f"YAML `grid: {{name: {grid.grid_name}, collapse: {{{said}}}}}`."
        )


def check_spectra(grid: Grid, names: Iterable[str]) -> None:
    """Refuse a grid that has not all spectra that a model extracts.

    Args:
        grid (Grid): The grid.
        names (iterable of str): The spectra.

    Raises:
        MissingSpectraType: Names those that are missing and the remedy.
    """
    missing = [name for name in names if name not in grid.spectra]
    if missing:
        raise MissingSpectraType(
            f"The model extracts {', '.join(missing)}, which the grid "
            f"'{grid.grid_name}' has not; it has: "
            f"{', '.join(grid.spectra) or 'none'}. Name them in "
            "spectra_to_read or leave it out; what was not built, build with "
            "`synthesizer-emulator build`."
        )


def extracted(model: EmissionModel, grid: Grid) -> list[str]:
    """Return the names of the spectra that a model extracts from a grid.

    Args:
        model (EmissionModel): The root of the model.
        grid (Grid): The grid.

    Returns:
        list of str: Each once, sorted.
    """
    nodes = (m for m in model._models.values() if m.grid is grid)
    return sorted({m.extract for m in nodes if m.extract is not None})


@contextmanager
def remedies(
    grid: Grid, model: EmissionModel, emitter: Any, spectra: Iterable[str]
) -> Iterator[None]:
    """Say what an extraction lacks, and the remedy, where it fails for it.

    Args:
        grid (Grid): The grid that is extracted from.
        model (EmissionModel): The model that extracts.
        emitter (Stars/BlackHoles/Gas): What it extracts for.
        spectra (iterable of str): The spectra that are needed of the grid.

    Raises:
        InconsistentArguments: If parametric stars lack an axis of the grid.
        MissingAttribute: If another emitter does.
        MissingSpectraType: If the grid lacks some of the spectra.
    """
    try:
        yield
    except _LACKS as error:
        if isinstance(error, AttributeError):
            # Of the extractor, which has no such spectrum.
            _raise_from(error, lambda: check_spectra(grid, spectra))
        elif isinstance(error, InconsistentArguments):
            if emitter.is_parametric:
                _raise_from(error, lambda: check_parametric(grid))
        else:
            _raise_from(error, lambda: _check_axes(grid, model, emitter))
        raise


def tell_remedies(kind: type[Grid]) -> None:
    """Let Synthesizer say the remedies where it extracts from such grids.

    Args:
        kind (type): The class of the grids.
    """
    for name in ("_extract_spectra", "_extract_lines"):
        extract = getattr(Extraction, name)
        setattr(Extraction, name, _with_remedies(extract, kind))


def _with_remedies(
    extract: Callable[..., Any], kind: type[Grid]
) -> Callable[..., Any]:
    """Return an extraction that says the remedies."""
    places = signature(extract)

    @wraps(extract)
    def extract_or_tell(*args: Any, **kwargs: Any) -> Any:
        given = places.bind(*args, **kwargs).arguments
        model, emitters = given["this_model"], given["emitters"]
        if not isinstance(model.grid, kind) or model.emitter not in emitters:
            return extract(*args, **kwargs)
        emitter = emitters[model.emitter]
        spectra = (
            extracted(given["self"], model.grid) if "spectra" in given else ()
        )
        with remedies(model.grid, model, emitter, spectra):
            return extract(*args, **kwargs)

    return extract_or_tell


def _raise_from(error: Exception, check: Callable[[], None]) -> None:
    """Raise what a check does as the consequence of an error."""
    try:
        check()
    except Exception as better:
        raise better from error


def _check_axes(grid: Grid, model: EmissionModel, emitter: Any) -> None:
    """Refuse an emitter without values on some axis of a grid.

    Raises:
        MissingAttribute: Names the axes and the remedies.
    """
    lacking = [a for a in grid.axes if not _has(emitter, model, a)]
    if lacking:
        kind = type(emitter).__name__
        given = [f"{axis}={_typical(grid, axis)}" for axis in lacking]
        raise MissingAttribute(
            f"The grid '{grid.grid_name}' has an axis {', '.join(lacking)}, "
            f"which neither the {kind} nor the model '{model.label}' have. "
            f"Give it to the {kind} (an attribute, one value or one for each "
            f"particle) or to the model ({', '.join(given)}), or take the "
            f"axis off: {_collapses(grid, lacking)}."
        )


def _has(emitter: Any, model: EmissionModel, axis: str) -> bool:
    """Return whether an emitter or its model has values on an axis."""
    try:
        get_param(f"log10{axis}", model, None, emitter)
    except MissingAttribute:
        return False
    return True


def _collapses(grid: Grid, axes: Iterable[str]) -> str:
    """Return what takes axes off a grid."""
    return "; ".join(
        f"grid.collapse('{axis}', method='emulator', "
        f"value={_typical(grid, axis)}, inplace=True)"
        for axis in axes
    )


def _typical(grid: Grid, axis: str) -> str:
    """Return a value amid an axis."""
    nodes = grid._axes_values[axis]
    return f"{nodes[len(nodes) // 2]:.3g}"
