"""The contents of a weights file in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import Architecture, EmissionShape
from synthesizer_emulator.architectures.node_table import NodeTable
from synthesizer_emulator.architectures.registry import get_architecture
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.emulator.metadata import EmulatorMetadata
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.emulator.tables import Derived
from synthesizer_emulator.files.hdf5 import report_damage
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile.emissions import with_derived
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.places import current_name
from synthesizer_emulator.weights.provenance import Provenance
from synthesizer_emulator.weights.tensors import REMEDY, tensor_name

# From version 4 on, no reader takes the file for a grid. Version 3 has a
# checksum, 2 has tables in integers, 1 has neither.
FORMAT_VERSION = 4
FIRST_SEALED = 3


@dataclass(frozen=True, repr=False)
class Weights:
    """The contents of a weights file, in memory.

    Attributes:
        header (GridHeader): The header of the emulated grid.
        domain (tuple of AxisDomain): The training domain of each axis.
        provenance (Provenance): The source grid, settings and errors.
        shapes (Mapping): The shape of each emission, by its path.
        tensors (Mapping): The tensors of each emission, by its path and
            then by their names.
        path (Path): The file; None before it is written.
        contents (bytes): The bytes of the file when it was read.
        format_version (int): The format of the file; from version 3 on it
            has a checksum, which was verified.
    """

    header: GridHeader
    domain: tuple[AxisDomain, ...]
    provenance: Provenance
    shapes: Mapping[str, EmissionShape]
    tensors: Mapping[str, Mapping[str, NDArray]]
    path: Path | None = None
    contents: bytes = b""
    format_version: int = FORMAT_VERSION

    @property
    def grid_name(self) -> str:
        """The name of the grid; shipped weights may record an earlier one."""
        return current_name(self.provenance.grid_name)

    @property
    def verified(self) -> bool:
        """Whether the contents were verified by a checksum."""
        return self.format_version >= FIRST_SEALED

    @property
    def available_spectra(self) -> tuple[str, ...]:
        """The names of the spectra, including derived ones, sorted."""
        trained = [
            path.removeprefix("spectra/")
            for path in self.shapes
            if path.startswith("spectra/")
        ]
        return tuple(sorted(with_derived(trained)))

    @property
    def has_node_tables(self) -> bool:
        """Whether NumPy can evaluate emissions at the nodes."""
        return self.architecture.has_node_table

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture with its settings."""
        return get_architecture(
            self.provenance.architecture,
            self.provenance.architecture_config,
        )

    @cached_property
    def emulator(self) -> Emulator:
        """The emulator of all emissions.

        Raises:
            GridError: If the tensors do not have the shapes or precisions of
                the architecture.
        """

        def group(name: str) -> dict[str, EmissionEmulator]:
            prefix = f"{name}/"
            return {
                path.removeprefix(prefix): self.emission(path)
                for path in self.shapes
                if path.startswith(prefix)
            }

        # Where a function is traced too, the arrays are plain constants.
        with jax.ensure_compile_time_eval():
            return Emulator(
                self.coordinates,
                group("spectra"),
                group("lines"),
                EmulatorMetadata.from_header(
                    self.header,
                    tuple(self.shapes),
                    self.grid_name,
                    self.provenance.errors,
                ),
            )

    @cached_property
    def coordinates(self) -> Coordinates:
        """The scaling of the axes."""
        return Coordinates(self.domain)

    def emission(self, path: str) -> EmissionEmulator:
        """Rebuild the emulator of one emission.

        Args:
            path (str): The emission, e.g. `spectra/incident`.

        Raises:
            GridError: As for `emulator`.
            UnimplementedFunctionality: In a forked process, in which JAX
                would hang.
        """
        check_not_forked()
        if path not in self._emissions:
            file = self.path or Path(self.grid_name)
            with report_damage(file, REMEDY):
                self._emissions[path] = self._rebuild(path)
        return self._emissions[path]

    @cached_property
    def _emissions(self) -> dict[str, EmissionEmulator]:
        """The emissions that were rebuilt so far, by path."""
        return {}

    def axes_of(self, path: str) -> tuple[int, ...] | None:
        """Return the axes on which an emission depends; None for all."""
        axes = self.header.varying_axes(path)
        return None if len(axes) == len(self.header.axes) else axes

    def node_table(
        self,
        path: str,
        columns: NDArray[np.intp],
        between: tuple[int, float] | None = None,
    ) -> NodeTable | None:
        """Evaluate the latents of an emission at the nodes without JAX.

        As `Architecture.node_table`, for the emission at a path such as
        `spectra/incident`; but `between` has an axis value in the units of the
        grid instead of a coordinate.
        """
        if between is not None:
            axis, value = between
            scale = Coordinates(self.domain[axis : axis + 1])
            x = float(scale.scale_points(np.array([[value]])).item())
            # The index among the axes on which the emission depends.
            axes = self.header.varying_axes(path)
            between = (axes.index(axis), x) if axis in axes else None
        return self.architecture.node_table(
            self.tensors[path], columns, between
        )

    def __deepcopy__(self, memo: dict) -> Self:
        """Return the same object, as it is immutable."""
        return self

    def __repr__(self) -> str:
        """Return the grid and the architecture, without the numbers."""
        provenance = self.provenance
        return f"Weights({self.grid_name}, {provenance.architecture})"

    def _rebuild(self, path: str) -> EmissionEmulator:
        """Fill the skeleton of one emission with its tensors.

        Raises:
            ValueError: If the tensors do not fit the architecture.
        """
        skeleton = nnx.eval_shape(
            lambda: self.architecture.skeleton(self.shapes[path])
        )
        graph, derived, *stored = nnx.split(skeleton, Derived, ...)
        variables = dict(nnx.to_flat_state(stored[0]))
        tensors = self.tensors[path]
        keys = {tensor_name(key): key for key in variables}
        missing, extra = keys.keys() - tensors.keys(), tensors.keys() - keys
        if missing or extra:
            raise ValueError(
                f"the tensors of '{path}' do not fit its architecture ("
                f"missing: {', '.join(sorted(missing)) or 'none'}; "
                f"unexpected: {', '.join(sorted(extra)) or 'none'})"
            )
        for name, key in keys.items():
            expected, tensor = variables[key].get_value(), tensors[name]
            if (expected.shape, expected.dtype) != (
                tensor.shape,
                tensor.dtype,
            ):
                raise ValueError(
                    f"tensor '{path}/{name}' must be {expected.dtype}"
                    f"{expected.shape} in the architecture "
                    f"'{self.provenance.architecture}', got {tensor.dtype}"
                    f"{tensor.shape}"
                )
            variables[key] = variables[key].replace(jnp.asarray(tensor))
        state = nnx.from_flat_state(variables.items())
        emission = self.architecture.derive(nnx.merge(graph, derived, state))
        axes = self.axes_of(path)
        return emission if axes is None else emission.on_axes(axes)
