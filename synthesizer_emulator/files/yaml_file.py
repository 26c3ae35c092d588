"""Read YAML files of plain mappings, lists, strings and numbers.

The size of a file, its depth and the expansion of its aliases are limited.
Tags, which stand for Python types, are rejected.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import yaml
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.validation import INPUT_ERRORS

# The limits on bytes, values and levels, far beyond any library or study.
_BYTES = 2**18
_VALUES = 20_000
_DEPTH = 30

# Longer integers are read as floats, whose range is finite.
_LONGEST_INTEGER = 18

# Longer messages, which quote the file, are shortened in the middle.
_LONGEST_MESSAGE = 2000

_TAG = "tag:yaml.org,2002:"
_KEPT = {_TAG + name for name in ("bool", "null", "merge")}
_NUMBER = _TAG + "float"


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Numbers are written as in Python: `1e8` is a number, although YAML 1.1
    reads it as a string, and `010` is ten. All keys are strings.

    Args:
        path (Path): The file.

    Returns:
        Any: Dictionaries, lists, strings, numbers, booleans, or None.

    Raises:
        OSError: If the file can't be read.
        InconsistentArguments: If it is not YAML in UTF-8, or contains tags or
            exceeds a limit; with the line and the remedy.
    """
    text = _read_text(path)
    try:
        # `_Loader` is a safe loader.
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InconsistentArguments(
            f"'{path}' is not valid YAML: {_explained(error)}."
        ) from error


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Add the path of a file to the messages of errors in its contents."""
    try:
        yield
    except INPUT_ERRORS as error:
        message = str(error).strip()
        if len(message) > _LONGEST_MESSAGE:
            half = _LONGEST_MESSAGE // 2
            message = f"{message[:half]} ... {message[-half:]}"
        if str(path) not in message:
            message = f"'{path}': {message}"
        raise type(error)(message) from error


def _read_text(path: Path) -> str:
    """Return the text of a file; raise if it is too large."""
    if not path.exists():
        raise FileNotFoundError(
            f"'{path}' does not exist: give the path of a YAML file."
        )
    if not path.is_file():
        raise InconsistentArguments(
            f"'{path}' is not a file: give the path of a YAML file."
        )
    with path.open("rb") as stream:
        contents = stream.read(_BYTES + 1)
    if len(contents) > _BYTES:
        raise InconsistentArguments(
            f"'{path}' is larger than {_BYTES // 1024} kB, the limit for YAML "
            "files: give a smaller file."
        )
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InconsistentArguments(
            f"'{path}' is not text in UTF-8 (see byte {error.start}): save it "
            "as UTF-8, or give another file."
        ) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with limits and for plain values only.

    A loader for YAML 1.2, such as ruamel.yaml's, would need the same limits
    and the same check of tags, and reads `yes` as a string and `0x1f` as 31.
    """

    # Exclude the dates and the octal and sexagesimal numbers of YAML 1.1.
    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in known if tag in _KEPT]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        # The number of values in each node, with aliases expanded.
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; raise if it exceeds a limit."""
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise _error(
                event, f"write a plain value, without the tag '{event.tag}'"
            )
        before = self._values
        self._depth += 1
        if self._depth > _DEPTH:
            raise _error(event, f"the file has more than {_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _error(
                    event, f"'*{event.anchor}' refers to a value around it"
                )
            self._values += self._sizes[node]
        else:
            _check_keys(node)
            self._values += 1
            self._sizes[node] = self._values - before
        if self._values > _VALUES:
            raise _error(
                event,
                f"the file has more than {_VALUES} values, with its aliases "
                "expanded",
            )
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return a mapping with strings as keys."""
        self.flatten_mapping(node)
        return {
            key.value: self.construct_object(value, deep=deep)
            for key, value in node.value
        }

    def construct_number(self, node: Any) -> int | float:
        """Return a number, an integer without a decimal point or exponent."""
        text = node.value
        if text.strip("+-0123456789_"):
            # YAML writes .inf and .nan.
            return float(re.sub(r"\.(?=[a-z])", "", text.lower()))
        return int(text) if len(text) <= _LONGEST_INTEGER else float(text)


_Loader.add_implicit_resolver(
    _NUMBER,
    re.compile(
        r"[-+]?([0-9]+(_[0-9]+)*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\Z"
        r"|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
    ),
    list("-+.0123456789"),
)
_Loader.add_constructor(_NUMBER, _Loader.construct_number)


def _check_keys(node: yaml.Node) -> None:
    """Raise if a mapping has a repeated key, or a key that is not a scalar."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error(key, "a key must be a string or a number")
        if key.value in seen:
            raise _error(key, f"'{key.value}' appears twice; keep one")
        seen.add(key.value)


def _error(node: Any, problem: str) -> yaml.MarkedYAMLError:
    """Return an error with the position of a node or an event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _explained(error: yaml.YAMLError) -> str:
    """Return the problem and its line number, as one line of text."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}: " if mark else ""
    return f"{line}{error.problem or error.context}"
