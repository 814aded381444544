"""A class of two hundred whose true scores are known: are all graded so, how fast, and what is left behind?

    python tests/benchmarks/grade_class.py [--students 200] [--jobs 2]

Most submissions mix right and wrong answers to exercise 03; their true score is found without the grader, by
calling the answers in this process. One of each hostile submission is among them.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "grading"))
import hostile

from course_lib.grading import classes
from course_lib.grading import exercise as exercises
from course_lib.grading.checks import load_exercise
from course_lib.grading.grade import _SEED, settings
from course_lib.grading.reports import write_reports
from course_lib.grading.values import difference

NAME = "ex03"


def true_points(sources: dict[str, str]) -> int:
    """Points of plain answers, by calling them here."""
    copy, points = exercises.student_copy(NAME), 0
    namespace: dict = {}
    for cell in copy.cells:
        grade_id = cell.metadata.nbgrader.grade_id
        if cell.cell_type == "code" and not grade_id.endswith("-checks"):
            exec(sources.get(grade_id, cell.source), namespace)
    for check in load_exercise(NAME).checks:
        cases = check.inputs(np.random.default_rng([_SEED, *check.name.encode()]))
        with np.errstate(all="ignore"):
            try:
                answers = [eval(check.call, namespace, {"args": case}) for case in cases]
            except NotImplementedError:
                continue
        right = [
            difference(check.oracle(*case), answer, check.tolerance) is None
            for case, answer in zip(cases, answers, strict=True)
        ]
        points += check.points * all(right)
    return points


def make_class(folder: Path, num_students: int) -> dict[str, int]:
    """Writes the submissions; student → true points."""
    random = np.random.default_rng(0)
    copy, solution = exercises.student_copy(NAME), exercises.solution_sources(NAME)
    wrong = load_exercise(NAME).wrong_answers
    truth = {}
    for name, (source, _, points) in hostile.CASES.items():
        _write(folder, name, copy, {**solution, "q2": source})
        truth[name] = points
    for number in range(num_students - len(truth)):
        sources = dict(solution)
        for answer in random.permutation(np.array(wrong, dtype=object))[: random.integers(0, 5)]:
            sources[answer.question] = answer.source
        for question in random.permutation(list(sources))[: random.integers(0, 3)]:
            del sources[question]
        name = f"student {number:03d}"
        _write(folder, name, copy, sources)
        truth[name] = true_points(sources)
    return truth


def _write(folder, name, copy, sources):
    nbformat.write(exercises.rebuild(copy, sources), folder / f"{name}_{NAME}.ipynb")


def main() -> None:
    """Make the class, grade it, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        submitted, out = Path(folder) / "submitted", Path(folder) / "graded"
        submitted.mkdir()
        truth = make_class(submitted, arguments.students)
        submissions = classes.find_submissions([submitted])
        before = set(psutil.pids())
        began = time.perf_counter()
        grades = list(classes.grade_class(submissions, out, settings(), jobs=arguments.jobs))
        seconds = time.perf_counter() - began
        write_reports(classes.read_grades(out), out)
        left = [process for process in psutil.process_iter(["cmdline"]) if process.pid not in before]
        wrong = {
            grade["student"]: grade["points"]
            for grade in grades
            if grade["points"] != truth[grade["student"]]
        }
    print(f"{len(grades)} submissions in {seconds / 60:.1f} min with {arguments.jobs} jobs")
    print(f"most memory of the grader {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
    print(f"processes that are new since: {[process.info['cmdline'] for process in left]}")
    print(f"graded otherwise than known: {wrong or 'none'}")


if __name__ == "__main__":
    main()
