"""The examples of the documentation run alone, or say what they continue."""

import builtins
import re
import symtable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONTINUES = re.compile(
    r"# continues (the block above|the blocks above|all blocks above|"
    r"your script, \w+)"
)


def plain(block):
    """Return the source of a block, without prompts and results."""
    if ">>>" not in block:
        return block
    lines = block.split("\n")
    return "\n".join(x[4:] for x in lines if x.startswith((">>>", "...")))


def undefined(source):
    """Return the names that a source uses and does not define."""
    module = symtable.symtable(source, "block", "exec")
    defined, used = set(dir(builtins)), set()
    for symbol in module.get_symbols():
        if symbol.is_assigned() or symbol.is_imported():
            defined.add(symbol.get_name())
    tables = [module]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced()
            and (table is module or symbol.is_global())
        }
    return used - defined


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run_alone_or_say_what_they_continue(page):
    before, chain = "", ""
    for found in BLOCK.finditer(page.read_text("utf-8")):
        source = plain(found[1])
        continued = CONTINUES.match(source.lstrip())
        if continued is None:
            assert "continues" not in source.split("\n")[0]
            chain = source
        elif continued[1].startswith("your script"):
            continue
        elif continued[1].startswith("all"):
            chain = f"{before}\n{source}"
        else:
            assert chain
            chain = f"{chain}\n{source}"
        assert not undefined(chain), (page.name, source)
        before = f"{before}\n{source}"


def test_undefined_names_are_found():
    assert undefined("f = lambda x: x + y\nprint(f(z))") == {"y", "z"}
    assert undefined("import a.b\ndef f():\n    return a, f\n") == set()
    assert plain(">>> a = (\n...     1)\n>>> a\n1\n") == "a = (\n    1)\na"
