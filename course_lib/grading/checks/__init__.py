"""Hidden checks: one module for each exercise, which ends in its EXERCISE: checks and wrong answers.

These modules never reach a student's kernel. Their oracles run in the grader, so they use NumPy and the
course's own light modules and never TensorFlow.
"""

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from course_lib.errors import unknown_name


@dataclass(frozen=True)
class Check:
    """One hidden check of one question.

    Attributes:
        question: grade_id of the answer cell.
        name: unique in its exercise.
        points: given if the answers to all cases are right.
        call: Python expression, evaluated in the student's kernel, of the arguments' tuple `args`.
        inputs: from a seeded generator to the cases, each a tuple of arguments.
        oracle: from the same arguments to the expected value, in the grader.
        message: what the learner reads if it fails: which mistake it looks for.
        hint: where the lesson treats it: notebook#cell.
        tolerance: absolute, and relative to the expected number.
    """

    question: str
    name: str
    points: int
    call: str
    inputs: Callable[[np.random.Generator], list[tuple]]
    oracle: Callable[..., Any]
    message: str
    hint: str
    tolerance: float = 0.0


@dataclass(frozen=True)
class WrongAnswer:
    """A plausible wrong answer: what a learner with a misconception would write.

    Attributes:
        name: the misconception.
        question: grade_id of the answer cell.
        source: of the whole cell.
        fails: the check whose message is meant for it.
    """

    name: str
    question: str
    source: str
    fails: str


@dataclass(frozen=True)
class Exercise:
    """What the grader knows about an exercise.

    Attributes:
        checks: in the order of the questions.
        wrong_answers: each fails the check that it names.
        datasets: names in the catalog; nothing else of the data is visible in the sandbox.
        cell_seconds, total_seconds: time limits.
        memory_mb: of all processes of a submission together.
    """

    checks: tuple[Check, ...]
    wrong_answers: tuple[WrongAnswer, ...]
    datasets: tuple[str, ...] = ()
    cell_seconds: int = 20
    total_seconds: int = 120
    memory_mb: int = 2_000


def exercise_names() -> list[str]:
    """All exercises, in order: ex03 …"""
    return sorted(path.stem for path in Path(__file__).parent.glob("ex[0-9][0-9].py"))


def load_exercise(name: str) -> Exercise:
    """The checks of an exercise.

    Raises:
        UsageError: there is no exercise of that name.
    """
    if name not in exercise_names():
        raise unknown_name("exercise", name, exercise_names())
    return module_of(name).EXERCISE


def module_of(name: str) -> ModuleType:
    """The module that holds an exercise's checks."""
    return importlib.import_module(f"{__name__}.{name}")


def checks_hash(name: str) -> str:
    """SHA-256 of the checks as they are written down."""
    return hashlib.sha256(Path(module_of(name).__file__).read_bytes()).hexdigest()
