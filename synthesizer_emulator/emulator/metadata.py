"""The axes, wavelengths, lines and units that an emulator was made for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.gridfile.emissions import (
    with_derived,
)
from synthesizer_emulator.gridfile.header import GridHeader

# How far the second node of an axis is from one that stands for zero.
_GAP = 1e3


@dataclass(frozen=True)
class EmulatorMetadata:
    """What the numbers of an emulator stand for.

    Two are the same if their digests are: it goes along with a pytree, where
    it is compared at every call.

    Attributes:
        digest (str): Tells it from others.
        lam (np.ndarray of float): The wavelengths in Angstrom, (nlam,).
        line_ids (tuple of str): The lines.
        axes_units (Mapping): The units of each axis, by its name.
        units (Mapping): The units of each emission by its path, as
            `spectra/incident` and `lines/luminosity`.
        second_nodes (Mapping): Of each axis whose first node stands for zero,
            and has nothing near it, the second node; as of ages.
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

    @classmethod
    def from_header(
        cls, header: GridHeader, emissions: Iterable[str]
    ) -> "EmulatorMetadata":
        """Return the meaning of the emulator of a grid.

        Args:
            header (GridHeader): The header of the grid.
            emissions (iterable of str): The paths of what is emulated.
        """
        paths = [e.split("/", maxsplit=1) for e in emissions]
        spectra = with_derived(n for group, n in paths if group == "spectra")
        every = [f"spectra/{name}" for name in spectra]
        every += ["/".join(p) for p in paths if p[0] != "spectra"]
        axes_units = {
            axis.name: "dimensionless" if axis.units == "None" else axis.units
            for axis in header.axes
        }
        units = {e: header.units.get(e, "erg/s/Hz") for e in every}
        line_ids = () if header.lines is None else header.lines.ids
        second_nodes = {
            axis.name: float(axis.values[1])
            for axis in header.axes
            if axis.log_on_read
            and len(axis.values) > 1
            and axis.values[1] > _GAP * axis.values[0]
        }
        digest = sha256(header.lam_angstrom.tobytes())
        said = axes_units, units, line_ids, second_nodes
        digest.update(repr(said).encode())
        return cls(
            digest.hexdigest(),
            header.lam_angstrom,
            line_ids,
            axes_units,
            units,
            second_nodes,
        )

    def at(self, columns: NDArray[np.intp]) -> "EmulatorMetadata":
        """Return the meaning of an emulator of only some wavelengths.

        Args:
            columns (np.ndarray of int): Those that are kept.
        """
        digest = sha256(f"{self.digest}{np.asarray(columns)}".encode())
        digest.update(np.asarray(columns).tobytes())
        return replace(self, digest=digest.hexdigest(), lam=self.lam[columns])
