"""The bounds in notebooks/expectations.toml, and whether a run kept them."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from course_lib.errors import UsageError, unknown_name
from course_lib.session import PROFILES, number_text


@dataclass(frozen=True)
class Bound:
    """What one metric must be; `text` names it for people, a `headline` goes into README's short table."""

    min: float | None = None
    max: float | None = None
    equals: float | None = None
    tolerance: float = 0.0
    text: str = ""
    headline: bool = False

    def __str__(self) -> str:
        if self.equals is not None:
            return f"= {number_text(self.equals)}" + (f" ± {self.tolerance:g}" if self.tolerance else "")
        parts = [(self.min, "≥"), (self.max, "≤")]
        return " and ".join(f"{sign} {number_text(limit)}" for limit, sign in parts if limit is not None)

    def holds(self, value: float) -> bool:
        """Whether the value keeps the bound; NaN keeps none."""
        if self.equals is not None:
            return abs(value - self.equals) <= self.tolerance
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


@dataclass(frozen=True)
class Expectation:
    """What one notebook may cost and must reach in one profile."""

    wall_seconds: float
    peak_memory_mb: float
    metrics: Mapping[str, Bound] = field(default_factory=dict)

    def stretched(self, factor: float) -> "Expectation":
        """The same with so many times the wall time, and the most of each metric in `_seconds` or `_ms`."""
        metrics = {
            name: replace(bound, max=bound.max * factor)
            if bound.max is not None and name.endswith(("_seconds", "_ms"))
            else bound
            for name, bound in self.metrics.items()
        }
        return replace(self, wall_seconds=self.wall_seconds * factor, metrics=metrics)


# Where expectations.toml says nothing. The profiles fast and full fail then, whatever they cost.
DEFAULT_BUDGETS = {
    "smoke": Expectation(wall_seconds=45, peak_memory_mb=3000),
    "fast": Expectation(wall_seconds=120, peak_memory_mb=3000),
    "full": Expectation(wall_seconds=1800, peak_memory_mb=3000),
}

Expectations = dict[tuple[str, str], Expectation]


def load_expectations(path: Path, notebooks: Collection[str]) -> Expectations:
    """Read expectations.toml into (notebook, profile) -> Expectation.

    Raises:
        UsageError: malformed, or an unknown notebook, profile or key: a slip of the pen must not open a gate.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}.") from None
    expectations: Expectations = {}
    for notebook, profiles in document.items():
        if notebook not in notebooks:
            raise unknown_name(f"notebook in {path.name}", notebook, notebooks)
        if not isinstance(profiles, dict) or not all(isinstance(item, dict) for item in profiles.values()):
            raise UsageError(f"{path.name}: write bounds in sections like [{notebook}.fast].")
        for profile, section in profiles.items():
            where = f"{path.name} [{notebook}.{profile}]"
            if profile not in PROFILES:
                raise unknown_name(f"profile in {path.name} [{notebook}]", profile, PROFILES)
            _check_keys(section, Expectation, where)
            for budget in ("wall_seconds", "peak_memory_mb"):
                if not _is_number(section.get(budget)):
                    raise UsageError(f"{where}: {budget} = NUMBER is missing.")
            if not isinstance(section.get("metrics", {}), dict):
                raise UsageError(f"{where}: metrics is a table of bounds.")
            bounds = section.pop("metrics", {}).items()
            metrics = {name: _bound(content, f"{where} {name}") for name, content in bounds}
            expectations[notebook, profile] = Expectation(**section, metrics=metrics)
    return expectations


def missed_gates(
    notebook: str,
    profile: str,
    expectations: Expectations,
    *,
    metrics: Mapping[str, float],
    wall_seconds: float,
    peak_memory_mb: float,
    stretch: float = 1,
) -> list[str]:
    """One sentence for each gate that was missed; empty if all held. Times may be `stretch` times as long."""
    missed = []
    expectation = expectations.get((notebook, profile), DEFAULT_BUDGETS[profile]).stretched(stretch)
    budget = expectation.wall_seconds
    if profile != "smoke" and (notebook, profile) not in expectations:
        missed.append(f"expectations.toml has no section [{notebook}.{profile}]")
    if wall_seconds > budget:
        missed.append(f"took {wall_seconds:.1f} s, its time budget is {budget:g} s")
    if peak_memory_mb > expectation.peak_memory_mb:
        missed.append(f"used {peak_memory_mb:.0f} MB, its memory budget is {expectation.peak_memory_mb:g} MB")
    for name, bound in expectation.metrics.items():
        if name not in metrics:
            missed.append(f"{name} was not recorded")
        elif not bound.holds(metrics[name]):
            missed.append(f"{name} = {metrics[name]:.6g}, must be {bound}")
    if profile != "smoke":
        ungated = [name for name in metrics if name not in expectation.metrics]
        missed += [f"{name} is ungated: give it a bound" for name in ungated]
    return missed


def _bound(content: Any, where: str) -> Bound:
    if not isinstance(content, dict):
        raise UsageError(
            f"{where}: write a bound like {{ min = 0.9 }} or {{ equals = 1, tolerance = 1e-6 }}."
        )
    _check_keys(content, Bound, where)
    limits = {key: value for key, value in content.items() if key not in ("text", "headline")}
    bound = Bound(**content)
    if not all(map(_is_number, limits.values())) or not isinstance(bound.text, str):
        raise UsageError(f"{where}: min, max, equals and tolerance are numbers, text is a string.")
    if not isinstance(bound.headline, bool):
        raise UsageError(f"{where}: headline is true or false.")
    if (bound.equals is None) == (bound.min is None and bound.max is None):
        raise UsageError(f"{where}: give min, max or both, or else equals.")
    if "tolerance" in content and bound.equals is None:
        raise UsageError(f"{where}: tolerance belongs to equals.")
    if bound.min is not None and bound.max is not None and bound.min > bound.max:
        raise UsageError(f"{where}: min is above max.")
    return bound


def _check_keys(content: dict[str, Any], kind: type, where: str) -> None:
    known = [item.name for item in fields(kind)]
    for key in content:
        if key not in known:
            raise unknown_name(f"key in {where}", key, known)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value
