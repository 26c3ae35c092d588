"""Translation of Synthesizer's dust emission generators.

`dust` has the spectra that are formulae, `dust_templates` those of templates.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.generators import dust as native
from synthesizer.exceptions import UnimplementedFunctionality

from synthesizer_emulator.galaxies.dust import coldest_within, translate_dust
from synthesizer_emulator.galaxies.dust_templates import (
    DustTemplates,
    translate_templates,
)
from synthesizer_emulator.galaxies.resolve import ParameterResolver
from synthesizer_emulator.galaxies.terms import DustEmission
from synthesizer_emulator.units import PURE, in_stated_units

Dust: TypeAlias = DustEmission | DustTemplates

# The units of the settings of dust emission generators.
_UNITS = {"lam_0": "angstrom", "emissivity": PURE, "alpha": PURE}


def translate_generator(
    model: EmissionModel,
    parameters: ParameterResolver,
    lam: NDArray[np.float64],
    lines: NDArray[np.float64] | None = None,
) -> Dust:
    """Return the dust emission of a model that generates it.

    Args:
        model (EmissionModel): The model.
        parameters (ParameterResolver): The parameters of the galaxies.
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        lines (np.ndarray of float): Wavelengths of lines, Angstrom,
            (n_lines,), at which the emission follows that at `lam`.

    Raises:
        UnimplementedFunctionality: If the generator is not supported.
        MissingAttribute: If a parameter is missing.
        IncorrectUnits: If a setting has the wrong units.
        MissingUnits: If a setting lacks units that Synthesizer requires.
    """
    generator = model.generator
    if not isinstance(generator, native.DustEmission):
        raise UnimplementedFunctionality(
            f"the generator {type(generator).__name__}"
        )
    for name, units in _UNITS.items():
        if hasattr(generator, name):
            value = getattr(generator, name)
            in_stated_units(f"'{name}' of {generator}", value, units)
    intrinsic, attenuated = None, None
    if generator.is_energy_balance:
        intrinsic = label_of(generator._intrinsic)
        attenuated = label_of(generator._attenuated)
    elif generator.is_scaled:
        intrinsic = label_of(generator._scaler)
    if isinstance(generator, native.DraineLi07):
        templates = translate_templates(
            generator,
            lam,
            parameters.value("qpah", model, None, PURE, obj=generator),
            parameters.value("dust_mass", model, None, "Msun", obj=generator),
            (intrinsic, attenuated),
        )
        return templates if lines is None else templates.append(lam, lines)
    everywhere = lam if lines is None else np.append(lam, lines)
    return DustEmission(
        log_shape=translate_dust(generator, everywhere),
        temperature=parameters.value(
            "temperature", model, None, "K", obj=generator
        ),
        coldest=coldest_within(generator, lam),
        intrinsic=intrinsic,
        attenuated=attenuated,
    )


def label_of(model: EmissionModel | str) -> str:
    """Return the label of a model in the tree.

    Raises:
        UnimplementedFunctionality: If it is only named, not in the tree.
    """
    if isinstance(model, str):
        raise UnimplementedFunctionality(
            f"the emission '{model}' from an earlier run"
        )
    return model.label
