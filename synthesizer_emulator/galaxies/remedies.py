"""Error messages that suggest remedies for missing axes and spectra of grids.

Synthesizer's errors for missing axes and spectra are raised deep within an
extraction, without a remedy.
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
    """Raise unless the axes of a grid are ages and metallicities.

    Raises:
        InconsistentArguments: If they differ; the error suggests a remedy.
    """
    if tuple(grid.axes) != _PARAMETRIC:
        others = [axis for axis in grid.axes if axis not in _PARAMETRIC]
        message = (
            "The grid of parametric stars must have the axes "
            f"{', '.join(_PARAMETRIC)}; the grid '{grid.grid_name}' has the "
            f"axes {', '.join(grid.axes)}."
        )
        if len(grid.axes) != len(_PARAMETRIC) + len(others) or not others:
            raise InconsistentArguments(message)
        values = ", ".join(f"{a}: {central_value(grid, a)}" for a in others)
        raise InconsistentArguments(
            f"{message} Collapse the others: {collapse_code(grid, others)}; "
            f"in YAML `grid: {{name: {grid.grid_name}, "
            f"collapse: {{{values}}}}}`."
        )


def check_stellar_axes(grid: Grid) -> None:
    """Raise unless the first axes of a grid are ages and metallicities.

    Raises:
        InconsistentArguments: If they are not.
    """
    if tuple(grid.axes[:2]) != _PARAMETRIC:
        raise InconsistentArguments(
            "The first axes of the grid must be those of parametric stars, "
            f"{', '.join(_PARAMETRIC)}; the grid '{grid.grid_name}' has the "
            f"axes {', '.join(grid.axes)}."
        )


def check_spectra(
    grid: Grid, names: Iterable[str], quantity: str = "spectra"
) -> None:
    """Raise unless a grid has the named spectra, or the lines of these.

    Args:
        grid (Grid): The grid.
        names (iterable of str): The names of the spectra.
        quantity (str): `spectra`, `line_lums` or `line_conts`.

    Raises:
        MissingSpectraType: If one is missing; the error suggests a remedy.
    """
    known = getattr(grid, quantity)
    missing = [name for name in names if name not in known]
    if missing and quantity != "spectra":
        raise MissingSpectraType(
            f"The model extracts lines of {', '.join(missing)}; the grid "
            f"'{grid.grid_name}' has lines of: {', '.join(known) or 'none'}. "
            "Set those of others in its line_lums and line_conts, or omit "
            "this emission."
        )
    if missing:
        raise MissingSpectraType(
            f"The model extracts {', '.join(missing)}, which the grid "
            f"'{grid.grid_name}' does not have; it has: "
            f"{', '.join(grid.spectra) or 'none'}. Add them to "
            "spectra_to_read, or omit spectra_to_read. If they have no "
            "weights, use `synthesizer-emulator build`."
        )


def extracted_spectra(model: EmissionModel, grid: Grid) -> list[str]:
    """Return the sorted names of spectra that a model extracts from a grid."""
    nodes = (m for m in model._models.values() if m.grid is grid)
    return sorted({m.extract for m in nodes if m.extract is not None})


@contextmanager
def with_remedies(
    grid: Grid, model: EmissionModel, emitter: Any, spectra: Iterable[str]
) -> Iterator[None]:
    """Replace the errors of an extraction by errors that suggest remedies.

    Raises:
        InconsistentArguments: If parametric stars lack an axis of the grid.
        MissingAttribute: If another emitter lacks an axis of the grid.
        MissingSpectraType: If the grid lacks one of `spectra`.
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
    """Patch Synthesizer to suggest remedies for grids of a class."""
    for name in ("_extract_spectra", "_extract_lines"):
        extract = getattr(Extraction, name)
        setattr(Extraction, name, _wrapped(extract, kind))


def _wrapped(
    extract: Callable[..., Any], kind: type[Grid]
) -> Callable[..., Any]:
    """Wrap an extraction so that its errors suggest remedies."""
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
    """Run a check, and chain its error to an earlier one."""
    try:
        check()
    except Exception as explained:
        raise explained from error


def _check_axes(grid: Grid, model: EmissionModel, emitter: Any) -> None:
    """Raise unless an emitter or its model has values for all axes of a grid.

    Raises:
        MissingAttribute: If one is missing; the error suggests remedies.
    """
    missing = [a for a in grid.axes if not _has(emitter, model, a)]
    if missing:
        kind = type(emitter).__name__
        values = [f"{axis}={central_value(grid, axis)}" for axis in missing]
        raise MissingAttribute(
            f"Values of {', '.join(missing)} must be set, as the grid "
            f"'{grid.grid_name}' depends on them; neither the {kind} nor the "
            f"model '{model.label}' has any. Set them as attributes of the "
            f"{kind} (one value, or one per particle) or on the model "
            f"({', '.join(values)}), or collapse the axes: "
            f"{collapse_code(grid, missing)}."
        )


def _has(emitter: Any, model: EmissionModel, axis: str) -> bool:
    """Return whether an emitter or its model has values for an axis."""
    try:
        get_param(f"log10{axis}", model, None, emitter)
    except MissingAttribute:
        return False
    return True


def collapse_code(grid: Grid, axes: Iterable[str]) -> str:
    """Return the code that collapses axes of a grid."""
    return "; ".join(
        f"grid.collapse('{axis}', method='emulator', "
        f"value={central_value(grid, axis)}, inplace=True)"
        for axis in axes
    )


def central_value(grid: Grid, axis: str) -> str:
    """Return the middle node of an axis, to three digits."""
    nodes = grid._axes_values[axis]
    return f"{nodes[len(nodes) // 2]:.3g}"
