"""Protection against deadlocks in processes forked after JAX has run.

JAX computes in threads, which do not survive a fork, so calls of JAX in the
forked process would never return. Lazy arrays are therefore evaluated before
a fork, and functions that use JAX call `check_not_forked`, which raises an
error after it.
"""

import os
import sys
from typing import Any, Protocol
from weakref import WeakValueDictionary

from synthesizer.exceptions import UnimplementedFunctionality


class Settling(Protocol):
    """An object with lazy arrays."""

    def settle(self) -> None:
        """Evaluate all arrays that need JAX."""


# By id, as mappings are not hashable.
_lazy_objects: WeakValueDictionary[int, Any] = WeakValueDictionary()

# Whether JAX had run at the last fork from this process, and before the fork
# that started it.
_state = {"had run": False, "forked": False}


def settle_before_forks(lazy: Settling) -> None:
    """Register an object whose lazy arrays are evaluated before a fork.

    They are evaluated only if JAX has run before the fork. The object is
    stored as a weak reference.
    """
    _lazy_objects[id(lazy)] = lazy


def check_not_forked() -> None:
    """Raise in a forked process in which calls of JAX would never return.

    Raises:
        UnimplementedFunctionality: If JAX had run before this process was
            forked.
    """
    if _state["forked"]:
        raise UnimplementedFunctionality(
            "JAX must not run before this process is forked, as it never "
            "returns afterwards. Start the processes with "
            "multiprocessing.get_context('spawn') (or 'forkserver'), or fork "
            "before JAX is used, or evaluate the arrays of a grid that the "
            "processes need, e.g. grid.spectra['incident'], in the parent."
        )


def _jax_has_run() -> bool:
    """Return whether JAX has initialised its backends in this process."""
    # JAX has no public function for this that does not initialise them.
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bool(bridge.backends_are_initialized())


def _before_fork() -> None:
    """Evaluate lazy arrays if JAX has run."""
    _state["had run"] = _jax_has_run()
    if _state["had run"] and not _state["forked"]:
        for lazy in list(_lazy_objects.values()):
            lazy.settle()


def _after_fork() -> None:
    """Record in the forked process that JAX can't be used."""
    # Do not query JAX: another thread may have held its lock at the fork.
    _state["forked"] = _state["forked"] or _state["had run"]


# Absent on systems without fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
