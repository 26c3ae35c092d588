"""Observed photometry and its likelihood."""

from dataclasses import dataclass
from typing import ClassVar

from jax.tree_util import register_dataclass

from synthesizer_emulator.inference.measurements import Measurements


@register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Photometry(Measurements):
    """Flux densities of one galaxy in filters, with Gaussian errors.

    A pytree, made by `from_fluxes`; `flux` and `error` are in nJy,
    (n_bands,).
    """

    units: ClassVar[str] = "nJy"
    quantity: ClassVar[str] = "flux density"
    element: ClassVar[str] = "filter"
