"""Protection against deadlocks in processes forked after JAX has run.

JAX computes in threads, which do not survive a fork, so a forked process
that calls JAX waits for ever. Lazy arrays are therefore evaluated before a
fork, and calls of JAX after it are refused. Functions that evaluate with JAX
call `check_not_forked`.
"""

import os
import sys
from typing import Any, Protocol
from weakref import WeakValueDictionary

from synthesizer.exceptions import UnimplementedFunctionality


class Settling(Protocol):
    """An object that evaluates lazily."""

    def settle(self) -> None:
        """Evaluate everything that needs JAX."""


# By id, as mappings are not hashable.
_lazy_objects: WeakValueDictionary[int, Any] = WeakValueDictionary()

# Whether JAX had run at the last fork from this process, and before the fork
# that started it.
_state = {"had run": False, "forked": False}


def settle_before_forks(lazy: Settling) -> None:
    """Register an object to settle before this process forks.

    It settles only if JAX has run by then.

    Args:
        lazy (Settling): The object; only a weak reference is kept.
    """
    _lazy_objects[id(lazy)] = lazy


def check_not_forked() -> None:
    """Refuse calls of JAX in a process in which they would never return.

    Raises:
        UnimplementedFunctionality: If JAX had run before this process was
            forked.
    """
    if _state["forked"]:
        raise UnimplementedFunctionality(
            "JAX had run before this process was forked, so it would wait "
            "here for ever. Start the processes with "
            "multiprocessing.get_context('spawn') (or 'forkserver'), or fork "
            "before anything uses JAX, or evaluate what the processes need "
            "in the parent: a grid's arrays, as grid.spectra['incident']."
        )


def _jax_has_run() -> bool:
    """Return whether JAX has initialised its backends in this process."""
    # No public function answers this without initialising them.
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bool(bridge.backends_are_initialized())


def _before_fork() -> None:
    """Settle lazy objects if JAX has run."""
    _state["had run"] = _jax_has_run()
    if _state["had run"] and not _state["forked"]:
        for lazy in list(_lazy_objects.values()):
            lazy.settle()


def _after_fork() -> None:
    """Note in the forked process that JAX can't be used."""
    # JAX is not queried here: another thread may have held its lock.
    _state["forked"] = _state["forked"] or _state["had run"]


# Absent on systems without fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
