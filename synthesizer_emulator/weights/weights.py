"""The contents of a weights file in memory."""

from collections.abc import Mapping
from dataclasses import (
    dataclass,
)
from functools import cached_property
from pathlib import Path
from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import Architecture, EmissionShape
from synthesizer_emulator.architectures.node_table import NodeTable
from synthesizer_emulator.architectures.registry import (
    get_architecture,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.emulator.metadata import EmulatorMetadata
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.emulator.tables import Derived, SmoothTable
from synthesizer_emulator.files.hdf5 import report_damage
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile.emissions import with_derived
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.weights.provenance import Provenance
from synthesizer_emulator.weights.tensors import (
    _REMEDY,
    _tensor_name,
)

# Version 3 has a checksum, 2 has tables in integers, 1 has neither.
FORMAT_VERSION = 3


_FIRST_SEALED = 3


@dataclass(frozen=True, repr=False)
class Weights:
    """What a weights file holds, in memory.

    Attributes:
        header (GridHeader): The header of the emulated grid.
        domain (tuple of AxisDomain): Where it was trained.
        provenance (Provenance): Where it comes from.
        shapes (Mapping): The shape of each emission, by its path.
        tensors (Mapping): The tensors of each emission, by its path and
            then by theirs.
        path (Path): The file they came from, if any.
        contents (bytes): What that file held when it was read.
        format_version (int): Its format; from 3 on there is a checksum,
            which was verified.
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
    def verified(self) -> bool:
        """Whether a checksum says that these are what was written."""
        return self.format_version >= _FIRST_SEALED

    @property
    def available_spectra(self) -> tuple[str, ...]:
        """The names of the spectra, the derived ones included, sorted."""
        trained = [
            path.removeprefix("spectra/")
            for path in self.shapes
            if path.startswith("spectra/")
        ]
        return tuple(sorted(with_derived(trained)))

    @property
    def has_node_tables(self) -> bool:
        """Whether `node_table` finds emissions at their own nodes."""
        return NodeTable.knows(self._architecture)

    @cached_property
    def emulator(self) -> Emulator:
        """The emulator, rebuilt from its skeleton and the tensors.

        Raises:
            GridError: If a tensor has another shape or precision than the
                architecture wants; names it and both.
        """

        def group(name: str) -> dict[str, EmissionEmulator]:
            prefix = f"{name}/"
            return {
                path.removeprefix(prefix): self.emission(path)
                for path in self.shapes
                if path.startswith(prefix)
            }

        return Emulator(
            self.coordinates,
            group("spectra"),
            group("lines"),
            EmulatorMetadata.from_header(self.header, tuple(self.shapes)),
        )

    @cached_property
    def coordinates(self) -> Coordinates:
        """The scaling of the axes."""
        return Coordinates(self.domain)

    def emission(self, path: str) -> EmissionEmulator:
        """Return one emission of the emulator, rebuilt alone.

        Args:
            path (str): The emission, e.g. `spectra/incident`.

        Raises:
            GridError: As for `emulator`.
            UnimplementedFunctionality: In a process in which JAX would hang.
        """
        check_not_forked()
        if path not in self._rebuilt:
            file = self.path or Path(self.provenance.grid_name)
            with report_damage(file, _REMEDY):
                self._rebuilt[path] = self._emission(path, self.shapes[path])
        return self._rebuilt[path]

    @cached_property
    def _rebuilt(self) -> dict[str, EmissionEmulator]:
        """The emissions that someone asked for."""
        return {}

    def node_table(
        self,
        path: str,
        columns: NDArray[np.intp],
        between: tuple[int, float] | None = None,
    ) -> NodeTable | None:
        """Return an emission at its own nodes, if that needs no compiler.

        Args:
            path (str): The emission, e.g. `spectra/incident`.
            columns (np.ndarray of int): The wavelengths or lines wanted.
            between (tuple): An axis, and the value on it that takes the
                place of its nodes.
        """
        if between is not None:
            axis, value = between
            scale = Coordinates(self.domain[axis : axis + 1])
            between = (
                axis,
                float(scale.scale_points(np.array([[value]])).item()),
            )
        return NodeTable.from_tensors(
            self._architecture, self.tensors[path], columns, between
        )

    @property
    def _architecture(self) -> Architecture:
        """How it is emulated."""
        return get_architecture(
            self.provenance.architecture,
            self.provenance.architecture_config,
        )

    def __deepcopy__(self, memo: dict) -> Self:
        """Return itself: nothing in it ever changes."""
        return self

    def __repr__(self) -> str:
        """Return what it is, without the numbers."""
        card = self.provenance
        return f"Weights({card.grid_name}, {card.architecture})"

    def _emission(self, path: str, shape: EmissionShape) -> EmissionEmulator:
        """Fill the skeleton of one emission."""
        architecture = self._architecture
        skeleton = nnx.eval_shape(lambda: architecture.skeleton(shape))
        graph, derived, *stored = nnx.split(skeleton, Derived, ...)
        flat = dict(nnx.to_flat_state(stored[0]))
        tensors = self.tensors[path]
        expected = {_tensor_name(key): key for key in flat}
        _check_same(set(expected), set(tensors), path)
        for name, key in expected.items():
            want, got = flat[key].get_value(), tensors[name]
            if want.shape != got.shape or want.dtype != got.dtype:
                raise ValueError(
                    f"tensor '{path}/{name}' is {got.dtype}{got.shape}, but "
                    f"the architecture '{self.provenance.architecture}' "
                    f"wants {want.dtype}{want.shape}"
                )
            flat[key] = flat[key].replace(jnp.asarray(got))
        state = nnx.from_flat_state(flat.items())
        emission = nnx.merge(graph, derived, state)
        for _, module in nnx.iter_modules(emission):
            if isinstance(module, SmoothTable):
                module.derive()
        return emission


def _check_same(expected: set[str], found: set[str], path: str) -> None:
    """Refuse tensors that are missing or too many."""
    if expected != found:
        missing = ", ".join(sorted(expected - found)) or "none"
        extra = ", ".join(sorted(found - expected)) or "none"
        raise ValueError(
            f"the tensors of '{path}' do not fit its architecture (missing: "
            f"{missing}; unexpected: {extra})"
        )
