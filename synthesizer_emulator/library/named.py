"""Cosmologies and models of the intergalactic medium, by name."""

from typing import Any

import astropy.cosmology
from astropy.cosmology import FLRW
from synthesizer.emission_models import attenuation
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.validation import check_choice, nearest

# Synthesizer's models of the intergalactic medium.
IGM_MODELS = {
    name: getattr(attenuation, name)
    for name in ("Asada25", "Inoue14", "Madau96")
}


def find_cosmology(cosmo: Any) -> Any:
    """Return astropy's cosmology of a name; return a cosmology unchanged."""
    if not isinstance(cosmo, str):
        return cosmo
    named = getattr(astropy.cosmology, cosmo, None)
    if not isinstance(named, FLRW):
        known = astropy.cosmology.realizations.available
        raise InconsistentArguments(
            f"The cosmology must be one of astropy's, {', '.join(known)}; got "
            f"{cosmo!r}." + nearest(cosmo, known)
        )
    return named


def find_igm(igm: Any) -> Any:
    """Return Synthesizer's IGM model of a name; return a model unchanged."""
    if not isinstance(igm, str):
        return igm
    check_choice("igm", igm, tuple(IGM_MODELS))
    return IGM_MODELS[igm]()
