"""Commands that get and publish weights: `fetch` and `card`."""

from pathlib import Path

import click

from synthesizer_emulator.cli.options import (
    FILE,
    FOLDER,
    check_outputs,
    quiet_option,
    registry_option,
)


@click.command()
@click.argument("name")
@click.option(
    "--release",
    help="The release.  [default: the latest, the last in the registry]",
)
@registry_option
@click.option(
    "--grid-dir",
    type=FOLDER,
    help="Folder to write to; by default Synthesizer's grid folder.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace weights of this name that are not of the registry.",
)
@quiet_option
def fetch(
    name: str,
    release: str | None,
    registry: str | None,
    grid_dir: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Download the published weights NAME, and verify them.

    An interrupted download continues where it stopped. `list` shows what the
    registry has.
    """
    from synthesizer_emulator.distribution.fetching import fetch as run

    click.echo(run(name, grid_dir, release, registry, overwrite, not quiet))


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--creator",
    "creators",
    multiple=True,
    metavar="'FAMILY, GIVEN'",
    help="A creator, repeatable.  [default: the author of the weights]",
)
@click.option(
    "--release", default="1.0", show_default=True, help="The release."
)
@click.option(
    "--name", help="Name of the weights.  [default: that of the file]"
)
@click.option(
    "--url",
    help="Where the file will be: a URL, or one relative to the registry.  "
    "[default: beside the registry]",
)
@click.option(
    "--licence",
    default="cc-by-4.0",
    show_default=True,
    help="The licence, by Zenodo's identifier.",
)
@click.option(
    "--registry",
    type=FILE,
    help="Registry to add the weights to; made if missing.",
)
@click.option(
    "--out", type=FILE, help="File to write.  [default: NAME.card.json]"
)
def card(
    file: Path,
    creators: tuple[str, ...],
    release: str,
    name: str | None,
    url: str | None,
    licence: str,
    registry: Path | None,
    out: Path | None,
) -> None:
    """Write the record to publish with the weights FILE.

    It holds the entry for a registry, and the metadata of a deposit on
    Zenodo: title, creators, description with the errors, and licence.
    """
    from synthesizer_emulator.distribution.card import check_card, make_card
    from synthesizer_emulator.distribution.registry import add_release

    check_outputs(registry)
    check_outputs(out)
    record = make_card(file, creators, release, name, url, licence)
    path = out or file.with_name(f"{record.release.name}.card.json")
    if registry is not None and registry.absolute() == path.absolute():
        raise click.UsageError(
            f"--out and --registry are the same file, '{path}': give two."
        )
    # The registry may refuse the release, so the card is written after it.
    check_card(path)
    check_outputs(path)
    if registry is not None:
        add_release(registry, record.release)
    record.write(path)
    click.echo(path)
    if registry is not None:
        click.echo(registry)
