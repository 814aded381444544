"""The master notebook of an exercise, its student copy, and what a submission's answers make of it.

Cells carry nbgrader's metadata (schema 3), so that teachers who use nbgrader can: answer cells have
`solution`, check cells `grade` and `points`, all cells a `grade_id`.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from course_lib.errors import CourseError, unknown_name
from course_lib.files import REPOSITORY, write_atomically

FOLDER = REPOSITORY / "notebooks" / "exercises"
MAX_SUBMISSION_BYTES = 5_000_000
MAX_ANSWER_CHARACTERS = 50_000

_BEGIN, _END = "### BEGIN SOLUTION", "### END SOLUTION"
_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"


class Unreadable(CourseError):
    """A submission that is no notebook; its message tells the student what to do."""


class Answers(NamedTuple):
    """What a submission says.

    Attributes:
        sources: grade_id of the answer cell → source; none for a cell that is missing or ambiguous.
        problems: grade_id → why there is no source, for the student.
    """

    sources: dict[str, str]
    problems: dict[str, str]


def master_path(name: str) -> Path:
    """The solution notebook of an exercise such as ex03.

    Raises:
        UsageError: there is none.
    """
    known = {path.stem[:4]: path for path in sorted((FOLDER / "solutions").glob("ex[0-9][0-9]_*.ipynb"))}
    if name not in known:
        raise unknown_name("exercise", name, known)
    return known[name]


def read_master(name: str) -> NotebookNode:
    """The solution notebook, checked.

    Raises:
        UsageError: there is none.
        CourseError: a cell without or with a double grade_id, a question without points, an answer cell
            without a marked solution, a marker that has no partner, or stored output.
    """
    path = master_path(name)
    master = nbformat.read(path, as_version=4)
    problems = []
    ids = Counter(_grade_id(cell) for cell in master.cells)
    problems += [f"the grade_id {name!r} occurs {n} times" for name, n in ids.items() if n > 1 or not name]
    for cell in master.cells:
        settings, grade_id = cell.metadata.get("nbgrader", {}), _grade_id(cell)
        if settings.get("schema_version") != 3:
            problems.append(f"{grade_id} does not follow nbgrader's schema 3")
        if cell.get("outputs") or cell.get("execution_count"):
            problems.append(f"{grade_id} stores output")
        marks = re.findall(f"{_BEGIN}|{_END}", cell.source)
        if bool(settings.get("solution")) != (marks == [_BEGIN, _END]) or len(marks) not in (0, 2):
            problems.append(f"{grade_id} needs one marked solution if it is an answer cell, otherwise none")
        if settings.get("solution") and f"{grade_id}-checks" not in ids:
            problems.append(f"{grade_id} has no cell of checks, {grade_id}-checks")
        if settings.get("grade") and not settings.get("points", 0) > 0:
            problems.append(f"{grade_id} has no points")
    if problems:
        raise CourseError(f"{path.name} cannot be an exercise: {'; '.join(problems)}.")
    return master


def questions(master: NotebookNode) -> dict[str, int]:
    """grade_id of each answer cell → points of its question, in order."""
    points = {_grade_id(cell): cell.metadata.nbgrader.get("points") for cell in master.cells}
    return {grade_id: points[f"{grade_id}-checks"] for grade_id in answer_ids(master)}


def answer_ids(master: NotebookNode) -> list[str]:
    """The grade_ids of the cells that students fill in, in order."""
    return [_grade_id(cell) for cell in master.cells if cell.metadata.nbgrader.solution]


def student_copy(name: str) -> NotebookNode:
    """The master without its solutions.

    Raises:
        UsageError, CourseError: as `read_master`; or a line of a solution, or a marker, would survive.
    """
    copy = read_master(name)
    for cell in copy.cells:
        solution = {line.strip() for line in _marked(cell.source).splitlines()}
        if cell.metadata.nbgrader.solution:
            cell.source = _without_solution(cell.source)
        left = [line for line in cell.source.splitlines() if line.strip() in solution or _BEGIN in line]
        if left:
            raise CourseError(
                f"The student copy of {name} would still hold {left[0]!r}; nothing was released."
            )
    return copy


def release(name: str) -> Path:
    """Writes the student copy beside the folder of solutions and returns its path.

    Raises:
        UsageError, CourseError: as `student_copy`.
    """
    copy = student_copy(name)
    target = FOLDER / master_path(name).name
    write_atomically(target, nbformat.writes(copy) + "\n")
    return target


def solution_sources(name: str) -> dict[str, str]:
    """grade_id of each answer cell → the solution's source.

    Raises:
        UsageError, CourseError: as `read_master`.
    """
    cells = read_master(name).cells
    return {_grade_id(cell): cell.source for cell in cells if cell.metadata.nbgrader.solution}


def read_answers(content: bytes, copy: NotebookNode) -> Answers:
    """The sources of a submission's answer cells; everything else in it is ignored.

    Args:
        content: from `read_submission`.
        copy: the student copy.

    Raises:
        Unreadable: it is no notebook.
    """
    try:
        if len(content) > MAX_SUBMISSION_BYTES:
            raise Unreadable(
                f"The file is over {MAX_SUBMISSION_BYTES // 10**6} MB: clear all outputs and save again."
            )
        cells = _cells(json.loads(content.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            "The file is not a notebook: save it in Jupyter and hand in the .ipynb file."
        ) from error
    found: dict[str, list[str]] = {}
    for cell in cells:
        grade_id, source = _loose_grade_id(cell), cell.get("source", cell.get("input", ""))
        source = "".join(map(str, source)) if isinstance(source, list) else source
        if grade_id and cell.get("cell_type") == "code" and isinstance(source, str):
            found.setdefault(grade_id, []).append(source)
    sources, problems = {}, {}
    for grade_id in answer_ids(copy):
        given = found.get(grade_id, [])
        if len(set(given)) > 1:
            problems[grade_id] = (
                f"{len(given)} cells say that they are the answer to {grade_id} (a copied cell keeps its "
                "mark): keep one."
            )
        elif not given:
            problems[grade_id] = "The answer cell is missing: write the answer into the cell of the exercise."
        elif len(given[0]) > MAX_ANSWER_CHARACTERS:
            problems[grade_id] = f"The answer has more than {MAX_ANSWER_CHARACTERS:,} characters."
        else:
            sources[grade_id] = given[0]
    return Answers(sources, problems)


def read_submission(path: Path) -> bytes:
    """What was handed in; of a file that is too large, one byte more than is allowed."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_SUBMISSION_BYTES + 1)
    except OSError:
        return b""


def not_attempted(answers: Mapping[str, str], copy: NotebookNode) -> set[str]:
    """The grade_ids whose answer is still the one that the student copy came with."""
    stubs = {_grade_id(cell): cell.source for cell in copy.cells if cell.metadata.nbgrader.solution}
    return {
        grade_id
        for grade_id, source in answers.items()
        if source.split() in ([], stubs[grade_id].split()) or not _code(source)
    }


def foreign_imports(source: str, copy: NotebookNode) -> list[str]:
    """Modules that an answer imports and the exercise does not: for the teacher to see, not for the score."""
    own = {module for cell in copy.cells if cell.cell_type == "code" for module in _imports(cell.source)}
    return sorted(_imports(source) - own)


def rebuild(copy: NotebookNode, sources: Mapping[str, str]) -> NotebookNode:
    """The student copy with these answers in their cells; a question without one keeps its stub."""
    rebuilt = nbformat.from_dict(json.loads(json.dumps(copy)))
    for cell in rebuilt.cells:
        if cell.metadata.nbgrader.solution and _grade_id(cell) in sources:
            cell.source = sources[_grade_id(cell)]
    return rebuilt


def _grade_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def _loose_grade_id(cell):
    """The grade_id in a cell that may be anything."""
    for part in ("metadata", "nbgrader"):
        cell = cell.get(part)
        if not isinstance(cell, dict):
            return None
    grade_id = cell.get("grade_id")
    return grade_id if isinstance(grade_id, str) else None


def _cells(document):
    """Those of a notebook of format 4, or of format 3 with its worksheets."""
    if not isinstance(document, dict):
        raise ValueError("not a notebook")
    sheets = document.get("worksheets")
    if isinstance(sheets, list):
        cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    else:
        cells = document.get("cells")
    if not isinstance(cells, list):
        raise ValueError("not a notebook")
    return [cell for cell in cells if isinstance(cell, dict)]


def _marked(source):
    return source.partition(_BEGIN)[2].partition(_END)[0]


def _without_solution(source):
    head, _, rest = source.partition(_BEGIN)
    tail = rest.partition(_END)[2]
    indent = head[head.rfind("\n") + 1 :]
    return head + _STUB.replace("\n", "\n" + indent) + tail


def _imports(source):
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return set()
    nodes = list(ast.walk(tree))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module for node in nodes if isinstance(node, ast.ImportFrom) if node.module}


def _code(source):
    """Whether anything is left once comments and empty lines are gone."""
    return [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
