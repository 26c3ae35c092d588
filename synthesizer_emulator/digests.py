"""Digests of Python objects, the same in every process and on every machine.

The digest of the inputs identifies interrupted work, and work shared by
several processes. Numbers are rounded to six digits, because machines differ
in the last bits of a logarithm. A function is hashed by its code and the
objects that it refers to; in an installed package a function is hashed by its
name and code, and a class by its name. The caller adds the versions of the
packages.
"""

import functools
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from unyt import unyt_array

# The leading bits of a double that are hashed: the sign, the exponent and 20
# bits of the fraction, a relative precision of 1e-6. Two sums that differ in
# their last bits are rounded to different values once in 1e9 times.
_KEPT_BITS = 32

# The number of values rounded at a time: they stay in a processor's cache.
_BLOCK = 2**15

# The number of means in a sketch.
_MEANS = 16

# Digests of objects by id, with the objects, so that no id is reused.
_Known = dict[int, tuple[str, Any]]

_PLAIN = (bool, int, complex, str, bytes, type(None))

# Attributes of classes that do not affect their behaviour.
_OF_EVERY_CLASS = (
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__static_attributes__",
    "__weakref__",
)

# The folders of Python and its packages.
_INSTALLED = tuple(
    sysconfig.get_path(name)
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def digest(*objects: Any) -> str:
    """Return a digest of objects.

    Args:
        *objects (Any): Numbers, strings and arrays (with or without units),
            collections and dataclasses of these, functions, classes and
            other objects.

    Returns:
        str: 64 hexadecimal digits, the same in every process, on every
            machine, and for numbers that agree to six digits. They depend
            on the order of sequences, but not of mappings and sets.

    Examples:
        >>> digest(1.0, [2, 3]) == digest(1.0 + 1e-15, [2, 3])
        True
        >>> digest(lambda x: x + 1) == digest(lambda x: x + 2)
        False
    """
    return _digest(objects, {})


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a value in JSON, in hex; keys are not sorted."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def sketch(values: NDArray) -> list[str]:
    """Summarise an array that is reproducible only to about 1e-6.

    The output of a network in single precision differs by that much between
    machines. Fourth roots make the summary sensitive to faint values.

    Args:
        values (np.ndarray of float): The array, of any shape.

    Returns:
        list of str: The shape, and 16 means of the fourth roots to five
            digits, each over every 16th value.
    """
    roots = np.abs(np.asarray(values, np.float64).reshape(-1)) ** 0.25
    means = [roots[i::_MEANS].mean() for i in range(min(_MEANS, len(roots)))]
    return [str(values.shape), *(f"{mean:.4e}" for mean in means)]


def rounded(values: NDArray) -> Iterator[bytes]:
    """Yield the bytes of an array, rounded to six digits, block by block."""
    flat = np.ascontiguousarray(values).reshape(-1)
    half = np.uint64(1 << (_KEPT_BITS - 1))
    for start in range(0, len(flat), _BLOCK):
        # Adding zero makes a negative zero positive.
        block = flat[start : start + _BLOCK].astype(np.float64, copy=False)
        block = block + 0.0
        bits = block.view(np.uint64)
        finite = np.isfinite(block)
        bits += half if finite.all() else np.where(finite, half, np.uint64(0))
        yield (bits >> np.uint64(_KEPT_BITS)).astype("<u4").tobytes()


def _digest(obj: Any, known: _Known) -> str:
    """Return the digest of one object; see `_pieces`."""
    hashed = hashlib.sha256()
    for piece in _pieces(obj, known):
        hashed.update(piece)
    return hashed.hexdigest()


def _pieces(obj: Any, known: _Known) -> Iterator[bytes]:
    """Yield the bytes of an object for its hash.

    `known` holds the digests of the objects already hashed.
    """
    if isinstance(obj, unyt_array):
        yield f"units {obj.units} ".encode()
        yield from _numbers(np.asarray(obj), known)
    elif isinstance(obj, float | np.ndarray | np.generic | jax.Array):
        yield from _numbers(np.asarray(obj), known)
    elif isinstance(obj, _PLAIN):
        yield f"{type(obj).__name__} {obj!r} ".encode()
    elif isinstance(obj, Mapping):
        pairs = sorted(_digest(pair, known) for pair in obj.items())
        yield f"mapping {pairs} ".encode()
    elif isinstance(obj, Set):
        items = sorted(_digest(item, known) for item in obj)
        yield f"set {items} ".encode()
    elif isinstance(obj, Sequence):
        yield f"sequence {len(obj)} ".encode()
        for item in obj:
            yield from _pieces(item, known)
    else:
        if id(obj) not in known:
            # A placeholder, for recursive functions.
            known[id(obj)] = "itself", obj
            parts = [_digest(part, known) for part in _parts_of(obj)]
            whole = _digest([_name(type(obj)), *parts], known)
            known[id(obj)] = whole, obj
        yield known[id(obj)][0].encode()


def _numbers(values: NDArray, known: _Known) -> Iterator[bytes]:
    """Yield the bytes of an array for its hash."""
    kind = values.dtype.kind
    yield f"array {kind} {values.shape} ".encode()
    if kind == "f":
        yield from rounded(values)
    elif kind in "biu":
        yield values.astype("<i8").tobytes()
    else:
        yield from _pieces(values.reshape(-1).tolist(), known)


def _parts_of(obj: Any) -> Sequence[Any]:
    """Return the attributes that determine the behaviour of an object."""
    if isinstance(obj, FunctionType):
        return _of_function(obj)
    if isinstance(obj, MethodType):
        return obj.__func__, obj.__self__
    if isinstance(obj, CodeType):
        return obj.co_code, obj.co_names, obj.co_consts
    if isinstance(obj, CellType):
        return _contents(obj)
    if isinstance(obj, functools.partial):
        return obj.func, obj.args, obj.keywords
    if isinstance(obj, type):
        return _of_class(obj)
    if isinstance(obj, property):
        return (obj.fget,)
    if isinstance(obj, BuiltinFunctionType | np.ufunc | ModuleType):
        return (_name(obj),)
    if hasattr(obj, "__wrapped__"):
        # A function with a cache, or compiled by JAX.
        return (obj.__wrapped__,)
    if is_dataclass(obj):
        return [getattr(obj, f.name) for f in fields(obj)]
    if _is_installed(type(obj)) and " at 0x" not in repr(obj):
        # The attributes may include caches, which change.
        return (repr(obj),)
    return type(obj), getattr(obj, "__dict__", {})


def _of_function(function: FunctionType) -> Sequence[Any]:
    """Return the objects that determine the results of a function."""
    code = function.__code__
    if _is_installed(function):
        return _name(function), code
    names = set(_names_in(code))
    known = {
        name: value
        for name, value in function.__globals__.items()
        if name in names
    }
    for name, value in known.items():
        if isinstance(value, ModuleType) and not _is_installed(value):
            # Include only the names used from a user's module.
            known[name] = {k: v for k, v in vars(value).items() if k in names}
    return (
        code,
        function.__defaults__,
        function.__kwdefaults__,
        function.__closure__,
        known,
    )


def _of_class(cls: type) -> Sequence[Any]:
    """Return the objects that determine the behaviour of a class."""
    if _is_installed(cls):
        return (_name(cls),)
    members = {
        name: value
        for name, value in vars(cls).items()
        if name not in _OF_EVERY_CLASS
    }
    return _name(cls), cls.__bases__, members


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the names used in code and in the code nested in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _contents(cell: CellType) -> Sequence[Any]:
    """Return the contents of a closure cell, if its variable is assigned."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _name(obj: Any) -> str:
    """Return the full name of a class, a function or a module."""
    name = getattr(obj, "__qualname__", None) or obj.__name__
    return f"{getattr(obj, '__module__', '')}.{name}"


def _is_installed(obj: Any) -> bool:
    """Whether a module, or the module of an object, is installed."""
    home = str(getattr(obj, "__module__", ""))
    module = obj if isinstance(obj, ModuleType) else sys.modules.get(home)
    name = getattr(module, "__name__", "__main__")
    path = getattr(module, "__file__", None)
    if name == "__main__":
        return False
    is_ours = name.partition(".")[0] == __name__.partition(".")[0]
    return is_ours or path is None or path.startswith(_INSTALLED)
