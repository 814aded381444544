"""Tables for spreadsheets: read back by the csv module, no cell a formula."""

import csv
import io

import pytest

from course_lib.errors import UsageError
from course_lib.text.spreadsheet import csv_bytes


def test_no_cell_and_no_head_begins_a_formula():
    content = csv_bytes([{"=1+1": "@x", "plain": -2}, {"=1+1": "a\n=b", "plain": "-2"}])
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert rows == [["'=1+1", "plain"], ["'@x", "-2"], ["a\n=b", "'-2"]]


def test_a_table_needs_a_row():
    with pytest.raises(UsageError, match="no row to write"):
        csv_bytes([])
