"""Tables from any file that astropy reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astropy.table import Table
from synthesizer.exceptions import InconsistentArguments

# Text files without a header that says what they are.
_PLAIN_TEXT = (".txt", ".dat", ".cat", ".asc", ".ascii", ".spec", "")


def read_table(
    path: str | Path, what: str, as_text: Sequence[str] = ()
) -> Table:
    """Read a table from a file.

    Args:
        path (str/Path): The file: FITS, ECSV, CSV, VOTable, or text.
        what (str): What a table should have, for messages, such as `names of
            columns`.
        as_text (sequence of str): Columns of CSV and text files that stay
            text, with their zeros, if they look like numbers.

    Raises:
        OSError: If there is no such file.
        InconsistentArguments: If the file is not a table.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path}' does not exist: give the path of a table."
        )
    is_text = path.suffix.lower() in _PLAIN_TEXT
    options: dict[str, Any] = {"format": "ascii"} if is_text else {}
    if as_text and (is_text or path.suffix.lower() == ".csv"):
        options.setdefault("format", "ascii.csv")
        options["converters"] = dict.fromkeys(as_text, str)
    try:
        return Table.read(path, **options)
    except Exception as error:
        # Depending on the format, astropy raises any of many classes.
        problem = str(error).strip().partition("\n")[0]
        raise InconsistentArguments(
            f"'{path}' can't be read as a table ({problem}). Give a FITS, "
            f"ECSV, CSV or text file with {what}."
        ) from error
