"""Timing side by side: contestants in rotation, ratios round by round, their median and spread."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from course_lib.runner.gates import Bound
from course_lib.runner.run import columns
from course_lib.session import number_text

# Threads of the contestant before may still wait for work, and take the processor while they do.
_PAUSE_SECONDS = 0.2

Key = TypeVar("Key", str, int)


class Figure(NamedTuple):
    """One line of the table.

    Attributes:
        part: of the bench, such as "imdb".
        what: what was divided by what, or what was counted.
        values: one for each round, in `unit`.
        unit: "×" for a ratio.
        goal: of the median; None where there is none.
        note: the absolute numbers behind it.
    """

    part: str
    what: str
    values: tuple[float, ...]
    unit: str = "×"
    goal: Bound | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """`held` or `missed`; empty without a goal."""
        if self.goal is None:
            return ""
        return "held" if self.goal.holds(self.median) else "missed"


def rotate(contestants: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, list[float]]:
    """Seconds of every contestant in every round.

    All do the same work. Each is called once before anything counts, which compiles and warms up; then the
    rounds follow one another, and each round begins with the next contestant, so that whatever slows the
    machine for a while, and whoever came before, hits all alike.

    Args:
        contestants: by name.
        rounds: how many count.

    Returns:
        name → seconds, one for each round.
    """
    for work in contestants.values():
        work()
    names, seconds = list(contestants), {name: [] for name in contestants}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(_PAUSE_SECONDS)
            began = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """Round by round, so that a slow round slows both sides of its ratio."""
    return tuple(a / b for a, b in zip(numerators, denominators, strict=True))


def rates(amount: float, unit: str, seconds: Mapping[str, Sequence[float]]) -> str:
    """Each contestant's median speed: 'ours 812 reviews/s, plain 381 reviews/s'."""
    parts = [
        f"{name} {number_text(float(amount / statistics.median(values)))} {unit}/s"
        for name, values in seconds.items()
    ]
    return ", ".join(parts)


def table(figures: Iterable[Figure]) -> str:
    """The figures with median, spread (lowest to highest round) and goal, in columns."""
    rows = [["part", "what", "median", "lowest – highest", "goal", "", "measured"]]
    for figure in figures:
        low, high = number_text(min(figure.values)), number_text(max(figure.values))
        rows.append(
            [
                figure.part,
                figure.what,
                f"{number_text(figure.median)} {figure.unit}",
                f"{low} – {high}" if len(figure.values) > 1 else "",
                "" if figure.goal is None else str(figure.goal),
                figure.verdict,
                figure.note,
            ]
        )
    return columns(rows)
