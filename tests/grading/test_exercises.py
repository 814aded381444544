"""Masters and student copies: what must not survive does not, and answers are found by their grade_id."""

import json

import nbformat
import pytest

from course_lib.errors import CourseError, UsageError
from course_lib.files import REPOSITORY
from course_lib.grading import exercise as exercises
from course_lib.grading.checks import exercise_names, load_exercise
from course_lib.runner.notebooks import find_notebooks


@pytest.fixture
def master(monkeypatch, tmp_path):
    """A master that a test may spoil; `write` puts it in the place of the real ones."""
    notebook = nbformat.read(exercises.master_path("ex03"), as_version=4)

    def write():
        folder = tmp_path / "solutions"
        folder.mkdir(exist_ok=True)
        nbformat.write(notebook, folder / "ex03_spoiled.ipynb")
        monkeypatch.setattr(exercises, "FOLDER", tmp_path)

    return notebook, write


def cell_of(notebook, grade_id):
    return next(cell for cell in notebook.cells if cell.metadata.nbgrader.grade_id == grade_id)


@pytest.mark.parametrize("name", exercise_names())
def test_student_copy_is_stored_and_holds_no_solution(name):
    copy = exercises.student_copy(name)
    assert nbformat.read(exercises.FOLDER / exercises.master_path(name).name, as_version=4) == copy
    for cell in copy.cells:
        assert "SOLUTION" not in cell.source
        assert cell.metadata.nbgrader.solution == ("raise NotImplementedError()" in cell.source)


@pytest.mark.parametrize("name", exercise_names())
def test_every_hint_points_at_a_cell_that_exists(name):
    notebooks = find_notebooks(REPOSITORY)
    for check in load_exercise(name).checks:
        notebook, _, cell_id = check.hint.partition("#")
        cells = {cell.id for cell in nbformat.read(notebooks[notebook], as_version=4).cells}
        assert cell_id in cells, check.hint


def test_points_of_the_questions():
    points = exercises.questions(exercises.read_master("ex03"))
    assert points == {"q1": 2, "q2": 3, "q3": 3, "q4": 3, "q5": 3, "q6": 2}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda nb: cell_of(nb, "q1").update(source="def f():\n    return 1"), "marked solution"),
        (lambda nb: cell_of(nb, "q1")["metadata"]["nbgrader"].update(grade_id="q2"), "2 times"),
        (lambda nb: cell_of(nb, "q1-checks")["metadata"]["nbgrader"].update(points=0), "points"),
        (lambda nb: cell_of(nb, "q1")["metadata"]["nbgrader"].update(schema_version=2), "schema"),
        (
            lambda nb: cell_of(nb, "q1-checks")["metadata"]["nbgrader"].update(grade_id="other"),
            "no cell of checks",
        ),
        (lambda nb: cell_of(nb, "imports").update(execution_count=1), "output"),
        (lambda nb: cell_of(nb, "imports").update(source="### BEGIN SOLUTION\n### END SOLUTION"), "marked"),
    ],
)
def test_a_spoiled_master_is_refused(master, spoil, message):
    notebook, write = master
    spoil(notebook)
    write()
    with pytest.raises(CourseError, match=message):
        exercises.read_master("ex03")


def test_a_solution_line_that_would_survive_stops_the_release(master):
    notebook, write = master
    cell = cell_of(notebook, "q6")
    cell.source += "\n    return states[mask].max(axis=0)"
    write()
    with pytest.raises(CourseError, match="still hold"):
        exercises.release("ex03")
    assert not list(exercises.FOLDER.glob("*.ipynb"))


def test_unknown_exercise():
    with pytest.raises(UsageError, match="ex03"):
        exercises.master_path("ex30")


def answers(path):
    return exercises.read_answers(exercises.read_submission(path), exercises.student_copy("ex03"))


def test_answers_are_found_by_grade_id_alone(submit, solution):
    path = submit()
    notebook = json.loads(path.read_text())
    notebook["cells"].reverse()
    for cell in notebook["cells"]:
        cell["metadata"]["tags"] = ["skip-execution"]
    notebook["metadata"] = {"kernelspec": {"name": "evil"}}
    path.write_text(json.dumps(notebook))
    assert answers(path).sources == solution and answers(path).problems == {}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda cells: [cell for cell in cells if "num_lstm" not in "".join(cell["source"])], "missing"),
        (
            lambda cells: [
                *cells,
                {**cells[3], "source": "def num_lstm_parameters(a, b): return 12", "metadata": {}},
            ],
            None,
        ),
    ],
)
def test_missing_and_foreign_cells(submit, edit, message):
    path = submit()
    notebook = json.loads(path.read_text())
    notebook["cells"] = edit(notebook["cells"])
    path.write_text(json.dumps(notebook))
    assert (message is None) == (answers(path).problems == {})
    assert message is None or message in answers(path).problems["q1"]


def test_two_different_cells_with_one_grade_id_are_no_answer(submit):
    path = submit()
    notebook = json.loads(path.read_text())
    original = next(c for c in notebook["cells"] if c["metadata"]["nbgrader"]["grade_id"] == "q1")
    notebook["cells"].append({**original, "id": "copy"})
    path.write_text(json.dumps(notebook))
    assert "q1" in answers(path).sources  # twice the same is harmless
    notebook["cells"][-1]["source"] = ["def num_lstm_parameters(a, b):\n", "    return 12\n"]
    path.write_text(json.dumps(notebook))
    assert "q1" not in answers(path).sources and "keep one" in answers(path).problems["q1"]


def test_format_3_is_read(submit, solution):
    path = submit()
    cells = json.loads(path.read_text())["cells"]
    for cell in cells:
        cell["input"] = cell.pop("source")
    path.write_text(json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}))
    assert answers(path).sources == solution


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"cells": 1}', b"[" * 100_000])
def test_what_is_no_notebook_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "ex03.ipynb"
    path.write_bytes(content)
    with pytest.raises(exercises.Unreadable, match=r"not a notebook: .*\.ipynb"):
        answers(path)


def test_a_huge_file_is_not_even_read(tmp_path):
    path = tmp_path / "ex03.ipynb"
    with open(path, "wb") as file:
        file.truncate(exercises.MAX_SUBMISSION_BYTES + 1)
    with pytest.raises(exercises.Unreadable, match="clear all outputs"):
        answers(path)


@pytest.mark.parametrize("metadata", [None, [], "x", {"nbgrader": []}, {"nbgrader": {"grade_id": ["q1"]}}])
def test_odd_metadata_is_ignored(submit, metadata):
    path = submit()
    notebook = json.loads(path.read_text())
    notebook["cells"].append({"cell_type": "code", "source": "1", "metadata": metadata})
    notebook["cells"].append("no cell")
    path.write_text(json.dumps(notebook))
    assert len(answers(path).sources) == 6


def test_stub_comments_and_blanks_are_no_attempt():
    copy = exercises.student_copy("ex03")
    stub = cell_of(copy, "q1").source
    for source in (stub, stub + "\n\n", "", "# todo\n"):
        assert exercises.not_attempted({"q1": source}, copy) == {"q1"}
    assert exercises.not_attempted({"q1": "x = 1"}, copy) == set()
