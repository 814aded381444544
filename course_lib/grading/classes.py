"""A whole class: find the submissions, grade several at once, go on after an interruption, compare again."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from course_lib.cluster import dask_client
from course_lib.errors import CourseError, UsageError
from course_lib.files import write_atomically
from course_lib.grading.checks import exercise_names
from course_lib.grading.exercise import master_path, read_submission
from course_lib.grading.grade import Settings, grade_content, is_current

# Not as a part of a word: alex04 is a student.
_NAMED = r"(?<![A-Za-z0-9]){}(?!\d)"


class Submission(NamedTuple):
    """A file that was handed in; `student` is what it or its folder is called."""

    path: Path
    exercise: str
    student: str


def find_submissions(paths: Iterable[Path], exercise: str | None = None) -> list[Submission]:
    """The notebooks in files and folders, each with its exercise and its student.

    The exercise is the last ex03 or the like in the path that is not the end of a longer word, as in alex04.
    The student is the file's name without it or, if the file is called as the exercise is, the nearest folder
    that is not.

    Args:
        paths: notebooks, or folders that are searched for them.
        exercise: of all of them, whatever they are called.

    Raises:
        UsageError: a path that does not exist, a file that names no exercise, two files of one student for
            one exercise, or no notebook at all.
    """
    files = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist: name notebooks, or folders that hold them.")
        inside = sorted(path.rglob("*.ipynb")) if path.is_dir() else [path]
        files += [file for file in inside if ".ipynb_checkpoints" not in file.parts]
    submissions = [_submission(file, exercise) for file in dict.fromkeys(files)]
    if not submissions:
        raise UsageError("There is no notebook to grade: name .ipynb files, or folders that hold them.")
    seen: dict[tuple[str, str], Path] = {}
    for submission in submissions:
        other = seen.setdefault((submission.exercise, submission.student), submission.path)
        if other != submission.path:
            raise UsageError(
                f"{other} and {submission.path} are both {submission.exercise} of {submission.student}: "
                "keep one."
            )
    return submissions


def grade_class(
    submissions: Iterable[Submission],
    out: Path,
    how: Settings,
    *,
    jobs: int = 2,
    scheduler: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Grades, in the order in which they get ready; each is on disk before it is yielded.

    A grade that is there already is taken over if nothing that it depends on has changed.

    Args:
        submissions: from `find_submissions`.
        out: folder; the grades go into its folder `grades`, one file of JSON each.
        how: from `course_lib.grading.grade.settings`.
        jobs: so many at once on this machine.
        scheduler: address of a Dask cluster, such as tcp://host:8786, whose workers grade instead.

    Raises:
        UsageError: fewer than one job.
        CourseError: the cluster does not answer.
    """
    folder = out / "grades"
    folder.mkdir(parents=True, exist_ok=True)
    with _pool(jobs, scheduler) as pool:
        waiting = {}
        for submission in submissions:
            path = grade_path(folder, submission)
            before = _grade_on_disk(path, submission, how)
            if before is not None:
                yield before
                continue
            # The content travels, since the workers of a cluster need not see this machine's files.
            content = read_submission(submission.path)
            future = pool.submit(grade_content, content, submission.exercise, submission.student, how)
            waiting[future] = path
        try:
            for future in as_completed(waiting):
                grade = future.result()
                write_atomically(waiting[future], json.dumps(grade, indent=1, ensure_ascii=False) + "\n")
                yield grade
        except BaseException:
            for future in waiting:
                future.cancel()
            raise


@contextlib.contextmanager
def _pool(jobs, scheduler):
    if jobs < 1:
        raise UsageError(f"The number of jobs is {jobs}; it must be at least 1.")
    if scheduler is None:
        with ThreadPoolExecutor(jobs) as pool:
            yield pool
        return
    with dask_client(scheduler) as client, client.get_executor(pure=False) as pool:
        yield pool


def verify(
    submissions: Iterable[Submission],
    out: Path,
    how: Settings,
    *,
    jobs: int = 2,
    scheduler: str | None = None,
) -> list[str]:
    """Grades everything anew and returns one sentence for each grade on disk that comes out differently.

    Arguments and errors as in `grade_class`.
    """
    sentences = []
    with _pool(jobs, scheduler) as pool:
        again = [
            (submission, pool.submit(grade_content, content, submission.exercise, submission.student, how))
            for submission in submissions
            for content in [read_submission(submission.path)]
        ]
        for submission, future in again:
            who, after = f"{submission.student}, {submission.exercise}", future.result()
            try:
                path = grade_path(out / "grades", submission)
                before = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                sentences.append(f"{who}: there is no grade to compare with.")
                continue
            if before != after:
                sentences.append(f"{who}: {before.get('points')} points before, {after['points']} now.")
    return sentences


def grade_path(folder: Path, submission: Submission) -> Path:
    """Where the grade of a submission stands; the names of students may hold anything."""
    name = f"{submission.exercise}-{submission.student}"
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:60]}-{digest}.json"


def read_grades(out: Path) -> list[dict[str, Any]]:
    """All grades in a folder, by exercise and student.

    Raises:
        CourseError: there is none, or one is damaged.
    """
    grades = []
    for path in (out / "grades").glob("*.json"):
        try:
            grades.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            raise CourseError(f"{path} is damaged: remove it and grade again.") from None
    if not grades:
        raise CourseError(f"There are no grades in {out}: run `course grade PATH --out {out}` first.")
    return sorted(grades, key=lambda grade: (grade["exercise"], grade["student"]))


def _grade_on_disk(path: Path, submission: Submission, how: Settings) -> dict[str, Any] | None:
    """The grade of an earlier run, if grading again could only give the same one."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        return before if is_current(before, read_submission(submission.path), how) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none yet, or it is damaged


def _submission(path: Path, exercise: str | None) -> Submission:
    known = exercise_names()
    if exercise is None:
        named = [part for part in re.findall(_NAMED.format(r"ex\d\d"), str(path)) if part in known]
        if not named:
            raise UsageError(
                f"{path} does not say which exercise it is ({', '.join(known)}): name it with --exercise."
            )
        exercise = named[-1]
    own = (master_path(exercise).stem, exercise)
    rest = re.sub("|".join(rf"[ _-]*{_NAMED.format(name)}[ _-]*" for name in own), "", path.stem)
    folders = [part for part in path.absolute().parts[:-1] if part not in own]
    return Submission(path, exercise, rest or folders[-1])
