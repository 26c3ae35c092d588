"""Digests of Python objects, the same in every process and on every machine.

Interrupted work, or work shared by several processes, is recognised by the
digest of its inputs. Machines differ in the last bits of a logarithm, so
numbers count to six digits. Functions count by their code and by the objects
that they refer to. Functions and classes of installed packages count by name
only; the caller adds the versions of the packages.
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

# The leading bits of a double that count: the sign, the exponent and 20 bits
# of the fraction, a relative precision of 1e-6. Two sums that differ in their
# last bits are rounded differently once in 1e9 times.
_KEPT_BITS = 32

# The number of values that are rounded at a time.
_BLOCK = 2**20

# The number of means in a sketch.
_MEANS = 16

# Digests of objects by their id, with the objects, which must not be freed.
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


def digest(*things: Any) -> str:
    """Return a digest of objects.

    Args:
        *things (Any): Numbers, texts and arrays (with units or without),
            collections and dataclasses of them, functions, classes and
            other objects.

    Returns:
        str: 64 hexadecimal digits, the same in every process and on every
            machine, and for numbers that agree to six digits. The order
            counts in sequences, but not in mappings and sets.

    Examples:
        >>> digest(1.0, [2, 3]) == digest(1.0 + 1e-15, [2, 3])
        True
        >>> digest(lambda x: x + 1) == digest(lambda x: x + 2)
        False
    """
    return _digest(things, {})


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a value in JSON, in hex; order counts."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def sketch(values: NDArray) -> list[str]:
    """Summarise an array that is reproducible to about 1e-6 only.

    The output of a network in single precision differs by that much between
    machines. Fourth roots let faint values count.

    Args:
        values (np.ndarray of float): The array, of any shape.

    Returns:
        list of str: The shape, and the means of the fourth roots of every
            16th value, to five digits.
    """
    roots = np.abs(np.asarray(values, np.float64).reshape(-1)) ** 0.25
    means = [roots[i::_MEANS].mean() for i in range(min(_MEANS, len(roots)))]
    return [str(values.shape), *(f"{mean:.4e}" for mean in means)]


def rounded(values: NDArray) -> Iterator[bytes]:
    """Yield the bytes of an array rounded to six digits, block by block.

    Args:
        values (np.ndarray of float): The array, of any shape.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    half = np.uint64(1 << (_KEPT_BITS - 1))
    for start in range(0, len(flat), _BLOCK):
        # Adding zero makes a negative zero positive.
        block = flat[start : start + _BLOCK].astype(np.float64) + 0.0
        bits = block.view(np.uint64)
        finite = np.isfinite(block)
        bits += np.where(finite, half, np.uint64(0))
        yield (bits >> np.uint64(_KEPT_BITS)).astype("<u4").tobytes()


def _digest(thing: Any, known: _Known) -> str:
    """Return the digest of one object; see `_pieces`."""
    hashed = hashlib.sha256()
    for piece in _pieces(thing, known):
        hashed.update(piece)
    return hashed.hexdigest()


def _pieces(thing: Any, known: _Known) -> Iterator[bytes]:
    """Yield the bytes that an object is hashed by.

    Args:
        thing (Any): The object.
        known (dict): The digests of objects met before.
    """
    if isinstance(thing, unyt_array):
        yield f"units {thing.units} ".encode()
        yield from _numbers(np.asarray(thing), known)
    elif isinstance(thing, float | np.ndarray | np.generic | jax.Array):
        yield from _numbers(np.asarray(thing), known)
    elif isinstance(thing, _PLAIN):
        yield f"{type(thing).__name__} {thing!r} ".encode()
    elif isinstance(thing, Mapping):
        pairs = sorted(_digest(pair, known) for pair in thing.items())
        yield f"mapping {pairs} ".encode()
    elif isinstance(thing, Set):
        items = sorted(_digest(item, known) for item in thing)
        yield f"set {items} ".encode()
    elif isinstance(thing, Sequence):
        yield f"sequence {len(thing)} ".encode()
        for item in thing:
            yield from _pieces(item, known)
    else:
        if id(thing) not in known:
            # A placeholder, for functions that call themselves.
            known[id(thing)] = "itself", thing
            parts = [_digest(part, known) for part in _parts_of(thing)]
            whole = _digest([_name(type(thing)), *parts], known)
            known[id(thing)] = whole, thing
        yield known[id(thing)][0].encode()


def _numbers(values: NDArray, known: _Known) -> Iterator[bytes]:
    """Yield the bytes that an array is hashed by."""
    kind = values.dtype.kind
    yield f"array {kind} {values.shape} ".encode()
    if kind == "f":
        yield from rounded(values)
    elif kind in "biu":
        yield values.astype("<i8").tobytes()
    else:
        yield from _pieces(values.reshape(-1).tolist(), known)


def _parts_of(thing: Any) -> Sequence[Any]:
    """Return what an object is hashed by, if no number or collection."""
    if isinstance(thing, FunctionType):
        return _of_function(thing)
    if isinstance(thing, MethodType):
        return thing.__func__, thing.__self__
    if isinstance(thing, CodeType):
        return thing.co_code, thing.co_names, thing.co_consts
    if isinstance(thing, CellType):
        # Empty until its variable is assigned.
        return _contents(thing)
    if isinstance(thing, functools.partial):
        return thing.func, thing.args, thing.keywords
    if isinstance(thing, type):
        return _of_class(thing)
    if isinstance(thing, property):
        return (thing.fget,)
    if isinstance(thing, BuiltinFunctionType | np.ufunc | ModuleType):
        return (_name(thing),)
    if hasattr(thing, "__wrapped__"):
        # A function compiled by JAX, or with a cache.
        return (thing.__wrapped__,)
    if is_dataclass(thing):
        return [getattr(thing, f.name) for f in fields(thing)]
    if _is_installed(type(thing)) and " at 0x" not in repr(thing):
        # Objects of other packages may hold caches, which change.
        return (repr(thing),)
    return type(thing), getattr(thing, "__dict__", {})


def _of_function(function: FunctionType) -> Sequence[Any]:
    """Return what determines the results of a function."""
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
            # Of a user's module, only the names that are used.
            known[name] = {k: v for k, v in vars(value).items() if k in names}
    return (
        code,
        function.__defaults__,
        function.__kwdefaults__,
        function.__closure__,
        known,
    )


def _of_class(cls: type) -> Sequence[Any]:
    """Return what determines the behaviour of a class."""
    if _is_installed(cls):
        return (_name(cls),)
    members = {
        name: value
        for name, value in vars(cls).items()
        if name not in _OF_EVERY_CLASS
    }
    return _name(cls), cls.__bases__, members


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the names that code, and code nested in it, refers to."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _contents(cell: CellType) -> Sequence[Any]:
    """Return the contents of a cell of a closure, if any."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _name(thing: Any) -> str:
    """Return the full name of a class, a function or a module."""
    name = getattr(thing, "__qualname__", None) or thing.__name__
    return f"{getattr(thing, '__module__', '')}.{name}"


def _is_installed(thing: Any) -> bool:
    """Whether a module, or the module of an object, is installed."""
    home = str(getattr(thing, "__module__", ""))
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(home)
    name = getattr(module, "__name__", "__main__")
    path = getattr(module, "__file__", None)
    if name == "__main__":
        return False
    is_ours = name.partition(".")[0] == __name__.partition(".")[0]
    return is_ours or path is None or path.startswith(_INSTALLED)
