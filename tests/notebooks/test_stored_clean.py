"""How a notebook is stored: no outputs, one parameters cell, the same setup everywhere, what was measured."""

import ast
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from course_lib.runner import find_notebooks
from course_lib.runner.badges import colab_setup, read_repository

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = find_notebooks(REPOSITORY)
SETUP = colab_setup(read_repository(REPOSITORY))
EXERCISES = sorted((REPOSITORY / "notebooks" / "exercises").rglob("ex*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.])(/home/|/Users/|/root/|/work/|/tmp/|/opt/)|\b[A-Z]:\\")


@pytest.fixture(params=NOTEBOOKS.values(), ids=NOTEBOOKS.keys())
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_valid_and_in_nbformat_s_own_form(path, notebook):
    nbformat.validate(notebook)
    assert path.read_text(encoding="utf-8") == nbformat.writes(notebook) + "\n"


def test_no_outputs_no_counts_kernel_python3(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(notebook):
        assert (cell.outputs, cell.execution_count) == ([], None), cell.id


def test_cell_ids_are_there_and_unique(notebook):
    assert (notebook.nbformat, notebook.nbformat_minor >= 5) == (4, True)
    counts = Counter(cell.get("id") for cell in notebook.cells)
    assert None not in counts
    assert [identifier for identifier, count in counts.items() if count > 1] == []


def test_one_parameters_cell_with_the_two_parameters(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert ast.unparse(ast.parse(tagged[0].source)) == "PROFILE = 'fast'\nSEED = 0"


def test_it_starts_under_its_own_name(path, notebook):
    source = "\n".join(cell.source for cell in code_cells(notebook))
    assert f'start("{path.stem}", profile=PROFILE, seed=SEED)' in source


def test_setup_comes_first_and_is_the_same_everywhere(notebook):
    assert code_cells(notebook)[0].source == SETUP


def test_code_cells_are_short_and_valid(notebook):
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= 25, cell.id
        ast.parse(TransformerManager().transform_cell(cell.source))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_code_cells_of_exercises_are_short(exercise):
    for cell in code_cells(nbformat.read(exercise, as_version=4)):
        assert len(cell.source.splitlines()) <= 25, cell.id


def test_it_has_a_title_a_promise_and_a_time(path, notebook):
    title, _, promise = notebook.cells[0].source.partition("\n")
    assert title.startswith(f"# {path.stem[:2]} ")
    assert promise.strip()
    assert sum(cell.id == "time" and cell.cell_type == "markdown" for cell in notebook.cells) == 1


def test_no_path_of_a_machine(notebook):
    for cell in notebook.cells:
        source = "" if cell.source == SETUP else cell.source
        assert not MACHINE_PATH.search(source), cell.id
