"""Libraries for Synference, made in batches by `EmulatedGalaxyBasis`.

Only this package imports Synference, an optional dependency. Synference 0.1.4
imports ltu-ili, which is not on PyPI and only needed for its training. Where
ltu-ili is missing, this package imports Synference without that part, for
itself and for later imports by others.
"""

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

# The only part of Synference that can't be imported without ltu-ili.
_RUNNER = "synference.custom_runner"


def _import_synference() -> None:
    """Import Synference, without its training if ltu-ili is missing."""
    if "synference" in sys.modules or find_spec("ili") is not None:
        import synference
    else:
        runner: Any = ModuleType(_RUNNER)
        runner.SBICustomRunner = None
        sys.modules[_RUNNER] = runner
        try:
            import synference
        finally:
            del sys.modules[_RUNNER]
        # Importing it must fail, as it does for SBI_Fitter.
        vars(synference).pop("SBICustomRunner", None)


try:
    _import_synference()
except ImportError as error:
    raise ImportError(
        f"EmulatedGalaxyBasis requires Synference: {error}. Install this "
        "package's extra 'synference'."
    ) from error
