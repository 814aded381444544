"""The lesson: what a notebook may record, pick and leave behind."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from course_lib.errors import UsageError
from course_lib.session import Lesson, number_text, start


@pytest.fixture
def lesson() -> Lesson:
    return Lesson("04_training", "fast", 0)


def test_pick_wants_all_three(lesson):
    assert lesson.pick(smoke=1, fast=None, full=3) is None
    assert Lesson("04_training", "full", 0).pick(smoke=1, fast=2, full=3) == 3
    with pytest.raises(TypeError, match="full"):
        lesson.pick(smoke=1, fast=2)


def test_record_prints_outside_a_notebook(lesson, capsys):
    lesson.record("accuracy", np.float32(0.87123456))
    lesson.record("num_words", np.int64(20_000))
    lesson.record("is_equal", np.bool_(True))
    lesson.record("difference", 3.1e-8)
    assert (
        capsys.readouterr().out
        == "accuracy = 0.8712\nnum_words = 20,000\nis_equal = yes\ndifference = 3.1e-08\n"
    )


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float64("-inf"), "0.5", None, [0.5], np.ones(2), 1j]
)
def test_only_one_finite_number_can_be_recorded(lesson, value):
    with pytest.raises(UsageError, match="one finite number"):
        lesson.record("accuracy", value)


def test_a_name_has_one_value(lesson):
    lesson.record("accuracy", 0.5)
    lesson.record("accuracy", np.float64(0.5))
    with pytest.raises(UsageError, match=r"recorded as 0.5 and now as 0.6"):
        lesson.record("accuracy", 0.6)


@pytest.mark.parametrize("name", ["Accuracy", "test accuracy", "", "a.b", "1st"])
def test_metric_names_can_stand_in_the_expectations(lesson, name):
    with pytest.raises(UsageError, match="Metric name"):
        lesson.record(name, 1)


def test_artifacts_are_kept_by_profile(lesson, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path))
    assert lesson.artifact("sentiment") == tmp_path / "fast" / "sentiment"
    assert (tmp_path / "fast" / "sentiment").is_dir()
    for name in ("..", "a/b", "a\\b", "", ".hidden", "/tmp"):
        with pytest.raises(UsageError, match="Artifact name"):
            lesson.artifact(name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (0.905, "0.905"),
        (12345.6, "12,346"),
        (0.00001234, "1.234e-05"),
        (False, "no"),
    ],
)
def test_number_text(value, text):
    assert number_text(value) == text


def test_start_refuses_before_it_imports_anything():
    with pytest.raises(UsageError, match=r"Unknown profile 'fats'\. Did you mean 'fast'"):
        start("04_training", profile="fats", seed=0)
    for seed in (-1, 2**32, 1.0, True, "0"):
        with pytest.raises(UsageError, match="seed"):
            start("04_training", profile="fast", seed=seed)


def test_start_seeds_everything_and_says_so_in_one_line():
    code = (
        "from course_lib.session import start\n"
        "start('04_training', profile='smoke', seed=7)\n"
        "import os, random, numpy, keras\n"
        "assert {'TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS'} <= set(os.environ)\n"
        "print(random.random(), numpy.random.rand(), float(keras.initializers.HeNormal()((1,))[0]))\n"
        "start('04_training', profile='smoke', seed=7)\n"
        "print(random.random(), numpy.random.rand(), float(keras.initializers.HeNormal()((1,))[0]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    first, numbers, second, again = result.stdout.splitlines()
    assert first == second
    assert first.startswith("04_training · profile smoke · seed 7 · ")
    assert all(word in first for word in ("Python", "TensorFlow", "Keras"))
    assert numbers == again
    assert numbers.split()[:2] == [str(random.Random(7).random()), str(np.random.RandomState(7).rand())]
    assert result.stderr == ""
