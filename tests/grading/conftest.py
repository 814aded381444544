"""Submissions made from the solution of exercise 03."""

import nbformat
import pytest

from course_lib.grading import exercise as exercises
from course_lib.grading.grade import settings

NAME = "ex03"


@pytest.fixture(scope="session")
def how():
    return settings()


@pytest.fixture(scope="session")
def solution():
    return exercises.solution_sources(NAME)


@pytest.fixture
def submit(tmp_path, solution):
    """Writes the solution with some answers replaced (None: the stub) and gives the path."""

    def write(name="anna", **answers):
        sources = {grade_id: text for grade_id, text in {**solution, **answers}.items() if text is not None}
        notebook = exercises.rebuild(exercises.student_copy(NAME), sources)
        path = tmp_path / f"{name}_{NAME}.ipynb"
        nbformat.write(notebook, path)
        return path

    return write
