"""HTML reports with tables and embedded figures."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from matplotlib.figure import Figure

from synthesizer_emulator.evaluation.tables import Table

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
nav a { margin-right: 1.2em; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0;
  font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: 0.15rem 0.7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid #222; }
summary { cursor: pointer; }
.verdict { background: #f3f6f9; border-left: 4px solid #0072b2;
  padding: 0.6rem 1rem; }
.verdict p { margin: 0.2rem 0; }
figure { margin: 1rem 0; }
img { max-width: 100%; }
figcaption { font-size: 0.85rem; color: #555; }
@media print { figure, table { break-inside: avoid; } }
"""


# Longer tables are folded.
_MOST_ROWS = 12


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        title (str): The heading.
        text (str): A description of the measurement.
        tables (list of Table): The tables.
        figures (dict): The figures by name.
    """

    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)


def render(
    title: str,
    verdict: Sequence[str],
    summary: str,
    sections: list[Section],
    images: Mapping[str, bytes],
) -> str:
    """Return a report as HTML with embedded images.

    Args:
        title (str): The title.
        verdict (list of str): What most readers want to know.
        summary (str): What was measured, and how.
        sections (list of Section): The sections.
        images (Mapping): The PNG files of the figures as bytes, by name.
    """
    links = " ".join(
        f'<a href="#s{i}">{escape(section.title)}</a>'
        for i, section in enumerate(sections)
    )
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>",
        f"<body><h1>{escape(title)}</h1>",
        '<div class="verdict">',
        *(f"<p>{escape(line)}</p>" for line in verdict),
        "</div>",
        f"<p>{escape(summary)}</p>",
        f"<nav>{links}</nav>",
    ]
    for i, section in enumerate(sections):
        parts.append(f'<h2 id="s{i}">{escape(section.title)}</h2>')
        parts.append(f"<p>{escape(section.text)}</p>")
        parts += [_html_table(table) for table in section.tables]
        for name in section.figures:
            data = base64.b64encode(images[name]).decode()
            parts.append(
                f'<figure><img alt="{escape(name)}" '
                f'src="data:image/png;base64,{data}">'
                f"<figcaption>{escape(name)}</figcaption></figure>"
            )
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _html_table(table: Table) -> str:
    """Return a table as HTML, folded if it is long."""
    head = "".join(f"<th>{escape(c)}</th>" for c in table.columns)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, cells in table.rows
    )
    whole = (
        f"<table><thead><tr><th>{escape(table.title)}</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
    if len(table.rows) <= _MOST_ROWS:
        return whole
    return (
        f"<details><summary>{escape(table.title)}: {len(table.rows)} rows"
        f"</summary>{whole}</details>"
    )
