"""Emissions of particles, evaluated at their exact ages and metallicities.

Synthesizer distributes each particle over the nodes around it, which is
linear interpolation of the grid. After `extract_directly`, the extractions of
an emission model evaluate the emulator for each particle instead.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.extractors.extractor import (
    Extractor,
    IntegratedParametricExtractor,
)
from synthesizer.emission_models.generators.generator import Generator
from synthesizer.emissions import LineCollection, Sed
from synthesizer.exceptions import (
    InconsistentArguments,
    MissingLines,
    UnimplementedFunctionality,
)
from synthesizer.extensions.doppler_particle_spectra import (
    compute_part_seds_with_vel_shift,
)
from synthesizer.parametric import BlackHole
from synthesizer.units import get_quantity_unit
from synthesizer.utils.precision import resolve_out_dtype
from unyt import Hz, c, erg, s, unyt_array

from synthesizer_emulator.galaxies.remedies import (
    check_spectra,
    with_remedies,
)
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.grid.lazy import LazyEmissions

# The number of particles evaluated at once, to limit the memory.
_BATCH_SIZE = 1024


def extract_directly(model: EmissionModel) -> EmissionModel:
    """Return a model that evaluates the emulator for each particle.

    All extractions from an `EmulatedGrid` in the model tree are replaced,
    including masks and velocity shifts; other models of the tree (escape
    fractions, dust, combinations) are unchanged. Particles outside the range
    of an axis are clipped to its ends, as in Synthesizer. Parametric stars,
    whose history is given at the nodes, are still extracted from the nodes.

    Args:
        model (EmissionModel): Any emission model.

    Returns:
        EmissionModel: A changed copy.

    Raises:
        InconsistentArguments: If the model extracts nothing from an
            `EmulatedGrid`.

    Examples:
        >>> from synthesizer.emission_models import IncidentEmission
        >>> from synthesizer_emulator import EmulatedGrid, extract_directly
        >>> model = IncidentEmission(EmulatedGrid.example())
        >>> direct = extract_directly(model)
        >>> direct.label
        'incident'
    """
    copied = model.expand_models()
    extracting = [
        node
        for node in copied._models.values()
        if node._is_extracting and isinstance(node.grid, EmulatedGrid)
    ]
    if not extracting:
        raise InconsistentArguments(
            f"The model '{model.label}' must extract from an EmulatedGrid, "
            "got none in its tree: pass one as its grid."
        )
    for node in extracting:
        # The public `replace_model` would lose combined models, so private
        # attributes are set.
        node._generator = DirectGenerator(node.grid, node.extract)
        node._is_extracting, node._is_generating = False, True
    copied.unpack_model()
    return copied


class DirectExtractor(Extractor):
    """An extractor that evaluates emissions at each particle's axis values.

    Attributes:
        grid (EmulatedGrid): The grid.
        extract (str): The name of the spectrum to extract.
    """

    def __init__(self, grid: EmulatedGrid, extract: str) -> None:
        # Only the attributes for `get_emitter_attrs`: Synthesizer's
        # constructor would evaluate the emissions at all nodes.
        self.grid, self.extract = grid, extract
        self._emitter_attributes = grid._extract_axes
        self._axes_units = tuple(grid._axes_units[a] for a in grid.axes)
        self._log_emitter_attr = tuple(
            a.startswith("log10") for a in grid._extract_axes
        )
        self._weight_var = grid._weight_var

    def generate_lnu(
        self,
        emitter: Any,
        model: EmissionModel,
        mask: NDArray[np.bool_] | None,
        lam_mask: NDArray[np.bool_] | None,
        out_dtype: type | None = None,
    ) -> Sed:
        """Return spectra per particle (n, nlam), or integrated (nlam,).

        Only particles in the mask (n,) emit, and spectra are zero outside
        the wavelength mask (nlam,); without masks, all are included.
        """
        check_spectra(self.grid, [self.extract])
        spectra = self.grid.spectra
        if model.vel_shift:
            shift = self._doppler_shift(emitter, lam_mask)
        else:
            shift = _scale
        lnu = self._evaluate(spectra, emitter, model, mask, shift, out_dtype)
        if lam_mask is not None:
            lnu[..., ~lam_mask] = 0.0
        return Sed(model.lam, lnu * erg / s / Hz)

    def generate_line(
        self,
        emitter: Any,
        model: EmissionModel,
        mask: NDArray[np.bool_] | None,
        out_dtype: type | None = None,
    ) -> LineCollection:
        """Return all lines per particle (n, nlines), or integrated (nlines,).

        Only particles in the mask (n,) emit; without a mask, all do.

        Raises:
            UnimplementedFunctionality: If the model applies velocity shifts,
                which Synthesizer does not support for lines either.
        """
        if model.vel_shift:
            raise UnimplementedFunctionality(
                "Velocity shifts can't be applied to lines, which have no "
                "width. Measure the lines in the spectra instead."
            )
        lum, cont = (
            self._evaluate(values, emitter, model, mask, _scale, out_dtype)
            * values.units
            for values in (self.grid.line_lums, self.grid.line_conts)
        )
        return LineCollection(
            line_ids=self.grid.line_ids,
            lam=self.grid.line_lams,
            lum=lum,
            cont=cont,
        )

    def _evaluate(
        self,
        emissions: LazyEmissions,
        emitter: Any,
        model: EmissionModel,
        mask: NDArray[np.bool_] | None,
        apply_weights: Any,
        out_dtype: type | None,
    ) -> NDArray:
        """Evaluate an emission, one batch of particles at a time."""
        dtype = resolve_out_dtype(out_dtype)
        size = emissions.view.matrix.shape[0]
        shape = (emitter.nparticles, size) if model.per_particle else (size,)
        total = np.zeros(shape, dtype if model.per_particle else np.float64)
        for indices, values, weights in self._batches(emitter, model, mask):
            arrays = self.grid.point_arrays(values)
            lnu = emissions.evaluate(self.extract, arrays)
            lnu = apply_weights(np.asarray(lnu), weights, indices)
            if model.per_particle:
                total[indices] = lnu
            else:
                total += lnu.sum(axis=0, dtype=np.float64)
        return total.astype(dtype, copy=False)

    def _batches(
        self,
        emitter: Any,
        model: EmissionModel,
        mask: NDArray[np.bool_] | None,
    ) -> Iterator[tuple[NDArray[np.intp], dict[str, NDArray], NDArray]]:
        """Yield the indices, axis values and weights of masked particles."""
        n = emitter.nparticles
        emitting = np.arange(n) if mask is None else np.flatnonzero(mask)
        if not len(emitting):
            return
        with with_remedies(self.grid, model, emitter, ()):
            attributes, weights = self.get_emitter_attrs(emitter, model, False)
        weights = np.broadcast_to(weights, n)
        values = {}
        for axis, limits, logged, attribute in zip(
            self.grid.axes,
            self.grid._extract_axes_values.values(),
            self._log_emitter_attr,
            attributes,
            strict=True,
        ):
            x = np.clip(attribute.astype(np.float64), limits[0], limits[-1])
            values[axis] = np.broadcast_to(10.0**x if logged else x, n)
        for first in range(0, len(emitting), _BATCH_SIZE):
            batch = emitting[first : first + _BATCH_SIZE]
            at_batch = {axis: v[batch] for axis, v in values.items()}
            yield batch, at_batch, weights[batch]

    def _doppler_shift(
        self, emitter: Any, lam_mask: NDArray[np.bool_] | None
    ) -> Any:
        """Return a function that weights and Doppler-shifts spectra.

        It calls Synthesizer's kernel on a grid whose nodes are the particles.
        """
        if emitter._velocities is None:
            raise InconsistentArguments(
                "Velocity-shifted spectra need the velocities of the "
                "particles, got none: set them, or pass vel_shift=False."
            )
        light = c.to(get_quantity_unit(emitter, "velocities")).ndview

        def shifted(
            lnu: NDArray, weights: NDArray, indices: NDArray[np.intp]
        ) -> NDArray:
            # The kernel interpolates, so it needs at least two nodes.
            lnu = np.concatenate([lnu, lnu[-1:]])
            numbers = np.arange(len(lnu), dtype=lnu.dtype)
            spectra, _ = compute_part_seds_with_vel_shift(
                np.ascontiguousarray(lnu),
                self.grid._lam,
                (numbers,),
                (numbers[:-1],),
                np.ascontiguousarray(weights, lnu.dtype),
                np.ascontiguousarray(emitter._velocities[indices], lnu.dtype),
                np.array(lnu.shape, np.int32),
                1,
                len(indices),
                lnu.shape[1],
                "ngp",
                1,
                light,
                None,
                lam_mask,
                lnu.dtype,
                ("particle", "weight"),
            )
            return spectra

        return shifted


class DirectGenerator(Generator):
    """A Synthesizer generator that calls a `DirectExtractor`."""

    def __init__(self, grid: EmulatedGrid, extract: str) -> None:
        super().__init__()
        self._extractor = DirectExtractor(grid, extract)

    def _generate_spectra(
        self,
        lams: unyt_array,
        emitter: Any,
        model: EmissionModel,
        emissions: dict[str, Sed],
        out_dtype: type | None = None,
    ) -> Sed:
        """Return the spectra of an emitter."""
        mask = _mask_of(model, emitter)
        direct = self._extractor
        if _at_nodes(emitter):
            at_nodes = IntegratedParametricExtractor(
                direct.grid, direct.extract
            )
            with with_remedies(direct.grid, model, emitter, [direct.extract]):
                return at_nodes.generate_lnu(
                    emitter,
                    model,
                    mask,
                    model.lam_mask,
                    "cic",
                    1,
                    False,
                    out_dtype,
                )
        return direct.generate_lnu(
            emitter, model, mask, model.lam_mask, out_dtype
        )

    def _generate_lines(
        self,
        line_ids: Sequence[str] | None,
        lams: unyt_array | None,
        emitter: Any,
        model: EmissionModel,
        emissions: dict[str, LineCollection],
        spectra: dict[str, Sed],
        out_dtype: type | None = None,
    ) -> LineCollection:
        """Return the requested lines of an emitter, or all lines."""
        mask = _mask_of(model, emitter)
        direct = self._extractor
        if _at_nodes(emitter):
            at_nodes = IntegratedParametricExtractor(
                direct.grid, direct.extract
            )
            with with_remedies(direct.grid, model, emitter, ()):
                lines = at_nodes.generate_line(
                    emitter, model, mask, None, "cic", 1, False, out_dtype
                )
        else:
            lines = direct.generate_line(emitter, model, mask, out_dtype)
        if line_ids is None:
            return lines
        single = {i.strip() for ids in line_ids for i in ids.split(",")}
        missing = single - set(direct.grid.available_lines)
        if missing:
            raise MissingLines(
                "The Grid does not contain the following lines: "
                f"{', '.join(sorted(missing))}."
            )
        if len(line_ids) < lines.nlines:
            lines = lines[list(line_ids)]
        return lines


def _scale(lnu: NDArray, weights: NDArray, indices: NDArray) -> NDArray:
    """Return spectra (n, nlam) times weights (n,)."""
    return lnu * weights[:, None].astype(lnu.dtype)


def _at_nodes(emitter: Any) -> bool:
    """Return whether the history of an emitter is given at the nodes."""
    return emitter.is_parametric and not isinstance(emitter, BlackHole)


def _mask_of(model: EmissionModel, emitter: Any) -> NDArray[np.bool_] | None:
    """Return the combined mask of a model, (n,), or None without masks."""
    mask = None
    for limit in model.masks:
        mask = emitter.get_mask(**limit, mask=mask, attr_override_obj=model)
    return mask
