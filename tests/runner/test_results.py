"""results.json, and README's tables and the notebooks' times made from it."""

import json

import nbformat
import pytest

from course_lib.errors import CourseError
from course_lib.runner.results import generate, save_results
from course_lib.runner.run import Outcome

SESSION = {
    "notebook": "01_first",
    "profile": "full",
    "seed": 0,
    "device": "2 CPU cores",
    "python": "3.11.7",
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
}
BOUNDS = """
[01_first.full]
wall_seconds = 400
peak_memory_mb = 1000
metrics.accuracy = { min = 0.9, text = "accuracy on 5,000 reviews", headline = true }
metrics.num_words = { equals = 20000 }
"""


@pytest.fixture
def course(make_course):
    root = make_course({"01_first": ["1"], "02_second": ["2"]}, BOUNDS)
    full = Outcome([], 362.4, 1234, {"num_words": 20000, "accuracy": 0.91234567}, SESSION)
    save_results({"01_first": full}, "full", root=root)
    save_results({"01_first": Outcome([], 41.2, 900, {"accuracy": 0.87}, SESSION)}, "fast", root=root)
    return root


def test_results_keep_what_held_and_only_that(course):
    path = course / "notebooks/results.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    assert before == {
        "environment": {"python": "3.11.7", "tensorflow": "2.21.0", "keras": "3.15.1"},
        "fast": {
            "01_first": {
                "device": "2 CPU cores",
                "metrics": {"accuracy": 0.87},
                "peak_memory_mb": 900,
                "wall_seconds": 41.2,
            }
        },
        "full": {
            "01_first": {
                "device": "2 CPU cores",
                "metrics": {"num_words": 20000, "accuracy": 0.912346},
                "peak_memory_mb": 1234,
                "wall_seconds": 362.4,
            }
        },
    }

    failed = Outcome(["accuracy = 0.5, must be ≥ 0.9"], 1.0, 1, {"accuracy": 0.5}, SESSION)
    gone = Outcome([], 1.0, 1, {}, SESSION)
    second = Outcome([], 95.2, 500, {"loss": 0.1}, SESSION)
    save_results({"01_first": failed, "02_second": second, "09_gone": gone}, "full", root=course)

    after = json.loads(path.read_text(encoding="utf-8"))
    assert after["full"]["01_first"] == before["full"]["01_first"]
    assert set(after["full"]) == {"01_first", "02_second"}
    assert (
        path.read_text(encoding="utf-8")
        == json.dumps(after, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    )
    assert [item.name for item in path.parent.glob("*.tmp")] == []


def test_readme_and_notebooks_are_generated_and_checked(course):
    readme, first, second = course / "README.md", *sorted((course / "notebooks").glob("*.ipynb"))
    stored = first.read_text(encoding="utf-8")
    assert generate(root=course, check=True) == [readme, first, second]
    assert first.read_text(encoding="utf-8") == stored

    assert generate(root=course) == [readme, first, second]

    assert readme.read_text(encoding="utf-8") == (
        "# Course\n\n"
        "<!-- map:begin -->\n"
        "| notebook | what you will be able to do | `fast` | `full` |\n|---|---|---|---|\n"
        "| [01 first](notebooks/01_first.ipynb) | You will be able to do first. | 40 s | 6 min |\n"
        "| [02 second](notebooks/02_second.ipynb) | You will be able to do second. | – | – |\n"
        "<!-- map:end -->\n\n"
        "<!-- results:begin -->\n"
        "Measured by `course run --profile full` on 2 CPU cores with Python 3.11.7, "
        "TensorFlow 2.21.0 and Keras 3.15.1.\n\n"
        "| notebook | what | value | bound |\n|---|---|---|---|\n"
        "| 01 | accuracy on 5,000 reviews | 0.9123 | ≥ 0.9 |\n\n"
        "<details><summary>All 2 recorded numbers</summary>\n\n"
        "| notebook | what | value | bound |\n|---|---|---|---|\n"
        "| 01 | accuracy on 5,000 reviews | 0.9123 | ≥ 0.9 |\n"
        "| 01 | num words | 20,000 | = 20,000 |\n\n"
        "</details>\n"
        "<!-- results:end -->\n"
    )
    line = "**Time** about 40 s (`fast`), 6 min (`full`), measured on 2 CPU cores"
    assert first.read_text(encoding="utf-8") == stored.replace("to be generated", line)
    assert nbformat.read(second, 4).cells[1].source == "**Time** not measured yet"
    assert generate(root=course, check=True) == []


def test_check_sees_a_changed_number(course):
    generate(root=course)
    path = course / "notebooks/results.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.912346", "0.922346"), encoding="utf-8")
    assert generate(root=course, check=True) == [course / "README.md"]


def test_missing_markers_are_named(course):
    (course / "README.md").write_text("# Course\n<!-- map:begin -->\n<!-- map:end -->\n", encoding="utf-8")
    with pytest.raises(CourseError, match="<!-- results:begin -->"):
        generate(root=course)


def test_damaged_results_are_named_and_kept(course):
    path = course / "notebooks/results.json"
    path.write_text('{"full": ')
    with pytest.raises(CourseError, match=r"results\.json is damaged .*: restore it with git"):
        generate(root=course)
    assert path.read_text() == '{"full": '
