"""Errors, with remedies, for grids that do not suit a model or its emitter.

Synthesizer finds a missing axis or spectrum deep in an extraction, without
saying what to do. These checks name what is missing, and the remedies.
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

# The axes of parametric stars.
_PARAMETRIC = ("ages", "metallicities")

# Synthesizer's errors for missing axes and spectra.
_MISSING = (AttributeError, InconsistentArguments, MissingAttribute)


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
        values = ", ".join(f"{a}: {_central(grid, a)}" for a in others)
        raise InconsistentArguments(
            f"{refused} Collapse the others: {_collapses(grid, others)}; in "
            f"YAML `grid: {{name: {grid.grid_name}, collapse: {{{values}}}}}`."
        )


def check_spectra(grid: Grid, names: Iterable[str]) -> None:
    """Refuse a grid without some of the spectra that a model extracts.

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
            f"'{grid.grid_name}' does not have; it has: "
            f"{', '.join(grid.spectra) or 'none'}. Add them to "
            "spectra_to_read or leave that out; spectra without weights are "
            "built with `synthesizer-emulator build`."
        )


def extracted_spectra(model: EmissionModel, grid: Grid) -> list[str]:
    """Return the names of the spectra that a model extracts from a grid.

    Args:
        model (EmissionModel): The root of the model.
        grid (Grid): The grid.

    Returns:
        list of str: The names, each once, sorted.
    """
    nodes = (m for m in model._models.values() if m.grid is grid)
    return sorted({m.extract for m in nodes if m.extract is not None})


@contextmanager
def with_remedies(
    grid: Grid, model: EmissionModel, emitter: Any, spectra: Iterable[str]
) -> Iterator[None]:
    """Replace errors of an extraction by those that name the remedies.

    Args:
        grid (Grid): The grid that is extracted from.
        model (EmissionModel): The model that extracts.
        emitter (Stars/BlackHoles/Gas): The emitter.
        spectra (iterable of str): The spectra that are needed of the grid.

    Raises:
        InconsistentArguments: If parametric stars lack an axis of the grid.
        MissingAttribute: If another emitter does.
        MissingSpectraType: If the grid lacks some of the spectra.
    """
    try:
        yield
    except _MISSING as error:
        if isinstance(error, AttributeError):
            # Raised by the extractor for a missing spectrum.
            _raise_from(error, lambda: check_spectra(grid, spectra))
        elif isinstance(error, InconsistentArguments):
            if emitter.is_parametric:
                _raise_from(error, lambda: check_parametric(grid))
        else:
            _raise_from(error, lambda: _check_axes(grid, model, emitter))
        raise


def add_remedies(kind: type[Grid]) -> None:
    """Make Synthesizer's extractions from a class of grids name remedies.

    Args:
        kind (type): The class of the grids.
    """
    for name in ("_extract_spectra", "_extract_lines"):
        extract = getattr(Extraction, name)
        setattr(Extraction, name, _wrapped(extract, kind))


def _wrapped(
    extract: Callable[..., Any], kind: type[Grid]
) -> Callable[..., Any]:
    """Return an extraction whose errors name remedies."""
    parameters = signature(extract)

    @wraps(extract)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        arguments = parameters.bind(*args, **kwargs).arguments
        model, emitters = arguments["this_model"], arguments["emitters"]
        if not isinstance(model.grid, kind) or model.emitter not in emitters:
            return extract(*args, **kwargs)
        emitter = emitters[model.emitter]
        spectra = (
            extracted_spectra(arguments["self"], model.grid)
            if "spectra" in arguments
            else ()
        )
        with with_remedies(model.grid, model, emitter, spectra):
            return extract(*args, **kwargs)

    return wrapper


def _raise_from(error: Exception, check: Callable[[], None]) -> None:
    """Run a check, and raise its error as the consequence of another."""
    try:
        check()
    except Exception as better:
        raise better from error


def _check_axes(grid: Grid, model: EmissionModel, emitter: Any) -> None:
    """Refuse an emitter without values on some axis of a grid.

    Raises:
        MissingAttribute: Names the axes and the remedies.
    """
    missing = [a for a in grid.axes if not _has(emitter, model, a)]
    if missing:
        kind = type(emitter).__name__
        values = [f"{axis}={_central(grid, axis)}" for axis in missing]
        raise MissingAttribute(
            f"The grid '{grid.grid_name}' depends on {', '.join(missing)}, "
            f"of which neither the {kind} nor the model '{model.label}' have "
            f"values. Set them on the {kind} (an attribute, one value or one "
            f"for each particle) or on the model ({', '.join(values)}), or "
            f"collapse the axes: {_collapses(grid, missing)}."
        )


def _has(emitter: Any, model: EmissionModel, axis: str) -> bool:
    """Return whether an emitter or its model has values on an axis."""
    try:
        get_param(f"log10{axis}", model, None, emitter)
    except MissingAttribute:
        return False
    return True


def _collapses(grid: Grid, axes: Iterable[str]) -> str:
    """Return the calls that collapse axes of a grid."""
    return "; ".join(
        f"grid.collapse('{axis}', method='emulator', "
        f"value={_central(grid, axis)}, inplace=True)"
        for axis in axes
    )


def _central(grid: Grid, axis: str) -> str:
    """Return the value at the middle of an axis."""
    nodes = grid._axes_values[axis]
    return f"{nodes[len(nodes) // 2]:.3g}"
