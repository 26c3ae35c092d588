"""Commands that only look.

`list`, `info`, `compare`, `architectures` and `check`.
"""

import json
from pathlib import Path

import click

from synthesizer_emulator.cli.completing import complete_grids
from synthesizer_emulator.cli.options import (
    ARCHITECTURE_NAMES,
    FOLDER,
    complete_from,
    grid_dir_option,
    json_option,
    plots_option,
)


@click.command("list")
@click.option(
    "--grid-dir",
    type=FOLDER,
    help="The folder to list; by default the working directory, "
    "Synthesizer's grid folder, and what ships with the package.",
)
def list_grids(grid_dir: Path | None) -> None:
    """List the grids that can be loaded, with their size and errors.

    The errors are the median and the 99th percentile over the pixels of the
    spectrum that is emulated worst, in per cent.
    """
    from synthesizer_emulator.weights.listing import list_weights

    listed = list_weights(grid_dir)
    if not listed:
        raise click.ClickException(
            f"No weights in '{grid_dir}'. Build some with "
            "`synthesizer-emulator build GRID`."
        )
    rows: list[tuple[str, ...]] = [
        ("grid", "axes", "wavelengths", "lines", "MB", "p50", "p99", "in")
    ]
    for entry in listed:
        if entry.weights is None:
            rows.append((entry.name, *[""] * 6, f"{entry.where} (damaged)"))
            continue
        header = entry.weights.header
        errors = [
            e
            for path, e in entry.weights.provenance.errors.items()
            if path.startswith("spectra/")
        ]
        rows.append(
            (
                entry.name,
                " ".join(f"{a.name}:{len(a.values)}" for a in header.axes),
                f"{len(header.lam):,}",
                "" if header.lines is None else f"{len(header.lines.ids)}",
                f"{len(entry.weights.contents) / 1e6:.1f}",
                *(
                    f"{100 * max(e[q] for e in errors):.2g}%" if errors else ""
                    for q in ("p50", "p99")
                ),
                entry.where,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            f"{cell:<{w}}" if i in (0, 1, 7) else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
    for entry in listed:
        if entry.problem:
            click.echo(f"\n{entry.problem}")


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
            "wavelengths": describe_wavelengths(len(lam), lam[0], lam[-1]),
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
def compare(
    first: str,
    second: str,
    grid_dir: Path | None,
    points: int,
    seed: int,
    json_path: Path | None,
    plots: Path | None,
) -> None:
    """Compare the emulated grids A and B.

    Prints their axes, sizes and errors side by side and, if they have the
    same axes, the differences of their spectra at random points of both
    domains. --plots draws the spectra and the differences.
    """
    from synthesizer_emulator.evaluation.comparison import compare as run

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
