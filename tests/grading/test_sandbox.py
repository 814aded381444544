"""Each backend that this machine has keeps a student's notebook from the same things."""

import dataclasses
import json

import jsonschema
import psutil
import pytest

from course_lib.errors import CourseError, UsageError
from course_lib.grading import exercise as exercises
from course_lib.grading import grade, sandbox
from course_lib.grading.checks import load_exercise

BACKENDS = ("namespaces", "docker")


@pytest.fixture(scope="module", params=BACKENDS)
def closed(request):
    """Settings with a sandbox that closes off files and network."""
    try:
        return grade.settings(request.param)
    except CourseError as error:
        pytest.skip(str(error))


def grade_file(path, how):
    return grade.grade_content(exercises.read_submission(path), "ex03", "anna", how)


def test_the_solution_gets_everything_in_every_backend(submit):
    results = []
    for name in sandbox.BACKENDS:
        try:
            result = grade_file(submit(), grade.settings(name))
        except CourseError:
            continue
        assert result["points"] == 16 and result["provenance"]["sandbox"] == name
        results.append(result["questions"])
    assert results and all(result == results[0] for result in results)


@pytest.mark.parametrize(
    "source",
    [
        "import socket\nsocket.create_connection(('1.1.1.1', 80), timeout=2)",
        "open('/usr/x', 'w')",
        "import os\nos.stat('/home')",
        "from course_lib.grading import checks",
    ],
)
def test_no_network_no_writing_no_checks(submit, solution, closed, source):
    result = grade_file(submit(q2=source + "\n" + solution["q2"]), closed)
    assert (result["questions"][1]["status"], result["points"]) == ("crashed", 13)


def test_memory_is_limited(submit, closed, monkeypatch):
    spec = dataclasses.replace(load_exercise("ex03"), memory_mb=600)
    monkeypatch.setattr(grade, "load_exercise", lambda name: spec)
    greedy = "kept = bytearray(3 * 10**9)\nfor i in range(0, len(kept), 4096): kept[i] = 1"
    result = grade_file(submit(q2=greedy), closed)
    assert result["points"] == 13
    assert result["questions"][1]["status"] in ("out of memory", "crashed")


def test_unknown_and_missing_backends(monkeypatch):
    with pytest.raises(UsageError, match="namespaces"):
        sandbox.choose_backend("namespace")
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox._docker_works.cache_clear()
    for name in BACKENDS:
        with pytest.raises(CourseError, match="--sandbox limits"):
            sandbox.choose_backend(name)
    assert sandbox.choose_backend() == "limits"
    sandbox._docker_works.cache_clear()


@pytest.mark.parametrize("limits", [(0, 10, 100), (5, 0, 100), (5, 10, 0)])
def test_limits_must_be_positive(limits):
    cell, total, memory = limits
    with pytest.raises(UsageError, match="at least one second"):
        sandbox.execute(
            {}, "n", backend="limits", datasets=(), cell_seconds=cell, total_seconds=total, memory_mb=memory
        )


def copy_with_slow_given_cell(source):
    copy = exercises.student_copy("ex03")
    place = next(i for i, cell in enumerate(copy.cells) if cell.metadata.nbgrader.grade_id == "q5")
    given = exercises.nbformat.v4.new_code_cell(source)
    given.metadata.nbgrader = {"grade_id": "given", "schema_version": 3, "solution": False, "grade": False}
    copy.cells.insert(place, given)
    return copy


def grade_with_given_cell(monkeypatch, submit, given, how, **answers):
    spec = dataclasses.replace(load_exercise("ex03"), cell_seconds=3)
    monkeypatch.setattr(grade, "load_exercise", lambda name: spec)
    copy = copy_with_slow_given_cell(given)
    monkeypatch.setattr(exercises, "student_copy", lambda name: copy)
    return grade_file(submit(**answers), how)


def test_a_given_cell_that_is_too_slow_is_our_fault(submit, how, monkeypatch):
    result = grade_with_given_cell(monkeypatch, submit, "while True: pass", how)
    assert {question["status"] for question in result["questions"]} == {"our fault"}


def test_an_answer_that_slows_a_given_cell_down_is_not(submit, how, monkeypatch):
    given = "for _ in range(BOUND if 'BOUND' in globals() else 1): pass"
    spoiling = "BOUND = 10**15\n" + exercises.solution_sources("ex03")["q4"]
    result = grade_with_given_cell(monkeypatch, submit, given, how, q4=spoiling)
    assert [question["status"] for question in result["questions"]] == ["right"] * 3 + ["timed out"] + [
        "right"
    ] * 2


def test_a_kernel_that_dies_in_the_last_cell(submit, how):
    source = "def masked_max(states, mask):\n    import os\n    os._exit(0)"
    result = grade_file(submit(q6=source), how)
    assert (result["questions"][-1]["status"], result["points"]) == ("crashed", 14)


def test_the_schema_of_a_grade(submit, how, tmp_path):
    schema = json.loads((sandbox._GRADING / "grade.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["format"]["const"] == grade.FORMAT
    assert tuple(schema["$defs"]["status"]["enum"]) == grade.STATUSES
    assert tuple(schema["$defs"]["provenance"]["properties"]["sandbox"]["enum"]) == sandbox.BACKENDS
    unreadable = tmp_path / "x_ex03.ipynb"
    unreadable.write_text("{")
    for path in (submit(q1="import sklearn.metrics", q2="while", q3="1 / 0", q4=None), unreadable):
        jsonschema.validate(grade_file(path, how), schema)


def test_what_an_answer_imports_is_told_to_the_teacher():
    copy = exercises.student_copy("ex03")
    source = "import numpy as np\nimport os.path, sys\ndef f():\n    from sklearn.metrics import f1_score\n"
    assert exercises.foreign_imports(source, copy) == ["os.path", "sklearn.metrics", "sys"]
    assert exercises.foreign_imports("import numpy (", copy) == []


def test_the_solutions_are_hidden_where_the_course_lies_below_a_mounted_folder(submit, closed, monkeypatch):
    mounts = sandbox._mounts
    course = str(sandbox.REPOSITORY)
    monkeypatch.setattr(sandbox, "_mounts", lambda datasets: [*mounts(datasets), (course, course)])
    source = f"import os\nassert os.path.isdir({course!r}) and not os.listdir({course + '/notebooks'!r})\n"
    result = grade_file(submit(q2=source + exercises.solution_sources("ex03")["q2"]), closed)
    assert result["points"] == 16


def test_a_sandbox_that_cannot_start_leaves_no_pipe_open(monkeypatch):
    before = psutil.Process().num_fds()
    monkeypatch.setitem(sandbox._COMMANDS, "limits", lambda *_: (["no-such-program"], {}))
    with pytest.raises(FileNotFoundError):
        sandbox.execute(
            {}, "n", backend="limits", datasets=(), cell_seconds=1, total_seconds=1, memory_mb=100
        )
    assert psutil.Process().num_fds() == before
