"""`course exercises check`: an exercise is trusted once it has been seen to grade rightly."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from course_lib.errors import UsageError
from course_lib.grading import exercise as exercises
from course_lib.grading.checks import exercise_names, load_exercise
from course_lib.grading.classes import find_submissions
from course_lib.grading.grade import grade_content, settings

_JOBS = 2


def prove(names: Iterable[str], sandbox: str | None = None) -> bool:
    """Grades stub, solution (twice) and every wrong answer of the exercises; prints what each got.

    Returns:
        Whether all got what they should: the stub nothing, the solution everything and twice the same, a
        wrong answer everything but points of its own question, because the check meant for it fails.

    Raises:
        UsageError, CourseError: an unknown exercise or a slip in one, or a sandbox that does not work here.
    """
    slips = []
    how = settings(sandbox)
    for name in list(names) or exercise_names():
        before = len(slips)
        spec, solution = load_exercise(name), exercises.solution_sources(name)
        copy = exercises.student_copy(name)
        slips += [f"{name}: {slip}" for slip in _slips_of_points(spec, copy)]
        stored = exercises.FOLDER / exercises.master_path(name).name
        if not stored.is_file() or nbformat.read(stored, as_version=4) != copy:
            slips.append(f"{name}: the student copy is not up to date: run `course exercises release {name}`")

        def grade(sources, name=name, copy=copy):
            content = nbformat.writes(exercises.rebuild(copy, sources)).encode()
            return grade_content(content, name, "proof", how)

        if grade({})["points"] != 0:
            slips.append(f"{name}: the stub gets points")
        first, second = grade(solution), grade(solution)
        if first["points"] != first["max_points"]:
            missed = [question["id"] for question in first["questions"] if question["status"] != "right"]
            slips.append(f"{name}: the solution misses points in {', '.join(missed)}")
        if first != second:
            slips.append(f"{name}: the solution is not graded the same twice")
        spoiled = [{**solution, wrong.question: wrong.source} for wrong in spec.wrong_answers]
        with ThreadPoolExecutor(_JOBS) as pool:
            for wrong, graded in zip(spec.wrong_answers, pool.map(grade, spoiled), strict=True):
                slips += [f"{name}, {wrong.name}: {slip}" for slip in _slips_of_wrong(wrong, graded)]
                points = f"{graded['points']} of {graded['max_points']}"
                print(f"  {name} {wrong.question}, {wrong.name}: {points}", flush=True)
        print(
            f"{name}: {len(spec.wrong_answers)} wrong answers, {'ok' if len(slips) == before else 'FAILED'}"
        )
    print("\n".join(slips), end="\n" if slips else "")
    return not slips


def check_mine(path: Path, exercise: str | None = None, sandbox: str | None = None) -> bool:
    """Runs the checks that stand in a learner's own notebook, as the grader runs it; prints one line each.

    Raises:
        UsageError, CourseError: no notebook of an exercise, or a sandbox that does not work here.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not a file: name your notebook.")
    (submission,) = find_submissions([path], exercise)
    graded = grade_content(
        exercises.read_submission(path), submission.exercise, "mine", settings(sandbox, hidden=False)
    )
    for question in graded["questions"]:
        print(f"{question['id']}: {question['status']}{question['message'] and '. ' + question['message']}")
    print(
        f"{graded['points']} of {graded['max_points']} points by the checks in the notebook; "
        "the grader uses other inputs."
    )
    return graded["points"] == graded["max_points"]


def _slips_of_points(spec, copy):
    points = exercises.questions(copy)
    for question, number in points.items():
        given = sum(check.points for check in spec.checks if check.question == question)
        if given != number:
            yield f"{question} has {number} points, its checks give {given}"
    total = sum(points.values())
    if not 10 <= total <= 20 or not 4 <= len(points) <= 7:
        yield f"an exercise has 4 to 7 questions and 10 to 20 points, not {len(points)} and {total}"
    if len({check.name for check in spec.checks}) != len(spec.checks):
        yield "two checks have the same name"
    for question in points:
        if not any(wrong.question == question for wrong in spec.wrong_answers):
            yield f"{question} has no wrong answer"


def _slips_of_wrong(wrong, graded):
    for question in graded["questions"]:
        if question["id"] != wrong.question:
            if question["points"] != question["max_points"]:
                yield f"{question['id']} loses points, which it does not concern"
            continue
        failed = {check["name"]: check for check in question["checks"] if check["status"] != "right"}
        if wrong.fails not in failed:
            yield f"the check {wrong.fails} lets it pass"
        elif failed[wrong.fails]["status"] != "wrong" or not failed[wrong.fails]["message"]:
            yield f"it is {failed[wrong.fails]['status']} instead of wrong"
