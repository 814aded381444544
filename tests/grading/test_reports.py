"""What feedback says about where to look."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_lib.grading import reports


@pytest.fixture
def lesson(monkeypatch, tmp_path):
    """A small lesson in the place of the real ones."""
    cells = [
        new_markdown_cell("# The lesson", id="title"),
        new_markdown_cell("## 1 A *first* part\n\nText.\n\n### Within `it`", id="first"),
        new_code_cell("# a comment\n1", id="code"),
        new_markdown_cell("An answer.\n\n```\n# no heading\n```\n\n## 2 What is next", id="both"),
        new_markdown_cell("Text.", id="last"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_small.ipynb")
    monkeypatch.setattr(reports, "FOLDER", tmp_path / "exercises")
    reports._headings.cache_clear()
    yield
    reports._headings.cache_clear()


@pytest.mark.parametrize(
    ("hint", "place"),
    [
        ("01_small#first", "01_small, “1 A first part”"),
        ("01_small#code", "01_small, “Within it”"),
        ("01_small#both", "01_small, “Within it” to “2 What is next”"),
        ("01_small#last", "01_small, “2 What is next”"),
        ("01_small#gone", "01_small"),
        ("02_gone#cell", "02_gone"),
    ],
)
def test_feedback_names_lesson_and_heading_of_a_hint(lesson, hint, place):
    check = {"name": "c", "points": 0, "max_points": 1, "status": "wrong", "detail": "", "message": ""}
    question = {"id": "q1", "points": 0, "max_points": 1, "status": "wrong", "message": ""}
    question["checks"] = [{**check, "hint": hint}]
    origin = dict.fromkeys(("submission", "checks", "environment", "sandbox"), "x")
    grade = {"exercise": "ex01", "student": "anna", "points": 0, "max_points": 1, "provenance": origin}
    page = reports.feedback({**grade, "questions": [question]})
    assert f"See {place}." in page and "#" not in page.partition("<body>")[2]
