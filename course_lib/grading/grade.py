"""From submissions to grades: rebuild, execute in the sandbox, compare here, explain every point."""

import functools
import hashlib
import hmac
import importlib.metadata
import json
import platform
import secrets
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from nbformat.v4 import new_code_cell

from course_lib.errors import UsageError
from course_lib.grading import exercise as exercises
from course_lib.grading.checks import Check, Exercise, checks_hash, exercise_names, load_exercise
from course_lib.grading.execute import OUT_OF_TIME
from course_lib.grading.sandbox import Run, choose_backend, execute
from course_lib.grading.values import ENCODER_SOURCE, Undecodable, decode, decode_json, difference, literal

FORMAT = "course.grade/1"
STATUSES = (
    "right",
    "partly right",
    "wrong",
    "crashed",
    "timed out",
    "out of memory",
    "not attempted",
    "our fault",
)
_SEED = 2024
_MEMORY_ERRORS = ("MemoryError", "_ArrayMemoryError", "ResourceExhaustedError")
_CHECK = "check-"
_INCOMPARABLE = (
    "The answer is, or holds, something that cannot be compared ({}): return plain numbers, text, lists, "
    "tuples, dicts or NumPy arrays."
)
_WAIT = "import time\ntime.sleep(0.5)"


class Settings(NamedTuple):
    """How a class is graded.

    Attributes:
        backend: of the sandbox.
        variants: a secret; if given, each student gets inputs of their own, derived from it and their name.
        hidden: whether the hidden checks run; without them only those in the notebook count.
    """

    backend: str
    variants: str | None = None
    hidden: bool = True


def settings(sandbox: str | None = None, variants: str | None = None, hidden: bool = True) -> Settings:
    """Settings with the sandbox that this machine allows.

    Raises:
        UsageError, CourseError: as `choose_backend`; or the secret of the variants is too short.
    """
    if variants is not None and len(variants) < 16:
        raise UsageError(
            "The secret of --variants must have at least 16 characters, or students can guess it."
        )
    return Settings(choose_backend(sandbox), variants, hidden)


def grade_content(content: bytes, name: str, student: str, how: Settings) -> dict[str, Any]:
    """One submission's grade, as plain JSON; whatever the submission does, this returns.

    Args:
        content: of the notebook that was handed in, from `read_submission`.
        name: of the exercise, such as ex03.
        student: identifies the student in the reports, and derives the inputs of a variant.
        how: from `settings`.
    """
    spec, copy = load_exercise(name), exercises.student_copy(name)
    origin = provenance(content, name, student, how)
    try:
        answers = exercises.read_answers(content, copy)
    except exercises.Unreadable as error:
        unread = dict.fromkeys(exercises.answer_ids(copy), ("not attempted", str(error)))
        return _grade(name, student, origin, copy, spec, unread, {}, {})
    stubs = exercises.not_attempted(answers.sources, copy)
    stopped = {grade_id: ("not attempted", reason) for grade_id, reason in answers.problems.items()}
    stopped |= dict.fromkeys(stubs, ("not attempted", "The answer cell is as it was."))
    sources = {grade_id: text for grade_id, text in answers.sources.items() if grade_id not in stubs}
    try:
        results = _execute_all(sources, stopped, copy, spec, origin["seed"], how)
    except Exception as error:  # a slip of the grader's must neither cost points nor stop the class
        reason = f"The grader failed: {type(error).__name__}: {error}"
        results, stopped = {}, {**dict.fromkeys(sources, ("our fault", reason)), **stopped}
    imports = {grade_id: exercises.foreign_imports(text, copy) for grade_id, text in sources.items()}
    return _grade(name, student, origin, copy, spec, stopped, results, imports)


def is_outdated(grade: Mapping[str, Any]) -> bool:
    """Whether the exercise or its checks are others now, so that the grade compares with no new one."""
    if grade["format"] != FORMAT or grade["exercise"] not in exercise_names():
        return True
    now = _exercise_hashes(grade["exercise"])
    return now != {part: grade["provenance"][part] for part in now}


def is_current(grade: Mapping[str, Any], content: bytes, how: Settings) -> bool:
    """Whether grading the submission again could only give the same grade."""
    wanted = provenance(content, grade["exercise"], grade["student"], how)
    faults = [question for question in grade["questions"] if question["status"] == "our fault"]
    return grade["format"] == FORMAT and grade["provenance"] == wanted and not faults


def _execute_all(sources, stopped, copy, spec, seed, how):
    """Runs until every question has had its turn; one that stops the kernel is left out the next time.

    Adds to `stopped` the questions that did, and returns results by check, or by question where the checks of
    the notebook count.
    """
    results, sources, owners, careful = {}, dict(sources), {}, False
    seconds_left = 2 * spec.total_seconds

    def run_with(sources):
        nonce = secrets.token_hex(16)
        notebook = exercises.rebuild(copy, sources)
        places = _add_checks(notebook, sources, spec, seed, nonce, how.hidden, careful)
        notebook = json.loads(json.dumps(notebook))
        run = execute(
            notebook,
            nonce,
            backend=how.backend,
            datasets=spec.datasets,
            cell_seconds=spec.cell_seconds,
            total_seconds=min(spec.total_seconds, int(seconds_left)),
            memory_mb=spec.memory_mb,
        )
        return run, notebook, places

    while sources:
        run, notebook, places = run_with(sources)
        seconds_left -= run.seconds
        ended = {event["ended"]: event for event in run.events if isinstance(event.get("ended"), str)}
        results |= {place: ended[place] for place in [*places, *sources] if place in ended}
        owners |= places
        if _finished(run):
            break
        where, given = _stopped_in(run, notebook, sources)
        if where is None or (given and not _finished(run_with({})[0])):
            reason = (
                "The exercise does not run here without any answer" if given else "The grader could not run"
            )
            stopped |= dict.fromkeys(sources, ("our fault", f"{reason}: {run.stderr[-300:]}"))
            break
        if any(event.get("stopped") == "DeadKernelError" for event in run.events) and not careful:
            careful = True  # exit() ends the kernel a moment later, when another question has its turn
            continue
        stopped[where] = _reason(run, spec)
        del sources[where]
        if seconds_left < 1:
            late = ("timed out", f"The notebook as a whole took more than {spec.total_seconds} s.")
            seen = {owners.get(place) for place in results}
            stopped |= dict.fromkeys(set(sources) - seen, late)
            break
    return results


def _finished(run):
    return any("finished" in event for event in run.events)


def _add_checks(notebook, sources, spec, seed, nonce, hidden, careful):
    """Puts the checks behind each question; returns cell id → question of the cells that count.

    Where one must be `careful`, a cell after each answer waits for a kernel that is about to end.
    """
    cells, places = [], {}
    for cell in notebook.cells:
        grade_id = cell.metadata.nbgrader.grade_id
        cell.id = grade_id
        cells.append(cell)
        if careful and grade_id in sources:
            cells.append(new_code_cell(_WAIT, id=f"{grade_id}-wait", metadata={"nbgrader": {}}))
        question = grade_id.removesuffix("-checks")
        if question == grade_id or question not in sources:
            continue
        if not hidden:
            places[grade_id] = question
        for check in spec.checks if hidden else ():
            if check.question == question:
                source = _check_source(check, seed, nonce)
                cells.append(new_code_cell(source, id=_CHECK + check.name, metadata={"nbgrader": {}}))
                places[_CHECK + check.name] = question
    notebook.cells = cells
    return places


def _check_source(check: Check, seed: int, nonce: str) -> str:
    return f"""
def _{nonce}():
    import json
    import numpy
{_indented(ENCODER_SOURCE.format(name="encode"))}
    results = []
    for args in {_prepared(check, seed)[0]}:
        try:
            value = {check.call}
        except Exception as error:
            results.append(["error", type(error).__name__])
            continue
        try:
            results.append(["value", encode(value)])
        except MemoryError:
            results.append(["error", "MemoryError"])
        except Exception as error:
            results.append(["type", str(error)])
    print("\\n{nonce}" + json.dumps(results))
_{nonce}()
"""


@functools.lru_cache(maxsize=256)
def _prepared(check: Check, seed: int) -> tuple[str, list]:
    """The inputs of a check as source, and the right answers to them."""
    cases = check.inputs(np.random.default_rng([seed, *check.name.encode()]))
    source = literal(cases)
    return source, [check.oracle(*arguments) for arguments in cases]


def _indented(source):
    return "".join("    " + line if line.strip() else line for line in source.splitlines(keepends=True))


def _stopped_in(run: Run, notebook: Mapping, sources: Mapping) -> tuple[str | None, bool]:
    """The question that stopped the run and whether it is only suspected, since a given cell was running.

    It is that of the cell which began last or, for a given cell, the last question before it.
    """
    began = [event["begins"] for event in run.events if isinstance(event.get("begins"), str)]
    if not began:
        return None, False
    question, given = None, True
    for cell in notebook["cells"]:
        grade_id = cell["metadata"]["nbgrader"].get("grade_id")
        if grade_id in sources:
            question, given = grade_id, False
        elif grade_id is not None and grade_id != f"{question}-checks":
            given = True
        if cell["id"] == began[-1]:
            return question, given
    return None, False


def _reason(run: Run, spec: Exercise) -> tuple[str, str]:
    """Status and message for what stopped a run."""
    stop = next((event for event in run.events if "stopped" in event), {})
    if run.watched.limit == "memory":
        return "out of memory", f"It used more than {spec.memory_mb / 1000:g} GB of memory."
    if run.watched.limit == "processes":
        return "crashed", "It started too many processes."
    if run.watched.limit == "time" or stop.get("stopped") == OUT_OF_TIME:
        return "timed out", f"The notebook as a whole took more than {spec.total_seconds} s."
    if run.flooded:
        return "crashed", "It wrote more than the grader reads."
    if stop.get("stopped") == "CellTimeoutError":
        return "timed out", f"It took more than {spec.cell_seconds} s."
    return "crashed", "It ended the Python process."


def _grade(name, student, origin, copy, spec, stopped, results, imports):
    graded, hidden, seed = [], origin["hidden_checks"], origin["seed"]
    for question, points in exercises.questions(copy).items():
        checks = [check for check in spec.checks if check.question == question]
        if question in stopped:
            status, message = stopped[question]
            rows = [_row(check, status, "") for check in checks] if hidden else []
            graded.append(_question(question, points, rows, status, message))
        elif hidden:
            rows = [_judge(check, results.get(_CHECK + check.name), seed) for check in checks]
            status, error = _status(rows), results.get(question, {}).get("error")
            # The name alone: a message could hold what the checks of earlier questions put in.
            message = f"The answer cell raised {error[0]}." if status == "crashed" and error else ""
            graded.append(_question(question, points, rows, status, message))
        else:
            graded.append(_visible(question, points, results.get(f"{question}-checks")))
        graded[-1]["imports"] = imports.get(question, [])
    return {
        "format": FORMAT,
        "exercise": name,
        "student": student,
        "points": sum(question["points"] for question in graded),
        "max_points": sum(question["max_points"] for question in graded),
        "questions": graded,
        "provenance": origin,
    }


def provenance(content: bytes, name: str, student: str, how: Settings) -> dict[str, Any]:
    """What a grade depends on: if all of it is the same, so is the grade."""
    return {
        "submission": hashlib.sha256(content).hexdigest(),
        **_exercise_hashes(name),
        "environment": _environment_hash(),
        "seed": _seed(name, student, how),
        "sandbox": how.backend,
        "hidden_checks": how.hidden,
    }


def _exercise_hashes(name):
    master = exercises.master_path(name).read_bytes()
    return {"checks": checks_hash(name), "master": hashlib.sha256(master).hexdigest()}


def _judge(check: Check, result: Mapping | None, seed: int) -> dict[str, Any]:
    """One hidden check: whatever is not exactly the right answer is none."""
    if result is None:
        return _row(check, "crashed", "The check could not be run.")
    marked = result.get("marked")
    if not isinstance(marked, list) or len(marked) != 1 or not isinstance(marked[0], str):
        return _row(check, "crashed", "The answer changed how Python prints or writes JSON.")
    right = _prepared(check, seed)[1]
    try:
        answers = decode_json(marked[0])
        if not isinstance(answers, list) or len(answers) != len(right):
            raise Undecodable("not one answer for each case")
        for expected, answer in zip(right, answers, strict=True):
            if not isinstance(answer, list) or len(answer) != 2:
                raise Undecodable("not an answer")
            if answer[0] == "error":
                error = str(answer[1])[:100]
                status = "out of memory" if error in _MEMORY_ERRORS else "crashed"
                return _row(check, status, f"It raised {error}.")
            if answer[0] == "type":
                return _row(check, "wrong", _INCOMPARABLE.format(str(answer[1])[:100]))
            reason = difference(expected, decode(answer[1]), check.tolerance)
            if reason is not None:
                return _row(check, "wrong", f"In one case {reason}.")
    except Undecodable as error:
        return _row(check, "wrong", f"The answer is no plain value ({error}).")
    return _row(check, "right", "")


def _row(check, status, detail):
    right = status == "right"
    return {
        "name": check.name,
        "points": check.points if right else 0,
        "max_points": check.points,
        "status": status,
        "detail": detail,
        "message": "" if right else check.message,
        "hint": "" if right else check.hint,
    }


def _question(question, points, rows, status, message):
    return {
        "id": question,
        "points": sum(row["points"] for row in rows),
        "max_points": points,
        "status": status,
        "message": message,
        "checks": rows,
    }


def _status(rows):
    statuses = [row["status"] for row in rows]
    if set(statuses) == {"right"}:
        return "right"
    return "partly right" if "right" in statuses else max(statuses, key=STATUSES.index)


def _visible(question, points, result):
    """By the notebook's own checks alone: all points or none."""
    error = None if result is None else result.get("error")
    if result is not None and error is None:
        return _question(question, points, [], "right", "") | {"points": points}
    if error is None:
        return _question(question, points, [], "crashed", "It did not run.")
    if error[0] != "AssertionError":
        return _question(question, points, [], "crashed", _one_line(error))
    bare = "An assertion in the cell below the answer does not hold: run it to see which."
    return _question(question, points, [], "wrong", _one_line(error) if error[1] else bare)


def _one_line(error):
    return " ".join(": ".join(part for part in error if part).split())[:300]


def _seed(name, student, how):
    if how.variants is None:
        return _SEED
    digest = hmac.new(how.variants.encode(), f"{name}:{student}".encode(), "sha256").digest()
    return int.from_bytes(digest[:6])


@functools.cache
def _environment_hash():
    found = {f"{part.metadata['Name']}=={part.version}" for part in importlib.metadata.distributions()}
    names = [platform.platform(), sys.version, *sorted(found)]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
