"""Observed fluxes of emission lines and their likelihood."""

from dataclasses import dataclass
from typing import ClassVar

from jax.tree_util import register_dataclass

from synthesizer_emulator.inference.measurements import Measurements


@register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class LineFluxes(Measurements):
    """Fluxes of emission lines of one galaxy, with Gaussian errors.

    A pytree, made by `from_fluxes`; `flux` and `error` are in erg/s/cm^2,
    (n_lines,). The continuum, and so the absorption by stars, must have been
    subtracted, as it has in the lines of the grid.
    """

    units: ClassVar[str] = "erg/s/cm**2"
    quantity: ClassVar[str] = "flux"
    element: ClassVar[str] = "line"
