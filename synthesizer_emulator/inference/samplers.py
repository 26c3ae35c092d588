"""The samplers by name, and their options."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.inference.amortised.sampler import amortised
from synthesizer_emulator.inference.most_probable import (
    most_probable,
    most_probable_of_many,
)
from synthesizer_emulator.inference.nested import nested
from synthesizer_emulator.inference.nss import nss, nss_of_many
from synthesizer_emulator.inference.nuts import nuts, nuts_of_many
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.validation import check_choice, nearest

# The samplers by name.
SAMPLERS: Mapping[str, Callable[..., Samples]] = {
    "nested": nested,
    "nss": nss,
    "nuts": nuts,
    "map": most_probable,
    "amortised": amortised,
}

# Those that sample several galaxies in one program.
OF_MANY: Mapping[str, Callable[..., list[Samples]]] = {
    "nss": nss_of_many,
    "nuts": nuts_of_many,
    "map": most_probable_of_many,
}

# Those that need derivatives.
BY_GRADIENTS = ("nuts", "map")


def sampler_options(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a sampler.

    Args:
        method (str): The sampler, a key of `SAMPLERS`.
        given (Mapping): The options that differ from their default.

    Raises:
        InconsistentArguments: If there is no such sampler, or it has no such
            option.
    """
    check_choice("method", method, tuple(SAMPLERS))
    defaults = {
        name: parameter.default
        for name, parameter in signature(SAMPLERS[method]).parameters.items()
        if name not in ("target", "seed", "progress")
    }
    for option in given:
        if option not in defaults:
            raise InconsistentArguments(
                f"The options of '{method}' must be among "
                f"{', '.join(defaults)}; got '{option}'."
                + nearest(option, defaults)
            )
    return {**defaults, **given}
