"""The wavelengths, lines and units of an emulator's inputs and outputs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.gridfile.emissions import (
    with_derived,
)
from synthesizer_emulator.gridfile.header import GridHeader

# If the second node of a logged axis exceeds the first by more than this
# factor, the first represents zero (the youngest age of many grids).
_GAP = 1e3


@dataclass(frozen=True)
class EmulatorMetadata:
    """The wavelengths, lines and units of an emulator.

    Instances are compared by their digests, because JAX compares the static
    part of a pytree at every call.

    Attributes:
        digest (str): A hash of the other attributes.
        lam (np.ndarray of float): The wavelengths in Angstrom, (nlam,).
        line_ids (tuple of str): The lines.
        axes_units (Mapping): The units of each axis, by its name.
        units (Mapping): The units of each emission by its path, e.g.
            `spectra/incident` or `lines/luminosity`.
        second_nodes (Mapping): The second node of each axis whose first node
            represents zero, by the name of the axis.
        grid_name (str): The name of the grid.
        errors (Mapping): The fields of `ErrorSummary` at the nodes, or at
            samples held out of training, by the path of the emission.
        windows (tuple of tuple): The windows from which the wavelengths are,
            Angstrom; empty if not known.
    """

    digest: str = ""
    lam: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0), compare=False, repr=False
    )
    line_ids: tuple[str, ...] = field(default=(), compare=False, repr=False)
    axes_units: Mapping[str, str] = field(default_factory=dict, compare=False)
    units: Mapping[str, str] = field(default_factory=dict, compare=False)
    second_nodes: Mapping[str, float] = field(
        default_factory=dict, compare=False
    )
    grid_name: str = field(default="", compare=False)
    errors: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict, compare=False, repr=False
    )
    windows: tuple[tuple[float, float], ...] = field(
        default=(), compare=False, repr=False
    )

    @classmethod
    def from_header(
        cls,
        header: GridHeader,
        emissions: Iterable[str],
        grid_name: str = "",
        errors: Mapping[str, Mapping[str, float]] | None = None,
    ) -> "EmulatorMetadata":
        """Return the metadata of a grid's emulator of some emissions."""
        paths = [e.split("/", maxsplit=1) for e in emissions]
        spectra = with_derived(n for group, n in paths if group == "spectra")
        available = [f"spectra/{name}" for name in spectra]
        available += ["/".join(p) for p in paths if p[0] != "spectra"]
        axes_units = {
            axis.name: "dimensionless" if axis.units == "None" else axis.units
            for axis in header.axes
        }
        units = {e: header.units.get(e, "erg/s/Hz") for e in available}
        line_ids = () if header.lines is None else header.lines.ids
        second_nodes = {
            axis.name: float(axis.values[1])
            for axis in header.axes
            if axis.log_on_read
            and len(axis.values) > 1
            and axis.values[1] > _GAP * axis.values[0]
        }
        digest = sha256(header.lam_angstrom.tobytes())
        contents = axes_units, units, line_ids, second_nodes
        digest.update(repr(contents).encode())
        return cls(
            digest.hexdigest(),
            header.lam_angstrom,
            line_ids,
            axes_units,
            units,
            second_nodes,
            grid_name,
            errors or {},
            header.windows,
        )

    def at(self, columns: NDArray[np.intp]) -> "EmulatorMetadata":
        """Return the metadata for the wavelengths at some indices."""
        digest = sha256(f"{self.digest}{np.asarray(columns)}".encode())
        digest.update(np.asarray(columns).tobytes())
        return replace(self, digest=digest.hexdigest(), lam=self.lam[columns])
