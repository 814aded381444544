"""The `course` command: exit codes, one sentence an error, a traceback only with --debug."""

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

import course_lib.runner
from course_lib import cli, distributed
from course_lib.errors import CourseError
from course_lib.runner import Outcome

# What `course run` asks for where nothing is said.
PLAIN = {"jobs": 1, "slack": 1, "within_minutes": math.inf}
HELD = Outcome(
    [], 1.0, 1.0, {"accuracy": 0.9}, {"device": "2 CPU cores", "python": "3", "tensorflow": "2", "keras": "3"}
)
MISSED = Outcome(["accuracy = 0.5, must be ≥ 0.9"], 1.0, 1.0, {"accuracy": 0.5})


@pytest.fixture
def course(monkeypatch, capsys):
    """course("run", "04") -> (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["course", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture
def pretend_run(monkeypatch):
    """Let `course run` come to the given outcomes; returns what was asked of it and what it saved."""

    def pretend(**outcomes: Outcome) -> list:
        calls = []
        monkeypatch.setattr(
            course_lib.runner, "run", lambda *args, **kwargs: calls.append(("run", args, kwargs)) or outcomes
        )
        monkeypatch.setattr(course_lib.runner, "report", lambda *_, **__: "the table")
        monkeypatch.setattr(course_lib.runner, "save_results", lambda *args: calls.append(("save", args)))
        return calls

    return pretend


def test_help_answers_at_once():
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        result = subprocess.run(
            [sys.executable, "-m", "course_lib.cli", "--help"], capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - began)
    assert result.returncode == 0
    assert all(command in result.stdout for command in ("run", "results", "data", "--debug"))
    assert min(seconds) < 1


def test_run_is_red_when_one_gate_is_missed(course, pretend_run):
    calls = pretend_run(a=HELD, b=MISSED)
    assert course("run", "04", "5")[:2] == (1, "\nthe table\n")
    assert calls == [("run", (["04", "5"], "fast"), {**PLAIN, "out": None})]


def test_run_is_green_and_saves_when_asked_or_full(course, pretend_run):
    for arguments, saves in ((("--profile", "smoke"), 0), (("--save",), 1), (("--profile", "full"), 1)):
        calls = pretend_run(a=HELD)
        assert course("run", "--out", "somewhere", *arguments)[0] == 0
        assert calls[0][2] == {**PLAIN, "out": Path("somewhere")}
        assert [call[0] for call in calls[1:]] == ["save"] * saves


@pytest.mark.parametrize("saves", [["--save"], ["--profile", "full"]])
@pytest.mark.parametrize("stretched", ["--slack", "--jobs"])
def test_stretched_times_are_not_recorded(course, pretend_run, stretched, saves):
    calls = pretend_run(a=HELD)
    assert course("run", stretched, "2", *saves) == (
        2,
        "",
        "course: Only times of notebooks that run alone are recorded: leave --jobs and --slack out.\n",
    )
    assert calls == []
    assert course("run", "--slack", "2", "--out", "somewhere")[0] == 0
    assert calls == [("run", ([], "fast"), {**PLAIN, "slack": 2, "out": Path("somewhere")})]


def test_failed_runs_again_what_missed_a_gate_and_nothing_else(course, pretend_run, tmp_path):
    calls = pretend_run(b=HELD)
    last = {"a": asdict(HELD), "b": asdict(MISSED), "c": asdict(HELD)}
    document = {"profile": "fast", "seed": 0, "notebooks": last, "pending": []}
    (tmp_path / "results.json").write_text(json.dumps(document))
    assert course("run", "--failed", "--out", str(tmp_path))[0] == 0
    assert calls == [("run", (["b"], "fast"), {**PLAIN, "out": tmp_path})]

    (tmp_path / "results.json").write_text(json.dumps({**document, "pending": ["d"]}))
    calls.clear()
    assert course("run", "--failed", "--out", str(tmp_path))[0] == 0, "d alone was left out"
    assert calls[0][1] == (["b", "d"], "fast")

    calls = pretend_run()
    assert course("run", "--failed", "--within", "3", "--out", str(tmp_path))[0] == 1, "b was left out"
    assert calls[0][2]["within_minutes"] == 3
    assert course("run", "--within", "3")[0] == 1, "no notebook was run"
    pretend_run(a=HELD)
    assert course("run", "--within", "3")[0] == 0

    del last["b"]
    (tmp_path / "results.json").write_text(json.dumps(document))
    calls.clear()
    assert course("run", "--failed", "--out", str(tmp_path)) == (0, "In the last run every gate held.\n", "")
    (tmp_path / "results.json").write_text('{"notebooks": [')
    code, _, message = course("run", "--failed", "--out", str(tmp_path))
    assert code == 2 and "is damaged: leave --failed out" in message and "Traceback" not in message
    assert calls == []  # not all of them, which an empty list of notebooks would mean


def test_wrong_use_is_two_and_one_sentence(course, tmp_path):
    for arguments, message in (
        (
            ("run", "--failed", "--out", str(tmp_path)),
            f"course: There is no {tmp_path}/results.json: leave --failed out",
        ),
        (
            ("run", "4", "--failed"),
            "course: --failed chooses the notebooks: give it or their numbers, not both.",
        ),
        (("run", "--profile", "fats"), "course: Unknown profile 'fats'. Did you mean 'fast'?"),
        (("run", "nope"), "course: Unknown notebook 'nope'."),
        (("train", "reviews", "--process-id", "0"), "course: Several processes need all of --coordinator,"),
        (("data", "fetch"), "course: Name the data sets"),
        (("data", "fetch", "imbd"), "course: Unknown data set 'imbd'. Did you mean 'imdb'?"),
        (("data", "verify", "imbd"), "course: Unknown data set 'imbd'. Did you mean 'imdb'?"),
    ):
        code, out, err = course(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith(message) and err.count("\n") == 1
    assert course("runn")[0] == 2
    assert course("run", "--nonsense")[0] == 2


@pytest.fixture
def pretend_training(monkeypatch):
    """What `train_task` and `supervise` are asked for; the latter's worker ends with exit code 1."""
    calls = []

    def train_task(task, profile, **options):
        calls.append((task, profile, options))
        return {"test": {"accuracy": 0.87654}}

    monkeypatch.setitem(sys.modules, "course_lib.recipes", SimpleNamespace(train_task=train_task))
    monkeypatch.setattr(distributed, "supervise", lambda *asked: calls.append(asked) or 1)
    return calls


def test_train_trains_in_this_process(course, pretend_training, tmp_path):
    code, out, _ = course("train", "reviews", "--profile", "smoke", "--out", str(tmp_path), "--epochs", "2")
    assert (code, out) == (
        0,
        f"reviews: accuracy 0.8765 on the test split. {tmp_path}: model.keras, encoder.json, result.json.\n",
    )
    assert pretend_training == [
        ("reviews", "smoke", {"out": tmp_path, "epochs": 2, "batch_size": None, "cluster": None})
    ]
    assert course("train", "entities", "--batch-size", "128")[0] == 0
    assert pretend_training[1][2]["batch_size"] == 128
    assert pretend_training[1][2]["out"].parts[-3:] == ("runs", "train", "entities-fast")


def test_train_with_others_runs_the_same_command_as_a_worker(course, pretend_training, monkeypatch, tmp_path):
    arguments = ["train", "reviews", "--out", str(tmp_path), "--coordinator", "localhost:1234"]
    arguments += ["--num-processes", "2", "--process-id", "1", "--wait", "5"]
    cluster = distributed.Cluster("localhost:1234", 2, 1, 5)
    assert course(*arguments) == (1, "", "")
    assert pretend_training == [([sys.executable, "-m", "course_lib.cli", *arguments], cluster, tmp_path)]

    monkeypatch.setattr(distributed, "is_worker", lambda: True)
    assert course(*arguments)[0] == 0
    assert pretend_training[1][2]["cluster"] == cluster


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_the_traceback_wherever_it_stands(place, monkeypatch):
    arguments = ["run", "nope"]
    arguments.insert(place, "--debug")
    result = subprocess.run(
        [sys.executable, "-m", "course_lib.cli", *arguments], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "Unknown notebook 'nope'" in result.stderr


def test_a_bug_is_one_sentence_too(course, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("x")

    monkeypatch.setattr(course_lib.runner, "run", broken)
    code, _, err = course("run")
    assert (code, err) == (1, "course: KeyError: 'x' (`course --debug …` shows where)\n")


def test_results_check_is_red_when_something_differs(course, monkeypatch):
    seen = []
    monkeypatch.setattr(
        course_lib.runner, "generate", lambda check: seen.append(check) or [Path("README.md")]
    )
    assert course("results", "--check") == (
        1,
        "out of date: README.md\n",
        "course: Run `course results` and commit what it writes.\n",
    )
    assert course("results") == (0, "written: README.md\n", "")
    assert seen == [True, False]


def test_one_failing_data_set_does_not_stop_the_others(course, monkeypatch):
    fetched = []

    def fetch(name, *, catalog):
        if name == "conll2003":
            raise CourseError("no network")
        fetched.append(name)

    monkeypatch.setattr("course_lib.data.fetch.fetch", fetch)
    code, out, err = course("data", "fetch", "--all")
    assert code == 1
    assert {"imdb", "glove_6b_50d", "wikitext2"} <= set(fetched)
    assert "By name only" in out.splitlines()[0] and not {"squad_v1", "glove_6b", "imdb_stanford"} & set(
        fetched
    )
    assert err.startswith("conll2003: no network\ncourse: 1 of ") and err.endswith(
        "data sets failed: conll2003.\n"
    )


def test_data_list_shows_every_data_set(course):
    from course_lib.data.catalog import load_catalog

    code, out, _ = course("data", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:-1]] == list(load_catalog())


def test_without_the_extra_it_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; import course_lib.cli"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        "The `course` command needs more packages: run `pip install -e .[course]` in the course's folder.\n"
    )
