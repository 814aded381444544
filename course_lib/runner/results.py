"""What was measured: notebooks/results.json, and everything that is generated from it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from course_lib.errors import CourseError
from course_lib.files import REPOSITORY, write_atomically
from course_lib.runner.gates import Bound, load_expectations
from course_lib.runner.notebooks import find_notebooks
from course_lib.runner.run import Outcome
from course_lib.session import number_text

_ENVIRONMENT = ("python", "tensorflow", "keras")


def save_results(outcomes: Mapping[str, Outcome], profile: str, *, root: Path = REPOSITORY) -> None:
    """Put each run whose gates all held into notebooks/results.json; what is there for others stays.

    Raises:
        CourseError: the file that is there is damaged.
    """
    path = root / "notebooks" / "results.json"
    results = _read_results(path)
    notebooks = find_notebooks(root)
    for name, outcome in outcomes.items():
        if outcome.failures:
            continue
        if outcome.session:
            results["environment"] = {key: outcome.session[key] for key in _ENVIRONMENT}
        results.setdefault(profile, {})[name] = {
            "device": outcome.session.get("device", ""),
            "metrics": {metric: _rounded(value) for metric, value in outcome.metrics.items()},
            "peak_memory_mb": outcome.peak_memory_mb,
            "wall_seconds": outcome.wall_seconds,
        }
    for measured in (results.get("fast", {}), results.get("full", {})):
        for name in set(measured) - set(notebooks):
            del measured[name]
    write_atomically(path, json.dumps(results, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def generate(*, root: Path = REPOSITORY, check: bool = False) -> list[Path]:
    """Bring README's map and results, and each notebook's cell `time`, in line with results.json.

    Args:
        root: the repository.
        check: only compare, write nothing.

    Returns:
        The files that differed.

    Raises:
        CourseError: README.md lacks a pair of markers, or results.json is damaged.
    """
    notebooks = find_notebooks(root)
    results = _read_results(root / "notebooks" / "results.json")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    text = _between_markers(text, "map", _map_table(notebooks, results))
    text = _between_markers(text, "results", _results_table(notebooks, results, root))
    generated = {readme: text}
    for name, path in notebooks.items():
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.get("id") == "time":
                cell.source = _time_line(name, results)
                generated[path] = nbformat.writes(notebook) + "\n"
    differing = [path for path, text in generated.items() if path.read_text(encoding="utf-8") != text]
    if not check:
        for path in differing:
            write_atomically(path, generated[path])
    return differing


def _read_results(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise CourseError(f"{path} is damaged ({error}): restore it with git, or measure anew.") from None


def _rounded(value: bool | int | float) -> bool | int | float:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _between_markers(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise CourseError(f"README.md needs the line {begin} and after it the line {end}, each once.")
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.partition(end)[2]}"


def _map_table(notebooks: Mapping[str, Path], results: Mapping[str, Any]) -> str:
    rows = ["| notebook | what you will be able to do | `fast` | `full` |", "|---|---|---|---|"]
    for name, path in notebooks.items():
        title, promise = _title_and_promise(path)
        times = [_duration(results, profile, name) or "–" for profile in ("fast", "full")]
        rows.append(f"| [{title}](notebooks/{path.name}) | {promise} | {times[0]} | {times[1]} |")
    return "\n".join(rows)


def _results_table(notebooks: Mapping[str, Path], results: Mapping[str, Any], root: Path) -> str:
    measured = results.get("full", {})
    if not measured:
        return "No run of the profile `full` is stored yet."
    expectations = load_expectations(root / "notebooks" / "expectations.toml", notebooks)
    versions = results["environment"]
    devices = " and ".join(sorted({entry["device"] for entry in measured.values()}))
    headlines, rows = [], []
    for name in notebooks:
        bounds = expectations[name, "full"].metrics if (name, "full") in expectations else {}
        metrics = measured.get(name, {}).get("metrics", {})
        # In the order of expectations.toml, where a text may refer to the line above it.
        for metric in [*(m for m in bounds if m in metrics), *(m for m in metrics if m not in bounds)]:
            bound = bounds.get(metric, Bound())
            what = bound.text or metric.replace("_", " ")
            row = f"| {name[:2]} | {what} | {number_text(metrics[metric])} | {str(bound) or '–'} |"
            rows.append(row)
            if bound.headline:
                headlines.append(row)
    head = "| notebook | what | value | bound |\n|---|---|---|---|"
    return "\n".join(
        [
            f"Measured by `course run --profile full` on {devices} with Python {versions['python']}, "
            f"TensorFlow {versions['tensorflow']} and Keras {versions['keras']}.",
            "",
            head,
            *headlines,
            "",
            f"<details><summary>All {len(rows)} recorded numbers</summary>",
            "",
            head,
            *rows,
            "",
            "</details>",
        ]
    )


def _time_line(name: str, results: Mapping[str, Any]) -> str:
    times = {profile: _duration(results, profile, name) for profile in ("fast", "full")}
    measured = [f"{time} (`{profile}`)" for profile, time in times.items() if time]
    if not measured:
        return "**Time** not measured yet"
    devices = {results[profile][name]["device"] for profile, time in times.items() if time}
    return f"**Time** about {', '.join(measured)}, measured on {' and '.join(sorted(devices))}"


def _duration(results: Mapping[str, Any], profile: str, name: str) -> str:
    """Rounded so that the next measurement usually gives the same text: steps of 10 s, then minutes."""
    entry = results.get(profile, {}).get(name)
    if entry is None:
        return ""
    seconds = entry["wall_seconds"]
    return f"{max(10, round(seconds / 10) * 10)} s" if seconds < 95 else f"{round(seconds / 60)} min"


def _title_and_promise(path: Path) -> tuple[str, str]:
    """The first heading, and the first paragraph under it."""
    for cell in nbformat.read(path, as_version=4).cells:
        match = re.match(r"#\s+(.+)\n*((?:.+\n?)*)", cell.source) if cell.cell_type == "markdown" else None
        if match:
            return match[1].strip(), " ".join(match[2].split()).replace("|", "\\|")
    raise CourseError(f"{path.name} has no heading: its first cell must begin with '# '.")
