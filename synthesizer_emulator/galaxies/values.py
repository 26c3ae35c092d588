"""Parameter values of an emission model: constant, varying or computed.

`resolve` makes them from Synthesizer's models. Each is called with the
parameters of one galaxy and returns a plain number, and each lists the varying
parameters that it depends on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from synthesizer.exceptions import InconsistentArguments


@runtime_checkable
class Value(Protocol):
    """The value of a parameter for one galaxy."""

    @property
    def varying(self) -> "frozenset[Varying]":
        """The varying parameters that it depends on."""

    def __call__(self, parameters: Mapping[str, ArrayLike]) -> Any:
        """Return the value, given the varying parameters of one galaxy."""


@dataclass(frozen=True)
class Constant:
    """A value shared by all galaxies.

    Attributes:
        value (float): The value.
    """

    value: float

    @property
    def varying(self) -> "frozenset[Varying]":
        """An empty set."""
        return frozenset()

    def __call__(self, parameters: Mapping[str, ArrayLike]) -> Any:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Varying:
    """A value that differs from galaxy to galaxy.

    Attributes:
        name (str): The name of the parameter.
        units (str): The units of the plain number; None for an argument of
            a function, which is passed on in whatever units it has.
    """

    name: str
    units: str | None

    @property
    def varying(self) -> "frozenset[Varying]":
        """A set with this parameter only."""
        return frozenset({self})

    def __call__(self, parameters: Mapping[str, ArrayLike]) -> Any:
        """Return the parameter of the galaxy."""
        return parameters[self.name]


@dataclass(frozen=True)
class Computed:
    """A value computed from other parameters.

    Attributes:
        function (Callable): A function of keyword arguments.
        arguments (tuple): The arguments, pairs of a name and a `Value`.
    """

    function: Callable[..., Any]
    arguments: tuple[tuple[str, Value], ...]

    @property
    def varying(self) -> "frozenset[Varying]":
        """The varying parameters among the arguments."""
        return frozenset().union(*(v.varying for _, v in self.arguments))

    def __call__(self, parameters: Mapping[str, ArrayLike]) -> Any:
        """Return the result of the function for one galaxy."""
        return self.function(**{k: v(parameters) for k, v in self.arguments})


def of_one_galaxy(name: str, value: Any, is_array: bool = False) -> Any:
    """Return the plain value of a parameter of one galaxy, as floats.

    Args:
        name (str): The name of the parameter, for messages.
        value (Any): The value. Values traced by JAX have been converted by it.
        is_array (bool): Whether it has several values for one galaxy.

    Raises:
        InconsistentArguments: If it is not a number, or several numbers.
    """
    if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)):
        shape = np.shape(value)
    else:
        try:
            numbers = np.asarray(value)
            if numbers.dtype.kind not in "fiubO" or value is None:
                raise TypeError
            # JAX's integers could not hold the mass of a galaxy.
            if numbers.dtype.kind != "f":
                value = np.asarray(value, np.float64)[()]
        except (TypeError, ValueError, OverflowError) as error:
            raise InconsistentArguments(
                f"'{name}' must be a number, got {value!r}."
            ) from error
        shape = numbers.shape
    if is_array or shape == ():
        return value
    if int(np.prod(shape)) != 1:
        raise InconsistentArguments(
            f"'{name}' must be one number for one galaxy, got the shape "
            f"{shape}. Use jax.vmap for many galaxies, or in_batches for "
            "those of a GalaxyModel."
        )
    return jnp.reshape(jnp.asarray(value, float), ())
