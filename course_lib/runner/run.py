"""`course run`: each notebook in its own process, under its budgets, then held to its bounds."""

import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from course_lib.errors import UsageError, unknown_name
from course_lib.files import REPOSITORY, write_atomically
from course_lib.process import thread_environment
from course_lib.runner.gates import DEFAULT_BUDGETS, Expectations, load_expectations, missed_gates
from course_lib.runner.notebooks import (
    exit_was_called,
    find_notebooks,
    last_started_cell,
    num_unexecuted,
    predecessors,
    recorded_metrics,
    select_notebooks,
    started_session,
)
from course_lib.runner.watch import watch
from course_lib.session import PROFILES, number_text


@dataclass
class Outcome:
    """What one run of one notebook came to; `failures` holds one sentence each, none if every gate held."""

    failures: list[str]
    wall_seconds: float
    peak_memory_mb: float
    metrics: dict[str, bool | int | float] = field(default_factory=dict)
    session: dict[str, Any] = field(default_factory=dict)


def run(
    wanted: Iterable[str],
    profile: str,
    *,
    jobs: int = 1,
    slack: float = 1,
    within_minutes: float = math.inf,
    seed: int = 0,
    out: Path | None = None,
    root: Path = REPOSITORY,
) -> dict[str, Outcome]:
    """Run notebooks in reading order and hold each to notebooks/expectations.toml.

    Args:
        wanted: "4", "04" or "04_training"; nothing means all.
        profile: "smoke", "fast" or "full".
        jobs: how many run at once; a notebook starts only when those whose artifacts it reads have ended.
        slack: times may be so many times as long, for a machine that is slow or shared.
        within_minutes: after so many no further notebook starts; what was left out is not in the outcomes.
        seed: the notebooks' parameter SEED.
        out: folder for the executed notebooks and results.json; default runs/<profile>.
        root: the repository.

    Raises:
        UsageError: unknown profile or notebook, jobs or slack below 1, or a slip in expectations.toml; raised
            before anything runs.
    """
    if jobs < 1:
        raise UsageError(f"At least one notebook must run at a time, not {jobs}.")
    if not slack >= 1:
        raise UsageError(f"The slack is {slack:g}; it must be at least 1.")
    if profile not in PROFILES:
        raise unknown_name("profile", profile, PROFILES)
    notebooks = find_notebooks(root)
    selected = select_notebooks(wanted, notebooks)
    expectations = load_expectations(root / "notebooks" / "expectations.toml", notebooks)
    out = out or root / "runs" / profile
    out.mkdir(parents=True, exist_ok=True)
    before = predecessors(selected)
    waiting, running, outcomes = list(selected), {}, {}
    last_start = time.monotonic() + 60 * within_minutes
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                if waiting and time.monotonic() >= last_start:
                    print(
                        f"Not run, since {within_minutes:g} minutes were over: {', '.join(waiting)}",
                        flush=True,
                    )
                    waiting.clear()
                ready = [name for name in waiting if before[name] <= outcomes.keys()]
                for name in ready[: jobs - len(running)]:
                    waiting.remove(name)
                    path = selected[name]
                    task = (path, out / path.name, profile, seed, expectations)
                    running[pool.submit(run_notebook, *task, jobs=jobs, slack=slack, stop=stop)] = name
                # Awake now and then, since on Windows a wait without end is deaf to Ctrl-C.
                ended, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                for future in ended:
                    name = running.pop(future)
                    outcomes[name] = future.result()
                    if jobs > 1:
                        _say_how_it_went(name, outcomes[name])
                if ended:
                    # After every notebook, so that a run that is stopped leaves what it has.
                    measured = {name: asdict(outcomes[name]) for name in selected if name in outcomes}
                    pending = [name for name in selected if name not in outcomes]
                    document = {"profile": profile, "seed": seed, "notebooks": measured, "pending": pending}
                    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
                    write_atomically(out / "results.json", text)
        except BaseException:
            stop.set()
            raise
    return {name: outcomes[name] for name in selected if name in outcomes}


def _say_how_it_went(name: str, outcome: Outcome) -> None:
    status = "failed" if outcome.failures else "ok"
    print(f"{name}: {status} after {outcome.wall_seconds:.0f} s", flush=True)


def run_notebook(
    notebook: Path,
    executed: Path,
    profile: str,
    seed: int,
    expectations: Expectations,
    *,
    deadline_seconds: float | None = None,
    jobs: int = 1,
    slack: float = 1,
    stop: threading.Event | None = None,
) -> Outcome:
    """Execute one notebook and check it; whatever the notebook does ends up in the outcome's failures.

    It is stopped at `deadline_seconds`, by default twice its time budget and at least a minute more than it:
    the time budget is a gate, and a slow run should still show its metrics. With `jobs` running at once,
    each gets its share of the cores and so many times the time, and only a notebook alone shows a bar; all
    times are multiplied by `slack`. Setting `stop` from another thread ends the run.
    """
    name = notebook.stem
    stretch = jobs * slack
    budget = expectations.get((name, profile), DEFAULT_BUDGETS[profile]).wall_seconds * stretch
    deadline_seconds = deadline_seconds or max(2 * budget, budget + 60)
    executed.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        status = Path(folder) / "status.json"
        arguments = [notebook.resolve(), executed.resolve(), status, profile, seed, int(jobs == 1)]
        watched = watch(
            [sys.executable, "-m", "course_lib.runner.execute", *map(str, arguments)],
            deadline_seconds=deadline_seconds,
            env={
                **os.environ,
                # The kernel must be this Python, not one that the user registered under the name python3.
                "JUPYTER_PREFER_ENV_PATH": "1",
                "PYDEVD_DISABLE_FILE_VALIDATION": "1",
                # A notebook alone decides for itself.
                **(thread_environment(jobs) if jobs > 1 else {}),
            },
            stop=stop,
        )
        failure = json.loads(status.read_text(encoding="utf-8")) if status.exists() else None
    moment = "at the start"
    if executed.exists():
        try:
            document = nbformat.read(executed, as_version=4)
        except ValueError:
            moment = "while it was being saved"
            executed.unlink()

    outcome = Outcome([], round(watched.wall_seconds, 1), round(watched.peak_memory_mb))
    over_time = f"over its time budget of {budget:g} s: stopped after {deadline_seconds:g} s"
    if not executed.exists():
        nothing = f"nothing was executed (exit code {watched.exit_code})"
        outcome.failures.append(failure or (f"{over_time}, {moment}" if watched.limit == "time" else nothing))
        return outcome
    where = last_started_cell(document)
    if watched.exit_code is None:
        outcome.failures.append(f"{over_time} in {where}")
    elif failure is None:
        outcome.failures.append(f"the kernel's parent died (exit code {watched.exit_code}) in {where}")
    elif exit_was_called(document):
        outcome.failures.append(f"called sys.exit in {where}")
    elif failure:
        outcome.failures.append(f"{failure} in {where}")
    elif unexecuted := num_unexecuted(document):
        outcome.failures.append(f"{unexecuted} code cells were not executed, the last that began is {where}")

    outcome.session = started_session(document)
    for key, given in (("notebook", name), ("profile", profile), ("seed", seed)):
        if outcome.session and outcome.session[key] != given:
            outcome.failures.append(f"start(...) was given {key} {outcome.session[key]!r}, not {given!r}")
    outcome.metrics, conflicts = recorded_metrics(document)
    outcome.failures += [f"{metric} was recorded with two values" for metric in conflicts]
    if not outcome.failures:
        outcome.failures = missed_gates(
            name,
            profile,
            expectations,
            metrics=outcome.metrics,
            wall_seconds=outcome.wall_seconds,
            peak_memory_mb=outcome.peak_memory_mb,
            stretch=stretch,
        )
    return outcome


def failed_notebooks(profile: str, *, out: Path | None = None) -> tuple[list[str], list[str]]:
    """What the last run into `out`, by default runs/<profile>, has left to do.

    Returns:
        The notebooks that missed a gate, and those that it was to run and did not.

    Raises:
        UsageError: there was no run, or what it wrote is damaged.
    """
    results = (out or REPOSITORY / "runs" / profile) / "results.json"
    if not results.exists():
        raise UsageError(f"There is no {results}: leave --failed out to run the notebooks a first time.")
    try:
        document = json.loads(results.read_text(encoding="utf-8"))
        measured = document["notebooks"]
        return [name for name in measured if measured[name]["failures"]], list(document["pending"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{results} is damaged: leave --failed out to run the notebooks anew.") from None


def report(outcomes: dict[str, Outcome], profile: str, *, stretch: float = 1, root: Path = REPOSITORY) -> str:
    """The table that `course run` prints: notebooks with their cost, then metrics with their bounds.

    Bounds on times are shown as they were held to, multiplied by `stretch`, jobs * slack of the run.
    """
    expectations = load_expectations(root / "notebooks" / "expectations.toml", find_notebooks(root))
    rows = [["notebook", "status", "seconds", "MB"]]
    measured = [["notebook", "metric", "value", "bound", ""]]
    failures = []
    for name, outcome in outcomes.items():
        status = "failed" if outcome.failures else "ok"
        rows.append([name, status, f"{outcome.wall_seconds:.1f}", f"{outcome.peak_memory_mb:.0f}"])
        failures += [f"{name}: {failure}" for failure in outcome.failures]
        known = (name, profile) in expectations
        bounds = expectations[name, profile].stretched(stretch).metrics if known else {}
        for metric in dict.fromkeys([*outcome.metrics, *bounds]):
            value, bound = outcome.metrics.get(metric), bounds.get(metric)
            held = value is not None and (profile == "smoke" if bound is None else bound.holds(value))
            measured.append(
                [
                    name,
                    metric,
                    "–" if value is None else number_text(value),
                    "–" if bound is None else str(bound),
                    "ok" if held else "MISSED",
                ]
            )
    tables = [columns(rows)] + ([columns(measured)] if len(measured) > 1 else []) + ["\n".join(failures)]
    return "\n\n".join(table for table in tables if table)


def columns(rows: list[list[str]]) -> str:
    """The rows as lines of text, each column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
