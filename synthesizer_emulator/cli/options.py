"""Options shared by several commands, and their values."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Number = TypeVar("Number", int, float)

# The default is first. They are written here too, because importing them
# loads JAX.
ARCHITECTURE_NAMES = (
    "residual_table",
    "gaussian_process",
    "payne",
    "pca",
    "three_component",
)
METHOD_NAMES = ("nested", "nss", "nuts", "map", "amortised")

# The formats of figures that need no other programs.
_SUFFIXES = (
    *(".png", ".pdf", ".svg", ".eps"),
    *(".jpg", ".jpeg", ".tif", ".tiff", ".webp"),
)

# What the folders of figures have.
_FIGURES = (".png", ".pdf", ".html")

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
PATH = click.Path(path_type=Path)

quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Show no progress, only the results."
)
grid_dir_option = click.option(
    "--grid-dir",
    type=FOLDER,
    help="Folder of the grid, if GRID is a name.",
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace a file that exists."
)
overwrite_results_option = click.option(
    "--overwrite",
    is_flag=True,
    help="Replace earlier results in the file of --json and the folder of "
    "--plots.",
)
registry_option = click.option(
    "--registry",
    help="File or URL of the registry of published weights; by default that "
    "of the environment variable SYNTHESIZER_EMULATOR_REGISTRY.",
)
json_option = click.option(
    "--json",
    "json_path",
    type=FILE,
    help="File to write all numbers to.",
)
spectra_option = click.option(
    "--spectra",
    multiple=True,
    help="A spectrum to evaluate; by default all spectra.",
)
recoveries_option = click.option(
    "--recoveries",
    default=100,
    show_default=True,
    help="Number of spectra to fit for their grid parameters.",
)
plots_option = click.option(
    "--plots",
    type=FOLDER,
    help="Folder to write figures to.",
)
report_option = click.option(
    "--plots",
    type=FOLDER,
    help="Folder to write figures and report.html to.",
)


def check_figure(path: Path) -> None:
    """Raise unless the suffix of a figure is one that can be written."""
    if path.suffix and path.suffix.lower() not in _SUFFIXES:
        from synthesizer.exceptions import InconsistentArguments

        raise InconsistentArguments(
            "The name of a figure must end in one of "
            f"{', '.join(_SUFFIXES)}; got '{path}'."
        )


def complete_from(
    names: Sequence[str],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a function that completes names.

    Unlike a `click.Choice` it leaves the message about unknown names, with
    the nearest known one, to the package.
    """

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def template_option(name: str) -> Callable[..., Any]:
    """Return the option that prints a template from the package's data."""

    def show(context: click.Context, _: click.Parameter, given: bool) -> None:
        if given and not context.resilient_parsing:
            folder = Path(__file__).parents[1] / "data"
            click.echo((folder / name).read_text("utf-8"), nl=False)
            context.exit()

    return click.option(
        "--template",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help=f"Print a file to start from: --template > {name}.",
    )


dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Write nothing: check the input and estimate the time and the size.",
)


def fit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the architecture and the training to a command."""
    for name, kind, text in (
        ("epochs", int, "Largest number of passes over the nodes."),
        ("batch_size", int, "Nodes per step."),
        ("learning_rate", float, "Initial learning rate."),
        ("weight_decay", float, "Weight decay."),
        (
            "schedule",
            click.Choice(["cosine", "plateau", "warmup_cosine"]),
            "Learning rate schedule.",
        ),
        ("patience", int, "Epochs without improvement before stopping."),
        ("check_every", int, "Epochs between validations."),
        (
            "validation_fraction",
            float,
            "Fraction of the nodes or samples for validation.",
        ),
        ("seed", int, "Seed of all random numbers."),
        ("clip_norm", float, "Largest norm of a gradient; 0 for any."),
    ):
        option = f"--{name.replace('_', '-')}"
        command = click.option(
            option,
            type=kind,
            help=f"{text}  [default: of the architecture]",
        )(command)
    command = click.option(
        "--settings",
        "settings_file",
        type=FILE,
        help="A YAML file of the architecture, its settings and its training, "
        "such as `tune` writes. Other options replace single settings.",
    )(command)
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the architecture, with its value as JSON; "
        "`synthesizer-emulator architectures NAME` lists them.",
    )(command)
    return click.option(
        "--architecture",
        metavar=f"[{'|'.join(ARCHITECTURE_NAMES)}]",
        shell_complete=complete_from(ARCHITECTURE_NAMES),
        help=f"The architecture.  [default: {ARCHITECTURE_NAMES[0]}]",
    )(command)


def fit_arguments(
    architecture: str | None,
    settings: tuple[str, ...],
    training: dict[str, Any],
    settings_file: Path | None = None,
) -> dict[str, Any]:
    """Return the values of `fit_options` as arguments of `build`."""
    from synthesizer.exceptions import InconsistentArguments

    from synthesizer_emulator.architectures.registry import (
        DEFAULT_ARCHITECTURE,
        architecture_name,
    )
    from synthesizer_emulator.architectures.settings_file import read_settings

    stored: dict[str, Any] = {"settings": {}, "training": {}}
    if settings_file is not None:
        stored = read_settings(settings_file)
        name = stored["architecture"]
        if architecture_name(architecture or name) != architecture_name(name):
            raise InconsistentArguments(
                f"'{settings_file}' has settings of '{name}', but "
                f"--architecture is '{architecture}'. Leave out one of them."
            )
        architecture = name
    given = {k: v for k, v in training.items() if v is not None}
    return {
        "architecture": architecture or DEFAULT_ARCHITECTURE,
        "settings": {**stored["settings"], **parse_settings(settings)},
        "training": {**stored["training"], **given},
    }


def name_and_value(option: str, given: str) -> tuple[str, str]:
    """Split NAME=VALUE."""
    name, separator, value = given.partition("=")
    if not separator:
        from synthesizer.exceptions import InconsistentArguments

        raise InconsistentArguments(
            f"{option} must be NAME=VALUE, got '{given}'."
        )
    return name, value


def names_and_values(option: str, given: Iterable[str]) -> dict[str, str]:
    """Return the values of NAME=VALUE by name, each of which is there once."""
    values: dict[str, str] = {}
    for part in given:
        name, value = name_and_value(option, part)
        name = name.strip()
        if name in values:
            from synthesizer.exceptions import InconsistentArguments

            raise InconsistentArguments(
                f"{option} has '{name}' twice, {values[name]} and {value}: "
                "keep one."
            )
        values[name] = value
    return values


def two_numbers(option: str, given: str) -> tuple[float, float]:
    """Split LOW:HIGH, two ascending numbers."""
    low, _, high = given.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = (1.0, 0.0)
    # In this form, comparisons with NaN fail.
    if not ends[0] < ends[1]:
        from synthesizer.exceptions import InconsistentArguments

        raise InconsistentArguments(
            f"{option} must be LOW:HIGH, two ascending numbers, as in "
            f"4000:7000; got '{given}'."
        )
    return ends


def velocity(option: str, given: str) -> float:
    """Return a velocity in km/s, given in km/s or with units."""
    from synthesizer.exceptions import InconsistentArguments

    from synthesizer_emulator.units import in_units, parse_value

    try:
        value = parse_value(given)
    except InconsistentArguments as error:
        raise InconsistentArguments(
            f"{option} must be a velocity, as in 35 or '35 km/s', got "
            f"'{given}'."
        ) from error
    return float(in_units(option, value, "km/s"))


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Return settings by name; values that are not JSON stay strings."""
    parsed = {}
    for name, value in names_and_values("--set", settings).items():
        try:
            parsed[name] = json.loads(value)
        except json.JSONDecodeError:
            parsed[name] = value
    return parsed


def check_outputs(file: Path | None, folder: Path | None = None) -> None:
    """Check what a command writes, before its long work.

    Args:
        file (Path): The file to write, if any.
        folder (Path): The folder of figures, if any.

    Raises:
        OSError: If a folder can't be made or written to, or the file is one.
    """
    from synthesizer_emulator.files.writing import check_writable

    for path in (file, folder and folder / "report.html"):
        if path is not None:
            check_writable(path)


def check_results(
    json_path: Path | None, plots: Path | None, overwrite: bool
) -> None:
    """Raise before long work if results would replace earlier ones.

    And check that they can be written, as `check_outputs`.

    Args:
        json_path (Path): The file of --json, if any.
        plots (Path): The folder of --plots, if any.
        overwrite (bool): Whether they may be replaced.

    Raises:
        InconsistentArguments: If the file exists, or the folder has figures.
        OSError: As in `check_outputs`.
    """
    from synthesizer.exceptions import InconsistentArguments

    from synthesizer_emulator.files.writing import check_new

    if json_path is not None:
        check_new(json_path, overwrite)
    earlier = plots.iterdir() if plots is not None and plots.is_dir() else ()
    if not overwrite and any(path.suffix in _FIGURES for path in earlier):
        raise InconsistentArguments(
            f"'{plots}' has figures or a report, which could be replaced: "
            "choose another folder, or use --overwrite."
        )
    check_outputs(json_path, plots)


def as_number(kind: Callable[[str], Number], value: str) -> Number:
    """Return the number of an option."""
    try:
        return kind(value)
    except ValueError:
        raise click.UsageError(
            f"'{value}' must be {'a whole ' if kind is int else 'a '}number."
        ) from None
