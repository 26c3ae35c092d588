"""Arithmetic on the columns of a table, from text that is never executed.

An expression is parsed into a tree, and each node of the tree is checked
against a short list before it is computed with NumPy. There are no attributes,
subscripts, calls of unlisted functions, or names other than columns.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.validation import nearest

# Limits well beyond any expression for a label.
_LONGEST = 500
_DEEPEST = 60

# Names that are not Python's, such as `{[Fe/H]}`.
_BRACED = re.compile(r"\{([^{}]+)\}")
_BRACKETED = re.compile(r"\[[A-Za-z][^\[\]{}\s]*\]")
_STANDIN = "column_in_braces_"

FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int]] = {
    "abs": (np.abs, 1),
    "exp": (np.exp, 1),
    "isfinite": (np.isfinite, 1),
    "log": (np.log, 1),
    "log10": (np.log10, 1),
    "max": (np.maximum, 2),
    "min": (np.minimum, 2),
    "sqrt": (np.sqrt, 1),
}

_ARITHMETIC: Mapping[type, Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.Pow: np.float_power,
}

_LOGIC: Mapping[type, Callable[..., Any]] = {
    ast.And: np.logical_and,
    ast.Or: np.logical_or,
}

_SIGNS: Mapping[type, Callable[..., Any]] = {
    ast.UAdd: np.positive,
    ast.USub: np.negative,
}

_ORDER: Mapping[type, Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}

_EQUALITY: Mapping[type, Callable[..., Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}

# The kinds of values: numbers, truth values and text.
_NUMBER, _TRUTH, _TEXT = "a number", "a condition", "text"


@dataclass(frozen=True)
class Expression:
    """An expression of the columns of a table.

    Numbers, columns, `+ - * / **`, `< <= > >= == !=`, `and or not`, brackets
    and `FUNCTIONS`. A column whose name is not a name of Python stands in
    braces, and text, for comparisons, in quotes.

    Attributes:
        text (str): The expression.
        tree (ast.expr): Its tree.
        braced (tuple of str): The columns in braces.

    Examples:
        >>> import numpy as np
        >>> columns = {"logage": np.array([6.0, 9.0]), "[Fe/H]": np.zeros(2)}
        >>> expression = Expression.parse("10 ** logage * (1 + {[Fe/H]})")
        >>> expression.numbers(columns)
        array([1.e+06, 1.e+09])
        >>> Expression.parse("logage > 7 and logage < 12").mask(columns)
        array([False,  True])
    """

    text: str
    tree: ast.expr
    braced: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an expression.

        Raises:
            InconsistentArguments: If it can't be parsed, or has what is not
                allowed.
        """
        if len(text) > _LONGEST:
            raise _invalid(text, f"it has more than {_LONGEST} characters")
        if _STANDIN in text:
            raise _invalid(text, f"'{_STANDIN}' is not allowed")
        braced: list[str] = []

        def name(match: re.Match[str]) -> str:
            braced.append(match[1].strip())
            return f"{_STANDIN}{len(braced) - 1}"

        try:
            spelled = _BRACED.sub(name, text).strip()
            tree = ast.parse(spelled, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _invalid(
                text, "it can't be parsed", _braces_for(text)
            ) from error
        expression = cls(text, tree, tuple(braced))
        expression._check(tree, 0)
        return expression

    def numbers(self, columns: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Return the value in each row, (m,); NaN where undefined.

        Args:
            columns (Mapping): The columns, (m,), of numbers or text.

        Raises:
            InconsistentArguments: If a column is missing, or the value is not
                a number.
        """
        return np.asarray(self._evaluated(columns, _NUMBER), np.float64)

    def mask(self, columns: Mapping[str, NDArray]) -> NDArray[np.bool_]:
        """Return whether the condition holds in each row, (m,).

        The arguments are those of `numbers`.

        Raises:
            InconsistentArguments: If a column is missing, or the value is not
                a condition.
        """
        return np.asarray(self._evaluated(columns, _TRUTH), bool)

    def _evaluated(
        self, columns: Mapping[str, NDArray], wanted: str
    ) -> NDArray:
        """Return the values, of the kind that is wanted."""
        with np.errstate(all="ignore"):
            values, kind = self._value(self.tree, columns)
        if kind != wanted:
            raise _invalid(self.text, f"it is {kind}, not {wanted}")
        rows = len(next(iter(columns.values()))) if columns else 0
        return np.broadcast_to(values, (rows,))

    def _check(self, node: ast.expr, depth: int) -> None:
        """Raise unless a tree has only what is allowed."""
        if depth > _DEEPEST:
            raise _invalid(self.text, "it is nested too deeply")
        parts: list[ast.expr]
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            parts = [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and (
            type(node.op) in _SIGNS or isinstance(node.op, ast.Not)
        ):
            parts = [node.operand]
        elif isinstance(node, ast.BoolOp):
            parts = node.values
        elif isinstance(node, ast.Compare) and all(
            type(op) in (*_ORDER, *_EQUALITY) for op in node.ops
        ):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call):
            parts = self._check_call(node)
        elif isinstance(node, ast.Name) or (
            isinstance(node, ast.Constant)
            and type(node.value) in (int, float, str)
        ):
            parts = []
        else:
            raise _invalid(
                self.text,
                f"'{ast.unparse(node)[:40]}' is not allowed",
                _braces_for(self.text),
            )
        for part in parts:
            self._check(part, depth + 1)

    def _check_call(self, node: ast.Call) -> list[ast.expr]:
        """Return the arguments of a call of a known function."""
        name = node.func.id if isinstance(node.func, ast.Name) else "?"
        if name not in FUNCTIONS or node.keywords:
            raise _invalid(
                self.text,
                f"'{ast.unparse(node.func)[:40]}' is not one of the functions "
                f"{', '.join(FUNCTIONS)}",
            )
        _, count = FUNCTIONS[name]
        if len(node.args) != count:
            raise _invalid(
                self.text, f"{name} takes {count}, got {len(node.args)}"
            )
        return node.args

    def _value(
        self, node: ast.expr, columns: Mapping[str, NDArray]
    ) -> tuple[Any, str]:
        """Return the values of a checked tree, and their kind."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return node.value, _TEXT
            assert isinstance(node.value, int | float)
            return _as_float(node.value), _NUMBER
        if isinstance(node, ast.Name):
            return self._column(node.id, columns)
        if isinstance(node, ast.BinOp):
            function = _ARITHMETIC[type(node.op)]
            return function(
                *self._all(_NUMBER, [node.left, node.right], columns)
            ), _NUMBER
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                (value,) = self._all(_TRUTH, [node.operand], columns)
                return np.logical_not(value), _TRUTH
            (value,) = self._all(_NUMBER, [node.operand], columns)
            return _SIGNS[type(node.op)](value), _NUMBER
        if isinstance(node, ast.BoolOp):
            total, *others = self._all(_TRUTH, node.values, columns)
            for other in others:
                total = _LOGIC[type(node.op)](total, other)
            return total, _TRUTH
        if isinstance(node, ast.Compare):
            return self._comparison(node, columns), _TRUTH
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        function, _ = FUNCTIONS[node.func.id]
        result = function(*self._all(_NUMBER, node.args, columns))
        return result, _TRUTH if function is np.isfinite else _NUMBER

    def _all(
        self, wanted: str, nodes: list[ast.expr], columns: Mapping[str, Any]
    ) -> list[Any]:
        """Return the values of trees, which must be of one kind."""
        found = [self._value(node, columns) for node in nodes]
        for node, (_, kind) in zip(nodes, found, strict=True):
            if kind != wanted:
                raise _invalid(
                    self.text,
                    f"'{ast.unparse(node)[:40]}' is {kind}, not {wanted}",
                )
        return [value for value, _ in found]

    def _comparison(
        self, node: ast.Compare, columns: Mapping[str, NDArray]
    ) -> NDArray:
        """Return the values of a chain of comparisons."""
        total = np.asarray(True)
        sides = [node.left, *node.comparators]
        for left, op, right in zip(
            sides[:-1], node.ops, sides[1:], strict=True
        ):
            text = _TEXT in (
                self._value(left, columns)[1],
                self._value(right, columns)[1],
            )
            if text and type(op) in _ORDER:
                raise _invalid(self.text, "text is only compared by == and !=")
            pair = self._all(
                _TEXT if text else _NUMBER, [left, right], columns
            )
            compare = {**_ORDER, **_EQUALITY}[type(op)]
            total = np.logical_and(total, compare(*pair))
        return total

    def _column(
        self, name: str, columns: Mapping[str, NDArray]
    ) -> tuple[NDArray, str]:
        """Return a column and its kind."""
        if name.startswith(_STANDIN):
            name = self.braced[int(name.removeprefix(_STANDIN))]
        if name not in columns:
            raise _invalid(
                self.text,
                f"there is no column '{name}'; the columns are "
                f"{', '.join(columns)}",
                _braces_for(self.text, columns) or nearest(name, columns),
            )
        column = np.asarray(columns[name])
        return column, _TEXT if column.dtype.kind in "US" else _NUMBER


def _as_float(value: float) -> float:
    """Return a literal number as a float, which an integer may exceed."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _invalid(text: str, why: str, hint: str = "") -> InconsistentArguments:
    """Return the error for an invalid expression.

    Args:
        text (str): The expression.
        why (str): What is wrong, without a full stop.
        hint (str): A remedy: a sentence after a space, or empty.
    """
    short = text if len(text) <= 80 else f"{text[:77]}..."
    return InconsistentArguments(
        f"The expression '{short}' is not valid: {why}.{hint} Use columns, "
        "numbers, + - * / **, comparisons, and, or, not, and "
        f"{', '.join(FUNCTIONS)}."
    )


def _braces_for(text: str, columns: Iterable[str] = ()) -> str:
    """Suggest braces for what looks like the name of a column.

    Args:
        text (str): The expression.
        columns (iterable of str): The columns, if known; otherwise anything
            in square brackets, as in `[Fe/H]`, is taken for one.
    """
    bare = _BRACED.sub(" ", text)
    names = [c for c in columns if not c.isidentifier() and c in bare]
    if not names:
        names = _BRACKETED.findall(bare)[:1]
    if not names:
        return ""
    column = max(names, key=len)
    return f" Put the column in braces: '{{{column}}}'."
