"""What one notebook leaves for another: `course run --jobs` reads the order from the names in the code."""

import re

import nbformat

from course_lib.files import REPOSITORY
from course_lib.runner import find_notebooks
from course_lib.runner.notebooks import predecessors


def test_every_artifact_is_named_in_the_call():
    for path in find_notebooks(REPOSITORY).values():
        code = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        calls = re.findall(r"\.artifact\([^)]*\)", code)
        assert all(re.fullmatch(r'\.artifact\("[a-z_]+"\)', call) for call in calls), (path.name, calls)


def test_the_order_of_those_that_build_on_another():
    found = predecessors(find_notebooks(REPOSITORY))
    assert found["01_preprocessing"] == set()
    assert found["06_fine_tuning"] == {"05_pretraining"}
    assert found["07_evaluation"] == {"06_fine_tuning"}
    assert found["16_quantization"] == {"04_training", "15_pruning"}
