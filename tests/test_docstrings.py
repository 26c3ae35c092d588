"""The examples in docstrings run and give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import synthesizer_emulator


def modules():
    """Yield the modules; those with examples in JAX are slow."""
    for module in pkgutil.walk_packages(
        synthesizer_emulator.__path__, "synthesizer_emulator."
    ):
        source = module.module_finder.find_spec(module.name).loader.get_source(
            module.name
        )
        is_slow = ">>> " in source and "jax" in source
        yield pytest.param(
            module.name, marks=pytest.mark.slow if is_slow else ()
        )


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    if "synference" in name.split("."):
        pytest.importorskip(
            "synthesizer_emulator.library.synference", exc_type=ImportError
        )
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_examples():
    """Lest the test above passes for want of any."""
    grid = importlib.import_module("synthesizer_emulator.grid.emulated_grid")
    assert doctest.DocTestFinder().find(grid.EmulatedGrid)[0].examples


def test_public_names_are_there():
    for name in synthesizer_emulator.__all__:
        assert getattr(synthesizer_emulator, name).__doc__ is not None
    with pytest.raises(AttributeError, match="attribute nosuch"):
        _ = synthesizer_emulator.nosuch
