"""Real kernels: each way to fail is named, and the notebook after it still runs."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from course_lib.errors import UsageError
from course_lib.runner.gates import Bound, Expectation, load_expectations, missed_gates
from course_lib.runner.notebooks import find_notebooks
from course_lib.runner.run import failed_notebooks, report, run, run_notebook
from course_lib.runner.watch import Watched

LESSON = "from course_lib.session import Lesson\nlesson = Lesson('any', PROFILE, SEED)"


def processes_with(argument: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(argument in part for part in process.info["cmdline"] or [])
    ]


def test_every_failure_is_named_and_the_next_notebook_runs(make_course):
    root = make_course(
        {
            "01_raises": [LESSON, "lesson.record('before', 1)", "raise ValueError('no such thing')", "1"],
            "02_kills_kernel": ["import os", "os.kill(os.getpid(), 9)", "1"],
            "03_calls_exit": ["import sys", "sys.exit(0)", "1"],
            "04_leaves": ["import os\nos._exit(0)"],
            "05_kills_parent": ["import os, time", "os.kill(os.getppid(), 9); time.sleep(60)"],
            "06_other_profile": [
                "from course_lib.session import start",
                "start('06_other_profile', 'fast', SEED)",
            ],
            "07_works": [
                LESSON,
                "lesson.record('seed', SEED)\nlesson.record('size', lesson.pick(smoke=10, fast=20, full=30))",
            ],
        }
    )

    outcomes = run([], "smoke", seed=5, root=root)

    assert {name: outcome.failures for name, outcome in outcomes.items()} == {
        "01_raises": ["cell failed: ValueError: no such thing in cell 6 (id code-2)"],
        "02_kills_kernel": ["kernel died in cell 5 (id code-1)"],
        "03_calls_exit": ["called sys.exit in cell 5 (id code-1)"],
        "04_leaves": ["kernel died in cell 4 (id code-0)"],
        "05_kills_parent": ["the kernel's parent died (exit code -9) in cell 5 (id code-1)"],
        "06_other_profile": ["start(...) was given profile 'fast', not 'smoke'"],
        "07_works": [],
    }
    assert outcomes["01_raises"].metrics == {"before": 1}
    assert outcomes["07_works"].metrics == {"seed": 5, "size": 10}
    assert outcomes["06_other_profile"].session["seed"] == 5
    stored = json.loads((root / "runs/smoke/results.json").read_text(encoding="utf-8"))
    assert (stored["profile"], stored["seed"]) == ("smoke", 5)
    assert stored["notebooks"]["07_works"]["metrics"] == {"seed": 5, "size": 10}
    assert 20 < stored["notebooks"]["07_works"]["peak_memory_mb"] < 3000
    assert stored["notebooks"]["03_calls_exit"]["failures"] == outcomes["03_calls_exit"].failures
    executed = nbformat.read(root / "runs/smoke/07_works.ipynb", 4)
    assert executed.cells[-1].outputs[0].data == {
        "text/plain": "seed = 5",
        "application/vnd.course.record+json": {"name": "seed", "value": 5},
    }
    assert processes_with(str(root)) == []


def test_two_at_once_and_each_after_those_whose_artifacts_it_reads(make_course, monkeypatch):
    monkeypatch.setenv("COURSE_ARTIFACTS", "artifacts")  # in the folder where the notebooks stand
    clock = "import time\nlesson.record({!r}, time.time())"
    rest = "time.sleep(3)"
    root = make_course(
        {
            "01_writes": [
                LESSON,
                clock.format("begin"),
                "import time; time.sleep(3)\n(lesson.artifact(\"words\") / 'x').write_text('seven')",
                clock.format("end"),
            ],
            "02_reads": [
                LESSON,
                clock.format("begin"),
                "assert (lesson.artifact(\"words\") / 'x').read_text() == 'seven'",
            ],
            "03_apart": [LESSON, clock.format("begin"), rest, clock.format("end")],
            "04_fails": [LESSON, "1 / 0"],
        }
    )

    outcomes = run([], "smoke", jobs=2, root=root)

    assert list(outcomes) == ["01_writes", "02_reads", "03_apart", "04_fails"]
    assert [len(outcome.failures) for outcome in outcomes.values()] == [0, 0, 0, 1]
    first, reader, apart = (outcomes[name].metrics for name in ("01_writes", "02_reads", "03_apart"))
    assert apart["begin"] < first["end"]
    assert reader["begin"] > first["end"]
    stored = json.loads((root / "runs/smoke/results.json").read_text(encoding="utf-8"))
    assert list(stored["notebooks"]) == list(outcomes)


def test_no_notebook_starts_once_the_time_is_over(make_course, capsys):
    root = make_course({"01_first": ["import time; time.sleep(3)"], "02_second": ["1"], "03_third": ["1"]})
    outcomes = run([], "smoke", within_minutes=1 / 60, root=root)
    assert list(outcomes) == ["01_first"] and outcomes["01_first"].failures == []
    assert "Not run, since 0.0166667 minutes were over: 02_second, 03_third" in capsys.readouterr().out
    stored = json.loads((root / "runs/smoke/results.json").read_text(encoding="utf-8"))
    assert list(stored["notebooks"]) == ["01_first"]
    assert stored["pending"] == ["02_second", "03_third"]
    assert failed_notebooks("smoke", out=root / "runs/smoke") == ([], ["02_second", "03_third"])


def test_a_notebook_that_was_cut_off_while_it_was_written(make_course, tmp_path, monkeypatch):
    root = make_course({"01_works": ["1"]})
    executed = tmp_path / "executed.ipynb"

    def killed(*_, **__):
        executed.write_text('{"cells": [')
        return Watched(None, 0.1, 10, "time")

    monkeypatch.setitem(run_notebook.__globals__, "watch", killed)
    outcome = run_notebook(root / "notebooks/01_works.ipynb", executed, "smoke", 0, {}, deadline_seconds=0.1)
    assert outcome.failures == ["over its time budget of 45 s: stopped after 0.1 s, while it was being saved"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_notebooks_side_by_side_share_the_cores(make_course, monkeypatch, jobs):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    told = 'import os\nlesson.record("threads", int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)))'
    root = make_course({"01_tells": [LESSON, told]})
    assert run([], "smoke", jobs=jobs, root=root)["01_tells"].metrics == {"threads": {1: 0, 2: 1}[jobs]}


def test_a_hang_is_stopped_and_nothing_is_left_behind(make_course, tmp_path):
    detached = (
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(99)', MARK]\n"
        "subprocess.Popen(sleep, start_new_session=True)"
    )
    root = make_course({"01_hangs": [f"MARK = {str(tmp_path)!r}", detached, "import time; time.sleep(99)"]})

    began = time.perf_counter()
    outcome = run_notebook(
        root / "notebooks/01_hangs.ipynb", tmp_path / "executed.ipynb", "smoke", 0, {}, deadline_seconds=20
    )

    assert outcome.failures == ["over its time budget of 45 s: stopped after 20 s in cell 6 (id code-2)"]
    assert time.perf_counter() - began < 30
    assert processes_with(str(tmp_path)) == []


def test_a_notebook_stopped_before_its_first_cell_is_over_its_time(make_course, tmp_path):
    root = make_course({"01_works": ["1"]})
    notebook, executed = root / "notebooks/01_works.ipynb", tmp_path / "executed.ipynb"
    outcome = run_notebook(notebook, executed, "smoke", 0, {}, deadline_seconds=0.1)
    assert outcome.failures == ["over its time budget of 45 s: stopped after 0.1 s, at the start"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("stop", "jobs"), [("Ctrl-C", 1), ("Ctrl-C", 2), ("SIGTERM", 1), ("SIGTERM", 2)])
def test_stopping_the_command_stops_everything(make_course, tmp_path, stop, jobs):
    hang = "open({!r}, 'w').close()\nimport time; time.sleep(99)"
    flags = {name: tmp_path / name for name in ("01_hangs", "02_hangs")}
    root = make_course({name: [hang.format(str(flag))] for name, flag in flags.items()})
    script = (
        "import functools, pathlib, signal, sys, course_lib.runner as runner, course_lib.cli as cli\n"
        # A test run in the background inherits an ignored Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "runner.run = functools.partial(runner.run, root=pathlib.Path(sys.argv.pop()))\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", script, "run", "--profile", "smoke", "--jobs", str(jobs), str(root)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while sum(flag.exists() for flag in flags.values()) < jobs:
        assert process.poll() is None
        time.sleep(0.1)

    if stop == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()

    _, stderr = process.communicate(timeout=20)
    assert process.returncode == (130 if stop == "Ctrl-C" else 143)
    assert "Traceback" not in stderr
    assert processes_with(str(root)) == []


def test_each_gate_goes_red(make_course):
    measured = "lesson.record('accuracy', 0.85)\nlesson.record('parity', 1e-9)\nlesson.record('extra', 3)"
    root = make_course(
        {
            "01_good": [LESSON, measured],
            "02_bad": [LESSON, measured],
            "03_costly": [LESSON, "ballast = bytearray(300_000_000)\nimport time; time.sleep(1.5)"],
            "04_no_section": [LESSON],
        },
        """
        [01_good.fast]
        wall_seconds = 60
        peak_memory_mb = 1000
        metrics.accuracy = { min = 0.85, max = 0.85 }
        metrics.parity = { equals = 0, tolerance = 1e-6 }
        metrics.extra = { min = 1 }
        [02_bad.fast]
        wall_seconds = 60
        peak_memory_mb = 1000
        metrics.accuracy = { min = 0.86 }
        metrics.parity = { equals = 1, tolerance = 1e-6 }
        metrics.f1 = { min = 0.5 }
        [03_costly.fast]
        wall_seconds = 1
        peak_memory_mb = 250
        """,
    )

    outcomes = run(["1", "02", "03_costly", "4"], "fast", root=root)

    assert outcomes["01_good"].failures == []
    assert outcomes["02_bad"].failures == [
        "accuracy = 0.85, must be ≥ 0.86",
        "parity = 1e-09, must be = 1 ± 1e-06",
        "f1 was not recorded",
        "extra is ungated: give it a bound",
    ]
    slow, big = outcomes["03_costly"].failures
    assert slow.endswith("s, its time budget is 1 s") and big.endswith("MB, its memory budget is 250 MB")
    assert 300 < outcomes["03_costly"].peak_memory_mb < 900
    expectations = load_expectations(root / "notebooks/expectations.toml", find_notebooks(root))
    costs = {"metrics": {}, "wall_seconds": 1.9, "peak_memory_mb": 240}
    assert missed_gates("03_costly", "fast", expectations, stretch=2, **costs) == []
    assert missed_gates("03_costly", "fast", expectations, **costs) == ["took 1.9 s, its time budget is 1 s"]
    assert outcomes["04_no_section"].failures == ["expectations.toml has no section [04_no_section.fast]"]
    lines = report(outcomes, "fast", root=root).splitlines()
    assert [line.split()[1] for line in lines[1:5]] == ["ok", "failed", "failed", "failed"]
    bad = [line.split()[1:] for line in lines if line.startswith("02_bad ")][1:]
    assert bad == [
        ["accuracy", "0.85", "≥", "0.86", "MISSED"],
        ["parity", "1e-09", "=", "1", "±", "1e-06", "MISSED"],
        ["extra", "3", "–", "MISSED"],
        ["f1", "–", "≥", "0.5", "MISSED"],
    ]
    assert "02_bad: f1 was not recorded" in lines


def test_times_alone_are_stretched():
    bounds = {
        "train_seconds": Bound(max=60),
        "greedy_ms": Bound(max=20),
        "gigaflops_per_second": Bound(min=1),
        "accuracy": Bound(min=0.8, max=0.9),
    }
    expectations = {("01_any", "fast"): Expectation(100, 1000, bounds)}
    measured = {"train_seconds": 90, "greedy_ms": 30, "gigaflops_per_second": 1, "accuracy": 0.9}

    def missed(**changed):
        return missed_gates(
            "01_any",
            "fast",
            expectations,
            metrics={**measured, **changed},
            wall_seconds=150,
            peak_memory_mb=1000,
            stretch=1.5,
        )

    assert missed() == []
    assert missed(accuracy=0.91) == ["accuracy = 0.91, must be ≥ 0.8 and ≤ 0.9"]
    assert missed(train_seconds=91) == ["train_seconds = 91, must be ≤ 90"]
    assert missed(greedy_ms=31) == ["greedy_ms = 31, must be ≤ 30"]
    assert missed(gigaflops_per_second=0.9) == ["gigaflops_per_second = 0.9, must be ≥ 1"]


def test_a_skipped_cell_and_two_values_for_one_name_are_failures(make_course, tmp_path):
    twice = "Lesson('any', PROFILE, SEED).record('a', 2)"
    root = make_course({"01_skips": ["1", LESSON], "02_twice": [LESSON, "lesson.record('a', 1)", twice]})
    path = root / "notebooks/01_skips.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].metadata["tags"] = ["skip-execution"]
    nbformat.write(notebook, path)
    outcomes = run([], "smoke", root=root)
    assert outcomes["01_skips"].failures == [
        "1 code cells were not executed, the last that began is cell 5 (id code-1)"
    ]
    assert outcomes["02_twice"].failures == ["a was recorded with two values"]


def test_unknown_names_are_refused_before_anything_runs(make_course):
    root = make_course({"01_first": ["1"], "04_training": ["1"]})
    with pytest.raises(UsageError, match=r"Unknown profile 'ful'\. Did you mean 'full'"):
        run([], "ful", root=root)
    with pytest.raises(UsageError, match=r"Unknown notebook '04_trainin'\. Did you mean '04_training'"):
        run(["04_trainin"], "smoke", root=root)
    with pytest.raises(UsageError, match="Unknown notebook '7'"):
        run(["7"], "smoke", root=root)
    with pytest.raises(UsageError, match="At least one notebook must run at a time, not 0"):
        run([], "smoke", jobs=0, root=root)
    with pytest.raises(UsageError, match=r"The slack is 0\.5; it must be at least 1"):
        run([], "smoke", slack=0.5, root=root)
    assert not (root / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[02_typo.fast]\nwall_seconds=1\npeak_memory_mb=1",
            "Unknown notebook in expectations.toml '02_typo'",
        ),
        (
            "[01_first.fats]\nwall_seconds=1\npeak_memory_mb=1",
            "Unknown profile .* 'fats'. Did you mean 'fast'",
        ),
        ("[01_first]\nfast = 3", "sections like"),
        ("01_first = 3", "sections like"),
        (
            "[01_first.fast]\nwall_second=1\npeak_memory_mb=1",
            "Unknown key .* 'wall_second'. Did you mean 'wall_seconds'",
        ),
        ("[01_first.fast]\nwall_seconds=1", "peak_memory_mb = NUMBER is missing"),
        ("[01_first.fast]\nwall_seconds='1'\npeak_memory_mb=1", "wall_seconds = NUMBER is missing"),
        ("[01_first.fast]\nwall_seconds=nan\npeak_memory_mb=1", "wall_seconds = NUMBER is missing"),
        ("metrics.a = { mn = 1 }", "Unknown key .* 'mn'. Did you mean 'min'"),
        ("metrics.a = { min = '1' }", "numbers"),
        ("metrics.a = { min = nan }", "numbers"),
        ("metrics.a = { min = 1, headline = 1 }", "headline is true or false"),
        ("metrics.a = 1", "write a bound like"),
        ("metrics.a = {}", "give min, max or both"),
        ("metrics.a = { text = 'a' }", "give min, max or both"),
        ("metrics.a = { min = 1, equals = 1 }", "give min, max or both"),
        ("metrics.a = { min = 1, tolerance = 1 }", "tolerance belongs to equals"),
        ("metrics.a = { min = 2, max = 1 }", "min is above max"),
        ("metrics = 1", "metrics"),
        ("[01_first", "expectations.toml"),
    ],
)
def test_a_slip_in_the_expectations_opens_no_gate(make_course, text, message):
    if text.startswith("metrics"):
        text = f"[01_first.fast]\nwall_seconds=1\npeak_memory_mb=1\n{text}"
    root = make_course({"01_first": ["1"]}, text)
    with pytest.raises(UsageError, match=message):
        load_expectations(root / "notebooks/expectations.toml", ["01_first"])
