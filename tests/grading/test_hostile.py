"""Nothing that a student writes raises a score, stops the batch, or leaves a process behind."""

import dataclasses
import json
import subprocess
import sys
import time

import hostile
import nbformat
import psutil
import pytest

from course_lib.files import REPOSITORY
from course_lib.grading import classes, grade
from course_lib.grading.checks import load_exercise
from course_lib.grading.exercise import read_submission
from course_lib.grading.grade import grade_content
from course_lib.grading.prove import check_mine
from course_lib.grading.reports import feedback, write_reports

pytestmark = pytest.mark.skipif(
    subprocess.run(
        [sys.executable, "-c", "from course_lib.grading.sandbox import _namespaces_work as w; exit(not w())"],
        check=False,
    ).returncode
    != 0,
    reason="this machine lets nobody make namespaces: the sandbox cannot be tested here",
)


@pytest.fixture(scope="module", autouse=True)
def short_limits():
    """The same limits, only lower: what is over them is over the real ones."""
    spec = dataclasses.replace(load_exercise("ex03"), cell_seconds=6, total_seconds=40, memory_mb=600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade, "load_exercise", lambda name: spec)
        yield


def grade_file(path, name, student, how):
    return grade_content(read_submission(path), name, student, how)


@pytest.fixture(scope="module")
def graded(tmp_path_factory, how):
    """All of `hostile.CASES`, graded as one class by two jobs."""
    folder = tmp_path_factory.mktemp("class")
    copy = grade.exercises.student_copy("ex03")
    for name, (source, *_) in hostile.CASES.items():
        sources = {**grade.exercises.solution_sources("ex03"), "q2": source}
        nbformat.write(grade.exercises.rebuild(copy, sources), folder / f"{name}_ex03.ipynb")
    out = tmp_path_factory.mktemp("out")
    submissions = classes.find_submissions([folder])
    before = {process.pid for process in psutil.process_iter()}
    grades = {each["student"]: each for each in classes.grade_class(submissions, out, how, jobs=2)}
    write_reports(classes.read_grades(out), out)
    left = [process.info for process in psutil.process_iter(["pid", "cmdline"]) if process.pid not in before]
    return grades, out, [info for info in left if "98765" in (info["cmdline"] or [])]


@pytest.mark.parametrize("name", hostile.CASES)
def test_it_gets_what_it_deserves(graded, name):
    _, status, points = hostile.CASES[name]
    result = graded[0][name]
    assert (result["questions"][1]["status"], result["points"]) == (status, points), result["questions"]
    assert all(question["status"] != "our fault" for question in result["questions"])


def test_no_process_is_left(graded):
    assert graded[2] == []


def test_reports_are_escaped_and_hold_no_formula(graded):
    _, out, _ = graded
    pages = [path.read_text(encoding="utf-8") for path in (out / "feedback").glob("*.html")]
    assert len(pages) == len(hostile.CASES)
    assert not any("<script>" in page for page in pages)
    rows = (out / "grades.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(rows) == len(hostile.CASES) + 1


def test_a_hidden_input_does_not_reach_the_student(submit, how):
    source = hostile.HEAD + "    raise ValueError(f'{x} {hidden} {cell}')"
    text = json.dumps(grade_file(submit(q2=source), "ex03", "spy", how))
    assert "It raised ValueError." in text and "[" not in text.split("It raised")[1][:20]


def test_20000_displays(submit, how):
    source = "from IPython.display import display\nfor i in range(20_000): display(i)\n" + hostile.SOLUTION
    result = grade_file(submit(q2=source), "ex03", "anna", how)
    # They may take longer than a cell is given here, but they harm no other question.
    assert (result["questions"][1]["status"], result["points"]) in [("right", 16), ("timed out", 13)]


def test_fork_bomb(submit, how):
    result = grade_file(submit(q2=hostile.FORK_BOMB), "ex03", "bomb", how)
    assert result["points"] <= 13
    assert result["questions"][1]["status"] in ("crashed", "out of memory", "timed out")


def test_many_cells_just_under_the_limit(submit, how):
    slow = "import time\ntime.sleep(5)\n"
    began = time.monotonic()
    answers = {grade_id: slow + text for grade_id, text in grade.exercises.solution_sources("ex03").items()}
    result = grade_file(submit(**answers), "ex03", "slow", how)
    assert time.monotonic() - began < 100
    assert result["points"] == 16  # six times five seconds are allowed


def test_no_time_left(submit, how, monkeypatch):
    spec = dataclasses.replace(load_exercise("ex03"), cell_seconds=6, total_seconds=9)
    monkeypatch.setattr(grade, "load_exercise", lambda name: spec)
    answers = {question: "while True: pass" for question in ("q2", "q3", "q4", "q5")}
    result = grade_file(submit(**answers), "ex03", "slow", how)
    assert result["points"] <= 4  # of the first and the last question, as far as their turn came
    assert {question["status"] for question in result["questions"][1:5]} == {"timed out"}


def test_a_slip_of_the_grader_costs_nobody_anything(submit, how, monkeypatch):
    monkeypatch.setattr(grade, "execute", lambda *_, **__: 1 / 0)
    result = grade_file(submit(), "ex03", "anna", how)
    assert {question["status"] for question in result["questions"]} == {"our fault"}
    assert not grade.is_current(result, b"", how)


def test_a_correct_answer_after_a_failed_cell_counts(submit, how):
    result = grade_file(submit(q1="1 / 0"), "ex03", "anna", how)
    assert result["points"] == 14
    assert result["questions"][0]["message"] == "The answer cell raised ZeroDivisionError."


def test_blank_and_unreadable_submissions(submit, how, tmp_path):
    blank = grade_file(submit(**dict.fromkeys(["q1", "q2", "q3", "q4", "q5", "q6"])), "ex03", "anna", how)
    assert {question["status"] for question in blank["questions"]} == {"not attempted"}
    path = tmp_path / "broken_ex03.ipynb"
    path.write_text("{")
    assert grade_file(path, "ex03", "ben", how)["points"] == 0


@pytest.mark.parametrize("name", ["{x}", "with spaces", "小明", "=CMD()", "a'b\"c", "<script>"])
def test_odd_names(tmp_path, submit, how, name):
    path = submit()
    folder = tmp_path / name
    folder.mkdir()
    path = path.rename(folder / "ex03.ipynb")
    (submission,) = classes.find_submissions([folder])
    assert submission.student == name
    out = tmp_path / "out"
    (result,) = classes.grade_class([submission], out, how)
    write_reports([result], out)
    assert result["points"] == 16
    (page,) = (out / "feedback").iterdir()
    assert "<script>" not in page.read_text(encoding="utf-8")
    assert "\n=CMD" not in (out / "grades.csv").read_text(encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("path", "exercise", "student"),
    [
        ("ex03_alex04.ipynb", "ex03", "alex04"),
        ("ex03/rex01.ipynb", "ex03", "rex01"),
        ("alex04/ex03_building_the_bilstm.ipynb", "ex03", "alex04"),
        ("ben ex05.ipynb", "ex05", "ben"),
        ("ex04/ex05-ann.ipynb", "ex05", "ann"),
    ],
)
def test_names_that_look_like_exercises(tmp_path, path, exercise, student):
    path = tmp_path / path
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    (submission,) = classes.find_submissions([path])
    assert submission == (path, exercise, student)


def test_variants_differ_between_students_and_not_between_runs(submit):
    how = grade.settings(variants="a secret of sixteen")
    first, second = (grade_file(submit(), "ex03", student, how) for student in ("anna", "ben"))
    assert first["points"] == second["points"] == 16
    assert first["provenance"]["seed"] != second["provenance"]["seed"]
    assert grade_file(submit(), "ex03", "anna", how) == first


def test_resume_and_verify(submit, how, tmp_path, monkeypatch):
    path, out = submit(), tmp_path / "out"
    submissions = classes.find_submissions([path])
    (first,) = classes.grade_class(submissions, out, how)
    real = classes.grade_content
    monkeypatch.setattr(classes, "grade_content", lambda *_: pytest.fail("graded again"))
    assert list(classes.grade_class(submissions, out, how)) == [first]
    monkeypatch.setattr(classes, "grade_content", real)
    assert classes.verify(submissions, out, how) == []
    (stored,) = (out / "grades").iterdir()
    stored.write_text(stored.read_text().replace('"points": 16,', '"points": 17,', 1))
    assert "17 points before, 16 now" in classes.verify(submissions, out, how)[0]
    submit(q1=None)
    (after,) = classes.grade_class(submissions, out, how)
    assert after["points"] == 14
    stored.write_text("{")
    with pytest.raises(classes.CourseError, match="is damaged: remove it and grade again"):
        classes.read_grades(out)
    (again,) = classes.grade_class(submissions, out, how)
    assert again == after and classes.read_grades(out) == [after]
    with pytest.raises(classes.UsageError, match="at least 1"):
        classes.verify(submissions, out, how, jobs=0)
    assert not grade.is_outdated(after)
    for part in ("checks", "master"):
        assert grade.is_outdated({**after, "provenance": {**after["provenance"], part: "0" * 64}})
    assert grade.is_outdated({**after, "exercise": "ex99"})


def test_a_dask_cluster_grades_the_same(submit, how, tmp_path):
    from distributed import LocalCluster

    submissions = classes.find_submissions([submit(), submit("ben", q1=None)])
    (first, second) = sorted(
        classes.grade_class(submissions, tmp_path / "here", how), key=lambda g: g["student"]
    )
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        there = classes.grade_class(submissions, tmp_path / "there", how, scheduler=cluster.scheduler_address)
        assert sorted(there, key=lambda g: g["student"]) == [first, second]
    with pytest.raises(classes.CourseError, match="No Dask scheduler"):
        list(classes.grade_class(submissions, tmp_path / "no", how, scheduler="tcp://127.0.0.1:9"))


def test_feedback_says_what_and_where(submit, how):
    page = feedback(
        grade_file(
            submit(q5=hostile.HEAD.replace("lstm_step", "masked_mean") + "    return 1"), "ex03", "anna", how
        )
    )
    assert "13 of 16 points" in page
    assert "See 03_building_the_bilstm, “7 Padding must not change the answer”." in page


@pytest.mark.parametrize(
    ("returned", "name"), [("map(abs, hidden)", "map"), ("(hidden, range(2))", "range"), ("type", "type")]
)
def test_an_answer_that_cannot_be_compared_is_wrong_and_its_type_is_named(submit, how, returned, name):
    result = grade_file(submit(q2=hostile.HEAD + f"    return {returned}"), "ex03", "anna", how)
    (check,) = result["questions"][1]["checks"]
    assert check["status"] == "wrong" and f"cannot be compared ({name}): return plain" in check["detail"]


def test_a_long_type_name_is_cut(submit, how):
    source = hostile.HEAD + "    return type('x' * 5_000, (), {})()"
    (check,) = grade_file(submit(q2=source), "ex03", "anna", how)["questions"][1]["checks"]
    assert f"({'x' * 100}):" in check["detail"]


def test_check_mine_says_in_one_line_each_what_failed(submit, how, capsys):
    answers = {
        "q1": "def num_lstm_parameters(a, b): return 1",
        "q2": "1 / 0",
        "q6": "def masked_max(states, mask): return states.max(axis=0)",
    }
    assert not check_mine(submit(**answers))
    lines = capsys.readouterr().out.splitlines()
    bare = "An assertion in the cell below the answer does not hold: run it to see which."
    assert lines[0] == f"q1: wrong. {bare}"
    assert lines[1].startswith("q2: crashed. NameError: ") and lines[2] == "q3: right"
    assert lines[5].startswith("q6: wrong. AssertionError: Not equal to tolerance") and len(lines) == 7
    with pytest.raises(classes.UsageError, match="is not a file: name your notebook"):
        check_mine(submit(**answers).parent)


def test_the_sandbox_shows_neither_checks_nor_other_files(submit, how):
    source = (
        "import os\n"
        f"assert not os.path.exists({str(REPOSITORY / 'tests')!r})\n"
        f"assert not os.listdir({str(REPOSITORY / 'course_lib' / 'grading')!r})\n"
        "assert sorted(os.listdir('/scratch')) and not os.path.exists('/home')\n"
        "try:\n    open('/usr/x', 'w')\nexcept OSError: pass\nelse: raise SystemError\n" + hostile.SOLUTION
    )
    assert grade_file(submit(q2=source), "ex03", "anna", how)["points"] == 16
