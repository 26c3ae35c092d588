"""Commands that only look.

`list`, `info`, `compare`, `architectures` and `check`.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthesizer_emulator.cli.completing import complete_grids
from synthesizer_emulator.cli.options import (
    ARCHITECTURE_NAMES,
    FOLDER,
    check_results,
    complete_from,
    grid_dir_option,
    json_option,
    overwrite_results_option,
    plots_option,
    registry_option,
)

if TYPE_CHECKING:
    from synthesizer_emulator.weights.summary import WeightsSummary


@click.command("list")
@click.option(
    "--grid-dir",
    type=FOLDER,
    help="The only folder to list; by default the working directory, "
    "Synthesizer's grid folder, what ships with the package, and the "
    "registry.",
)
@registry_option
def list_grids(grid_dir: Path | None, registry: str | None) -> None:
    """List the grids that can be loaded or fetched, with size and errors.

    The errors are the median and the 99th percentile over the pixels of the
    spectrum that is emulated worst, or of the lines without spectra, in per
    cent.
    """
    from synthesizer_emulator.distribution.registry import has_registry
    from synthesizer_emulator.weights.listing import list_weights

    listed = list_weights(grid_dir)
    problems = [entry.problem for entry in listed if entry.problem]
    rows = [
        _row(entry.name, entry.summary, entry.size, entry.where)
        for entry in listed
    ]
    if registry or (grid_dir is None and has_registry()):
        present = {(entry.name, entry.sha256) for entry in listed}
        published, problem = _published_rows(registry, present)
        rows += published
        problems += [problem] * bool(problem)
    if not rows and not problems:
        raise click.ClickException(
            f"No weights in '{grid_dir}'. Build some with "
            "`synthesizer-emulator build GRID`."
        )
    _echo_table(
        ("grid", "axes", "wavelengths", "lines", "MB", "p50", "p99", "in"),
        rows,
    )
    for problem in problems:
        click.echo(f"\n{problem}")


def _published_rows(
    source: str | None, present: Collection[tuple[str, str]]
) -> tuple[list[tuple[str, ...]], str]:
    """Return the rows of a registry, or why it can't be read.

    Args:
        source (str): The registry; by default of the environment.
        present (collection of tuple): The names of the weights at hand, each
            with the SHA-256 of the file.
    """
    from synthesizer.exceptions import GridError

    from synthesizer_emulator.distribution.registry import Registry

    try:
        releases = Registry.read(source).releases
    except (GridError, OSError) as error:
        return [], str(error).strip()
    # The last of each name, and the names of which there are more.
    latest = {entry.name: entry for entry in releases}
    earlier = {e.name for e in releases if e is not latest[e.name]}
    rows = [
        _row(
            entry.name,
            entry.contents,
            entry.size,
            f"registry, release {entry.release}"
            + ", the latest"
            * (entry.name in earlier and entry is latest[entry.name])
            + " (at hand)" * ((entry.name, entry.sha256) in present),
        )
        for entry in releases
    ]
    return rows, ""


def _row(
    name: str, summary: "WeightsSummary | None", size: int, where: str
) -> tuple[str, ...]:
    """Return a row of the table of weights; those without contents are torn.

    Args:
        name (str): The name of the weights.
        summary (WeightsSummary): Their contents; None if they are damaged.
        size (int): The size of the file, bytes.
        where (str): Where they are.
    """
    if summary is None:
        return (name, *[""] * 6, f"{where} (damaged)")
    errors = (summary.worst_of_spectra(q) for q in ("p50", "p99"))
    return (
        name,
        " ".join(f"{axis}:{n}" for axis, n in summary.axes.items()),
        f"{summary.wavelengths:,}",
        f"{summary.lines or ''}",
        f"{size / 1e6:.1f}",
        *("" if e is None else f"{100 * e:.2g}%" for e in errors),
        where,
    )


def _echo_table(
    titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]
) -> None:
    """Print a table: the first two and the last columns are text."""
    table = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    texts = (0, 1, len(titles) - 1)
    for row in table:
        cells = (
            f"{cell:<{w}}" if i in texts else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())


@click.command()
@click.argument("grid", shell_complete=complete_grids)
@grid_dir_option
def info(grid: str, grid_dir: Path | None) -> None:
    """Print the contents, provenance and errors of the weights of GRID.

    GRID is a name, or the path of a grid or of its weights.
    """
    from synthesizer_emulator.building.report import error_table
    from synthesizer_emulator.descriptions import (
        Description,
        describe_bytes,
        describe_names,
        describe_range,
        describe_wavelengths,
    )
    from synthesizer_emulator.grid.loading import find_weights
    from synthesizer_emulator.wavelengths import gaps
    from synthesizer_emulator.weights.file import read_weights

    path, _ = find_weights(grid, grid_dir)
    contents = read_weights(path)
    provenance, header = contents.provenance, contents.header
    checksum = (
        "checksum verified"
        if contents.verified
        else "not verified, as it has no checksum; build it again to add one"
    )
    nodes = {axis.name: axis for axis in header.axes}
    lam = header.lam_angstrom
    description = Description(
        contents.grid_name,
        {
            "file": f"{path} ({describe_bytes(len(contents.contents))})",
            **{
                axis.name: f"{len(nodes[axis.name].values)} nodes, "
                + describe_range(axis.low, axis.high, nodes[axis.name].units)
                for axis in contents.domain
            },
            "wavelengths": describe_wavelengths(
                len(lam),
                lam[0] if len(lam) else 0.0,
                lam[-1] if len(lam) else 0.0,
                gaps(lam, header.windows),
            ),
            "spectra": ", ".join(contents.available_spectra),
            "lines": ""
            if header.lines is None
            else f"{len(header.lines.ids)}: "
            + describe_names(header.lines.ids),
            "source SHA-256": provenance.source_hash,
            "format": f"{contents.format_version}, {checksum}",
            "architecture": provenance.architecture,
            "settings": str(dict(provenance.architecture_config)),
            "training": str(dict(provenance.training_config)),
            "learned from": provenance.trained_on,
            "versions": ", ".join(
                f"{k} {v}" for k, v in provenance.versions.items()
            ),
            "author": provenance.author,
            "notes": provenance.notes,
        },
    )
    click.echo(f"{description}\n\n{error_table(provenance.errors)}")


@click.command()
@click.argument("first", metavar="A", shell_complete=complete_grids)
@click.argument("second", metavar="B", shell_complete=complete_grids)
@grid_dir_option
@click.option(
    "--points",
    default=200,
    show_default=True,
    help="Number of points at which spectra are compared.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the points."
)
@json_option
@plots_option
@overwrite_results_option
def compare(
    first: str,
    second: str,
    grid_dir: Path | None,
    points: int,
    seed: int,
    json_path: Path | None,
    plots: Path | None,
    overwrite: bool,
) -> None:
    """Compare the emulated grids A and B.

    Prints their axes, sizes and errors side by side and, if they have the
    same axes, the differences of their spectra at random points of both
    domains. --plots draws the spectra and the differences.
    """
    from synthesizer_emulator.evaluation.comparison import compare as run

    check_results(json_path, plots, overwrite)
    comparison = run(first, second, grid_dir, points=points, seed=seed)
    click.echo(comparison)
    if json_path is not None:
        comparison.write_json(json_path)
    if plots is not None:
        # Imported here, because it loads matplotlib.
        from synthesizer_emulator.evaluation.report import write_comparison

        for path in write_comparison(comparison, plots):
            click.echo(path)


@click.command()
@click.argument(
    "name", required=False, shell_complete=complete_from(ARCHITECTURE_NAMES)
)
def architectures(name: str | None) -> None:
    """List the architectures, or the settings of NAME and of its training.

    The settings are given with --set NAME=VALUE, and those of the training
    with options of their names.
    """
    from dataclasses import fields
    from inspect import getdoc

    from synthesizer_emulator.architectures.registry import (
        ARCHITECTURES,
        DEFAULT_ARCHITECTURE,
        get_architecture,
    )

    if name is None:
        for key, kind in ARCHITECTURES.items():
            first = (getdoc(kind) or "").split("\n")[0]
            default = " (the default)" * (key == DEFAULT_ARCHITECTURE)
            click.echo(f"{key:<16} {first}{default}")
        return
    architecture = get_architecture(name)
    click.echo(f"{getdoc(type(architecture))}\n")
    for title, settings in (
        ("Settings", architecture),
        ("Training settings", architecture.default_training),
    ):
        click.echo(f"{title} and defaults:")
        for entry in fields(settings):  # type: ignore[arg-type]
            value = json.dumps(getattr(settings, entry.name))
            click.echo(f"  {entry.name:<20} {value}")


@click.command()
def check() -> None:
    """Check the installation, one line a component, with its remedy."""
    from synthesizer_emulator.cli.components import components

    found = list(components())
    width = max(len(component.name) for component in found)
    for component in found:
        click.echo(
            f"{component.state:<8} {component.name:<{width}}  {component.text}"
        )
    if any(component.state == "broken" for component in found):
        raise click.exceptions.Exit(1)
