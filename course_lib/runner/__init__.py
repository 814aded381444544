"""Runs the notebooks through papermill, gates what they report, and writes what was measured."""

from course_lib.runner.notebooks import COLAB_SETUP, find_notebooks
from course_lib.runner.results import generate, save_results
from course_lib.runner.run import Outcome, failed_notebooks, report, run

__all__ = [
    "COLAB_SETUP",
    "Outcome",
    "failed_notebooks",
    "find_notebooks",
    "generate",
    "report",
    "run",
    "save_results",
]
