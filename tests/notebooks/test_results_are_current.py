"""README and the notebooks tell what notebooks/results.json holds, and that keeps today's bounds."""

import json
from pathlib import Path

from course_lib.runner import find_notebooks, generate
from course_lib.runner.gates import load_expectations, missed_gates

REPOSITORY = Path(__file__).resolve().parents[2]


def test_readme_and_times_come_from_the_stored_results():
    assert generate(root=REPOSITORY, check=True) == []


def test_stored_results_keep_the_bounds_of_today():
    folder = REPOSITORY / "notebooks"
    expectations = load_expectations(folder / "expectations.toml", find_notebooks(REPOSITORY))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    missed = {
        (name, profile): missed_gates(
            name,
            profile,
            expectations,
            metrics=entry["metrics"],
            wall_seconds=entry["wall_seconds"],
            peak_memory_mb=entry["peak_memory_mb"],
        )
        for profile in ("fast", "full")
        for name, entry in results.get(profile, {}).items()
    }
    assert missed
    assert {run: sentences for run, sentences in missed.items() if sentences} == {}
