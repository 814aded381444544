"""Which notebooks there are, which were asked for, and what an executed one says."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from course_lib.errors import unknown_name
from course_lib.session import RECORD_MIME, SESSION_MIME

# The first code cell of every notebook, word for word.
COLAB_SETUP = """\
# Setup: on Colab this installs the course; elsewhere it does nothing.
import sys
from pathlib import Path

if "google.colab" in sys.modules:
    places = ("*/requirements-colab.txt", "drive/MyDrive/*/requirements-colab.txt")
    found = [file.parent for place in places for file in Path("/content").glob(place)]
    assert found, "First bring the course's folder here: upload it as a zip file, then !unzip -q NAME.zip"
    %pip install -q -r "{found[0]}/requirements-colab.txt"
    %pip install -q --no-deps -e "{found[0]}"
    sys.path.insert(0, str(found[0]))  # for this kernel; a new one finds the package by itself"""


def find_notebooks(root: Path) -> dict[str, Path]:
    """Name (e.g. "04_training") -> file of every notebook of the course, in reading order."""
    return {path.stem: path for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def select_notebooks(wanted: Iterable[str], notebooks: dict[str, Path]) -> dict[str, Path]:
    """The notebooks meant by "4", "04" or "04_training", in reading order; nothing wanted means all.

    Raises:
        UsageError: a name that no notebook has, with the nearest one that exists.
    """
    chosen = set()
    for text in wanted:
        matches = {name for name in notebooks if text == name or text.zfill(2) == name[:2]}
        if not matches:
            raise unknown_name("notebook", text, notebooks)
        chosen |= matches
    return {name: path for name, path in notebooks.items() if name in chosen or not chosen}


def predecessors(notebooks: dict[str, Path]) -> dict[str, set[str]]:
    """For each notebook the earlier ones that touch an artifact which it touches, too: it runs after them.

    The code says `lesson.artifact("name")` with the name written out.
    """
    touched = {
        name: set(re.findall(r'lesson\.artifact\(\\"([^"\\]+)\\"\)', path.read_text(encoding="utf-8")))
        for name, path in notebooks.items()
    }
    names = list(notebooks)
    return {
        name: {earlier for earlier in names[:place] if touched[earlier] & touched[name]}
        for place, name in enumerate(names)
    }


def recorded_metrics(notebook: NotebookNode) -> tuple[dict[str, bool | int | float], list[str]]:
    """What `Lesson.record` left in the outputs, and the names that were recorded with two values."""
    metrics: dict[str, bool | int | float] = {}
    conflicts = []
    for record in _displayed(notebook, RECORD_MIME):
        if metrics.setdefault(record["name"], record["value"]) != record["value"]:
            conflicts.append(record["name"])
    return metrics, conflicts


def started_session(notebook: NotebookNode) -> dict[str, Any]:
    """What `start` left in the outputs (profile, seed, device, versions); empty if it was not called."""
    return next(iter(_displayed(notebook, SESSION_MIME)), {})


def last_started_cell(notebook: NotebookNode) -> str:
    """Where the run stopped: 'cell 12 (id train-model)', counted as in the stored notebook."""
    cells = [cell for cell in notebook.cells if "papermill" in cell.metadata and not _injected(cell)]
    started = [
        (number, cell)
        for number, cell in enumerate(cells, start=1)
        if cell.cell_type == "code" and cell.metadata.papermill.get("start_time")
    ]
    return f"cell {started[-1][0]} (id {started[-1][1].id})" if started else "its first cell"


def exit_was_called(notebook: NotebookNode) -> bool:
    """Whether a cell ended in SystemExit, which papermill takes for a success."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return any(output.output_type == "error" and output.ename == "SystemExit" for output in outputs)


def num_unexecuted(notebook: NotebookNode) -> int:
    """How many code cells with something in them were never executed."""
    return sum(
        cell.cell_type == "code" and bool(cell.source.strip()) and cell.execution_count is None
        for cell in notebook.cells
    )


def _displayed(notebook: NotebookNode, mime: str) -> Iterable[dict[str, Any]]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if mime in output.get("data", {}):
                yield output.data[mime]


def _injected(cell: NotebookNode) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", [])
