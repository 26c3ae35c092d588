"""The packages of samplers, which are optional."""

from importlib import import_module
from typing import Any

from synthesizer.exceptions import UnmetDependency


def import_for(sampler: str, package: str) -> Any:
    """Import a package of a sampler.

    Raises:
        UnmetDependency: If it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UnmetDependency(
            f"The sampler '{sampler}' needs {package}: install it with pip "
            "install 'synthesizer-emulator[inference]'."
        ) from error
