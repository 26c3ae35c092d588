"""Processes that were forked from one in which JAX had run.

JAX computes in threads, which a forked process does not have: what it asks of
JAX never ends. So what may be needed is evaluated before the fork, and what
is asked for after it is refused. Whoever evaluates by JAX needs this module.
"""

import os
import sys
from typing import Any, Protocol
from weakref import WeakValueDictionary

from synthesizer.exceptions import UnimplementedFunctionality


class Settling(Protocol):
    """Something that evaluates lazily."""

    def settle(self) -> None:
        """Evaluate what a forked process could not."""


# By their id, as mappings can't be hashed.
_alive: WeakValueDictionary[int, Any] = WeakValueDictionary()

# Whether JAX had run when this process forked last, and before it was forked.
_state = {"had run": False, "forked": False}


def settle_before_forks(lazy: Settling) -> None:
    """Have something settle before this process forks, if JAX has run.

    Args:
        lazy (Settling): What evaluates lazily; it is not kept alive.
    """
    _alive[id(lazy)] = lazy


def check_not_forked() -> None:
    """Refuse to ask JAX in a process in which it would never answer.

    Raises:
        UnimplementedFunctionality: Says what can be done.
    """
    if _state["forked"]:
        raise UnimplementedFunctionality(
            "JAX had run before this process was forked, so that it would "
            "wait here for ever. Start the processes with "
            "multiprocessing.get_context('spawn') (or 'forkserver'), or fork "
            "before anything asks JAX, or evaluate in the parent what the "
            "processes need: a grid's arrays, as grid.spectra['incident']."
        )


def _jax_has_run() -> bool:
    """Return whether JAX has computed in this process, or could have."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bool(bridge.backends_are_initialized())


def _before_fork() -> None:
    """Evaluate what the forked process could not."""
    _state["had run"] = _jax_has_run()
    if _state["had run"] and not _state["forked"]:
        for lazy in list(_alive.values()):
            lazy.settle()


def _after_fork() -> None:
    """Note in the forked process that JAX can't be asked."""
    # Not asked again: another thread may have held the lock that it takes.
    _state["forked"] = _state["forked"] or _state["had run"]


# Where processes can fork at all.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
