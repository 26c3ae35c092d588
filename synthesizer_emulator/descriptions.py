"""Short descriptions of objects, as text and as HTML for notebooks.

A description is a title and rows. Classes that users look at derive from
`Described` and say what their rows are; nothing is evaluated for it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

# The width of the text, in characters.
_WIDTH = 79

# Longer lists of names are shortened.
_MOST = 8

# Products of powers of units, as unyt spells them, and how they are written.
_FACTOR = re.compile(r"([*/]?)([A-Za-zµÅ]+)(?:\*\*\(?(-?\d+)\)?)?")
_PRODUCT = re.compile(rf"(?:{_FACTOR.pattern})+")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNITS = {
    "Angstrom": "Å",
    "Lsun": "L☉",
    "Msun": "M☉",
    "angstrom": "Å",
    "um": "µm",
}


@dataclass(frozen=True)
class Description:
    """A title, and rows of what is described.

    Attributes:
        title (str): The class and the name of the object.
        rows (Mapping): Texts by the name of the row. Rows without text are
            not shown.

    Examples:
        >>> print(Description("Grid", {"axes": "ages", "lines": ""}))
        Grid
          axes  ages
    """

    title: str
    rows: Mapping[str, str]

    def __str__(self) -> str:
        """Return the title and the rows, wrapped."""
        rows = {name: text for name, text in self.rows.items() if text}
        width = max(map(len, rows), default=0)
        lines = [self.title]
        for name, text in rows.items():
            lines += wrap(
                text,
                _WIDTH,
                initial_indent=f"  {name:<{width}}  ",
                subsequent_indent=" " * (width + 4),
                break_long_words=False,
                break_on_hyphens=False,
            )
        return "\n".join(lines)

    def to_html(self) -> str:
        """Return the title and the rows as a table."""
        left = 'style="text-align: left"'
        rows = "".join(
            f'<tr><th scope="row" {left}>{escape(name)}</th>'
            f"<td {left}>{escape(text)}</td></tr>"
            for name, text in self.rows.items()
            if text
        )
        return (
            f"<div><strong>{escape(self.title)}</strong>"
            f"<table><tbody>{rows}</tbody></table></div>"
        )


class Described:
    """An object that is shown as its description."""

    def _description(self) -> Description:
        """Return the description, without evaluating anything."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return str(self._description())

    def _repr_html_(self) -> str:
        """Return the description for a notebook."""
        return self._description().to_html()


class Printed:
    """An object that is shown as it is printed, by its `__str__`."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the text for a notebook, with columns as they are."""
        return f"<pre>{escape(str(self))}</pre>"


def describe_names(names: Sequence[str]) -> str:
    """Return names separated by commas; of many the first, and the rest.

    Examples:
        >>> describe_names(["incident", "nebular"])
        'incident, nebular'
        >>> describe_names([str(i) for i in range(12)])
        '0, 1, 2, 3, 4, 5, 6, 7 and 4 more'
    """
    text = ", ".join(names[:_MOST])
    return text + f" and {len(names) - _MOST} more" * (len(names) > _MOST)


def describe_units(units: str) -> str:
    """Return the units in a file as they are written in papers.

    Examples:
        >>> describe_units("erg/s/Hz"), describe_units("cm**(-3)")
        ('erg s⁻¹ Hz⁻¹', 'cm⁻³')
        >>> describe_units("dimensionless"), describe_units("log10(yr)")
        ('', 'log10(yr)')
    """
    if units in ("", "None", "dimensionless"):
        return ""
    spelled = units.replace(" ", "")
    if not _PRODUCT.fullmatch(spelled):
        return units
    words = []
    for sign, name, power in _FACTOR.findall(spelled):
        exponent = int(power or 1) * (-1 if sign == "/" else 1)
        raised = "" if exponent == 1 else str(exponent).translate(RAISED)
        words.append(_UNITS.get(name, name) + raised)
    return " ".join(words)


def describe_range(low: float, high: float, units: str = "") -> str:
    """Return the range of an axis, such as `0 to 2e+10 yr`."""
    return f"{low:.4g} to {high:.4g} {describe_units(units)}".rstrip()


def describe_wavelengths(
    n: int, low: float, high: float, gaps: Sequence[tuple[float, float]] = ()
) -> str:
    """Return the number, the range and the gaps of wavelengths in Angstrom.

    Examples:
        >>> describe_wavelengths(2902, 5000.0, 5390.0, [(5150.0, 5200.0)])
        '2,902 from 5000 to 5390 Å, with a gap from 5150 to 5200 Å'
    """
    if not n:
        return ""
    ends = [f"{left:.4g} to {right:.4g}" for left, right in gaps]
    where = f"{'gaps' if len(ends) > 1 else 'a gap'} from"
    without = f", with {where} {describe_names(ends)} Å" if ends else ""
    return f"{n:,} from {low:.4g} to {high:.4g} Å{without}"


def describe_errors(errors: Mapping[str, Mapping[str, float]]) -> str:
    """Return the median and the 99th percentile of the errors of weights.

    Args:
        errors (Mapping): The fields of `ErrorSummary`, by emission. The
            largest among spectra and among lines are given.

    Examples:
        >>> describe_errors({"spectra/incident": {"p50": 1e-4, "p99": 2e-3}})
        'median 0.01%, 99th percentile 0.2% of pixels'
    """
    texts = []
    for group, what in (("spectra/", "pixels"), ("lines/", "lines")):
        found = [e for name, e in errors.items() if name.startswith(group)]
        if found:
            p50, p99 = (max(e[q] for e in found) for q in ("p50", "p99"))
            texts.append(
                f"median {100 * p50:.2g}%, 99th percentile {100 * p99:.2g}% "
                f"of {what}"
            )
    return "; ".join(texts)


def describe_duration(seconds: float) -> str:
    """Return a duration, such as `1 h 2 min 5 s`.

    Examples:
        >>> describe_duration(125.2)
        '2 min 5 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{n} {unit}" for n, unit in parts if n or unit == "s")


def describe_bytes(n: float) -> str:
    """Return a size in bytes, such as `5.2 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f} bytes"
