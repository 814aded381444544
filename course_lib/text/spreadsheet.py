"""CSV files that a spreadsheet opens as they are meant: a cell is a text or a number, never a formula."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.errors import UsageError

# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows, headed by the keys of the first one, in UTF-8 with the mark that spreadsheets look for.

    Raises:
        UsageError: no rows, and so no head.
    """
    if not rows:
        raise UsageError("There is no row to write: a table takes its head from the first one.")
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]))
    for row in [{name: name for name in rows[0]}, *rows]:
        writer.writerow({name: neutral(value) for name, value in row.items()})
    return stream.getvalue().encode("utf-8-sig")


def neutral(value: Any) -> Any:
    """The value; a text that a spreadsheet would take for a formula with an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
