"""Tables from any file that astropy reads."""

from pathlib import Path
from typing import Any

from astropy.table import Table
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, IncorrectUnits
from unyt import unyt_array

from synthesizer_emulator.units import from_astropy

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


def with_unit(name: str, values: NDArray, unit: Any) -> unyt_array:
    """Return the numbers of a column with its unit of astropy.

    Raises:
        IncorrectUnits: If unyt does not know the unit.
    """
    try:
        return from_astropy(f"The column '{name}'", values * unit)
    except IncorrectUnits:
        raise
    except Exception as error:
        # unyt raises other classes for units that only astropy has.
        raise IncorrectUnits(
            f"The units '{unit}' of the column '{name}' are not known. Remove "
            "them from the file, and give them in units, if they are not the "
            "default."
        ) from error
