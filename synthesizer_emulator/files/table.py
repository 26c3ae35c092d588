"""Tables from any file that astropy reads."""

from pathlib import Path

from astropy.table import Table
from synthesizer.exceptions import InconsistentArguments

# Text files without a header that says what they are.
_PLAIN_TEXT = (".txt", ".dat", ".cat", ".asc", ".ascii", ".spec", "")


def read_table(path: str | Path, what: str) -> Table:
    """Read a table from a file.

    Args:
        path (str/Path): The file: FITS, ECSV, CSV, VOTable, or text.
        what (str): What a table should have, for messages, such as `names of
            columns`.

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
    options = {"format": "ascii"} if is_text else {}
    try:
        return Table.read(path, **options)
    except Exception as error:
        # Depending on the format, astropy raises any of many classes.
        problem = str(error).strip().partition("\n")[0]
        raise InconsistentArguments(
            f"'{path}' can't be read as a table ({problem}). Give a FITS, "
            f"ECSV, CSV or text file with {what}."
        ) from error
