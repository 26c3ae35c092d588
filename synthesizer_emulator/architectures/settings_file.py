"""Files of settings, from which an emulator is built: YAML.

architecture: pca
settings: {components: 64, hidden: [256, 256]}
training: {batch_size: 32, epochs: 1000}
"""

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.registry import (
    get_architecture,
    get_training,
)
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.files.yaml_file import in_file, read_yaml
from synthesizer_emulator.validation import check_keys

_ENTRIES = ("settings", "training")


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a file of settings.

    Args:
        path (str/Path): The YAML file.

    Returns:
        dict: The arguments `architecture`, `settings` and `training` of
            `build`.

    Raises:
        OSError: If the file can't be read.
        InconsistentArguments: If it is not a file of settings, or a setting
            is unknown or out of range.
        UnrecognisedOption: If the architecture is unknown.
    """
    path = Path(path)
    with in_file(path):
        config = read_yaml(path)
        check_keys("A file of settings", config, ("architecture",), _ENTRIES)
        given = {name: config.get(name) or {} for name in _ENTRIES}
        for name, entry in given.items():
            if not isinstance(entry, Mapping):
                raise InconsistentArguments(
                    f"'{name}' must have settings by name, as in {name}: "
                    f"{{name: value}}; got {entry!r}."
                )
        architecture = get_architecture(
            config["architecture"], given["settings"]
        )
        get_training(architecture, given["training"])
    return {"architecture": config["architecture"], **given}


def write_settings(
    path: str | Path,
    architecture: str,
    settings: Mapping[str, Any],
    training: Mapping[str, Any],
    comment: str = "",
) -> None:
    """Write a file of settings, which `read_settings` and `build` take.

    Args:
        path (str/Path): The YAML file.
        architecture (str): The name of the architecture.
        settings (Mapping): Its settings.
        training (Mapping): The settings of the training.
        comment (str): A comment at the top of the file.

    Raises:
        OSError: If the file can't be written.
    """
    contents = {
        "architecture": architecture,
        "settings": dict(settings),
        "training": dict(training),
    }
    text = yaml.safe_dump(
        contents, sort_keys=False, default_flow_style=None, width=78
    )
    head = "".join(f"# {line}\n" for line in wrap(comment, 76))
    write_whole(Path(path), (head + text).encode())
