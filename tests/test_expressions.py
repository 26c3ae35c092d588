"""Expressions of columns: their values by NumPy, and that nothing runs."""

import numpy as np
import pytest
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.expressions import Expression

A = np.array([1.0, 4.0, -2.0])
B = np.array([0.5, np.nan, 3.0])
COLUMNS = {"a": A, "b": B, "[Fe/H]": A - 1.0, "kind": np.array(list("xyx"))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", A),
        ("2", [2.0, 2.0, 2.0]),
        ("-a**2 + b / 2 * a - +1", -(A**2) + B / 2 * A - 1),
        ("10 ** {[Fe/H]} * 0.0142", 10 ** (A - 1) * 0.0142),
        ("log10(a) + log(abs(a)) + exp(b)", "numpy"),
        ("max(a, b) - min(a, sqrt(b))", "numpy"),
        ("9 ** 9 ** 9", [np.inf] * 3),
        ("a / 0", [np.inf, np.inf, -np.inf]),
    ],
)
def test_numbers(text, expected):
    with np.errstate(all="ignore"):
        numpy = {
            "log10(a) + log(abs(a)) + exp(b)": np.log10(A)
            + np.log(np.abs(A))
            + np.exp(B),
            "max(a, b) - min(a, sqrt(b))": np.maximum(A, B)
            - np.minimum(A, np.sqrt(B)),
        }
    found = Expression.parse(text).numbers(COLUMNS)
    np.testing.assert_allclose(found, numpy.get(text, expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 0", A > 0),
        ("0 < a <= 1 or b >= 3", [True, False, True]),
        ("not isfinite(b) and a != 1", [False, True, False]),
        ("kind == 'x'", [True, False, True]),
        ("kind != 'x' or a == 1", [True, True, False]),
    ],
)
def test_conditions(text, expected):
    found = Expression.parse(text).mask(COLUMNS)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('x')", "is not one of the functions"),
        ("a.real", "'a.real' is not allowed"),
        ("a[0]", "is not allowed"),
        ("[a for a in b]", "is not allowed"),
        ("lambda: 1", "is not allowed"),
        ("a if b else a", "is not allowed"),
        ("a := 1", "can't be parsed"),
        ("a & b", "is not allowed"),
        ("eval(a)", "'eval' is not one of the functions abs, exp"),
        ("log(a, b)", "log takes 1, got 2"),
        ("log(x=a)", "is not one of"),
        ("a +", "can't be parsed"),
        ("1j * a", "is not allowed"),
        ("True", "is not allowed"),
        ("a" * 501, "more than 500 characters"),
        ("-" * 70 + "a", "nested too deeply"),
        ("f'{a}'", "is not allowed"),
        ("column_in_braces_0", "is not allowed"),
    ],
)
def test_nothing_else_is_allowed(text, message):
    with pytest.raises(InconsistentArguments, match=message):
        Expression.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "aa",
            r"no column 'aa'; the columns are a, b.*\w\. Did you mean 'a'\? "
            "Use columns",
        ),
        ("[Fe/H", "can't be parsed. Use"),
        ("2 * [Fe/H]", r"Put the column in braces: '{\[Fe/H\]}'. Use"),
        ("[a/b] c", r"can't be parsed. Put the column .* '{\[a/b\]}'. Use"),
        ("a > 0", "it is a condition, not a number"),
        ("kind", "it is text, not a number"),
        ("kind + 1", "'kind' is text, not a number"),
        ("kind == 1", "'1' is a number, not text"),
        ("'a' < kind", "text is only compared by == and !="),
        ("(a > 0) + 1", "'a > 0' is a condition, not a number"),
    ],
)
def test_kinds_of_values(text, message):
    with pytest.raises(InconsistentArguments, match=message):
        Expression.parse(text).numbers(COLUMNS)


def test_a_column_that_needs_braces():
    columns = {"m/H": A, "m/H_err": A}
    with pytest.raises(
        InconsistentArguments, match=r"no column 'm'.* braces: '{m/H}'. Use"
    ):
        Expression.parse("m/H + 1").numbers(columns)
