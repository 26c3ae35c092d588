"""The samplers by name, their options, and how they sample many galaxies."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from inspect import signature
from typing import Any

import jax
import numpy as np
from synthesizer.exceptions import InconsistentArguments, UnmetDependency

from synthesizer_emulator.inference.amortised.sampler import amortised
from synthesizer_emulator.inference.most_probable import (
    most_probable,
    most_probable_of_many,
)
from synthesizer_emulator.inference.nested import nested
from synthesizer_emulator.inference.nss import nss, nss_of_many
from synthesizer_emulator.inference.nuts import nuts, nuts_of_many
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.target import Target
from synthesizer_emulator.progress import stage
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

# Errors of the machine, not of one galaxy.
OF_MACHINE = (UnmetDependency, OSError, MemoryError)


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


def sample_many(
    method: str,
    targets: Sequence[Target],
    seeds: Sequence[int],
    options: Mapping[str, Any],
    progress: bool = False,
    at_once: int | None = None,
) -> list[Samples | Exception]:
    """Sample the posteriors of several galaxies of a fit.

    Those whose arrays have the same shapes are sampled together by the
    samplers that can, others one after another. A galaxy that fails does not
    stop the others.

    Args:
        method (str): The sampler, a key of `SAMPLERS`.
        targets (list of Target): The likelihoods.
        seeds (list of int): The seed of the random numbers of each galaxy.
        options (Mapping): The options of the sampler.
        progress (bool): Show the progress.
        at_once (int): The number of galaxies that are sampled together; fewer
            are filled up with copies, so that one compiled program serves
            any number. By default all of the same shapes.

    Returns:
        list: The samples of each galaxy, or the error that it met.

    Raises:
        UnmetDependency: If the sampler is not installed; likewise other
            errors of the machine, `OF_MACHINE`.
    """
    if method not in OF_MANY:
        return [
            attempted(
                SAMPLERS[method], target, seed, progress=progress, **options
            )
            for target, seed in zip(targets, seeds, strict=True)
        ]
    groups: dict[Hashable, list[int]] = {}
    for i, target in enumerate(targets):
        groups.setdefault(_shapes(target), []).append(i)
    found: dict[int, Samples | Exception] = {}
    for group in groups.values():
        size = len(group) if at_once is None else at_once

        def sample(rows: list[int], size: int = size) -> Any:
            filled = [*rows, *rows[:1] * (size - len(rows))]
            with stage(f"Compiling and running '{method}'", progress):
                return attempted(
                    OF_MANY[method],
                    [targets[i] for i in filled],
                    [seeds[i] for i in filled],
                    progress=progress,
                    **options,
                )

        for start in range(0, len(group), size):
            rows = group[start : start + size]
            batch = sample(rows)
            if not isinstance(batch, Exception):
                found.update(zip(rows, batch, strict=False))
            elif len(rows) == 1:
                found[rows[0]] = batch
            else:
                # Find those whose fault it is, each by itself in the program
                # that is compiled.
                for i in rows:
                    alone = sample([i])
                    is_error = isinstance(alone, Exception)
                    found[i] = alone if is_error else alone[0]
    return [found[i] for i in range(len(targets))]


def attempted(
    function: Callable[..., Any], *arguments: Any, **options: Any
) -> Any:
    """Return the value of a function, or the error that it raises.

    Those of the machine are raised, as no galaxy is at fault.
    """
    try:
        return function(*arguments, **options)
    except OF_MACHINE:
        raise
    except Exception as error:
        return error


def _shapes(target: Target) -> Hashable:
    """Return what galaxies must have in common to be sampled together."""
    leaves, tree = jax.tree.flatten(target.arguments)
    return tree, tuple(np.shape(leaf) for leaf in leaves)
