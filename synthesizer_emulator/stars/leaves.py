"""The arrays of a network by name, for its file."""

from collections.abc import Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path
from numpy.typing import NDArray

T = TypeVar("T")


def named_arrays(tree: object) -> dict[str, NDArray]:
    """Return the arrays of a pytree by their paths in it."""
    leaves = tree_leaves_with_path(tree)
    return {
        keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }


def filled(tree: T, tensors: Mapping[str, NDArray]) -> T:
    """Return a pytree of arrays with stored ones in place of its own.

    Raises:
        ValueError: If an array is missing or of another shape.
    """
    own = named_arrays(tree)
    if own.keys() != tensors.keys():
        raise ValueError("its tensors are not those of its settings")
    for name, array in own.items():
        if tensors[name].shape != array.shape:
            raise ValueError(
                f"the tensor '{name}' must have shape {array.shape}, got "
                f"{tensors[name].shape}"
            )
    stored = [jnp.asarray(tensors[k], v.dtype) for k, v in own.items()]
    return jax.tree.unflatten(jax.tree.structure(tree), stored)
