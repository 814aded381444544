"""A small course in a temporary folder: its notebooks, its bounds, its README."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

README = "# Course\n\n<!-- map:begin -->\n<!-- map:end -->\n\n<!-- results:begin -->\n<!-- results:end -->\n"

MakeCourse = Callable[..., Path]


@pytest.fixture
def make_course(tmp_path: Path) -> MakeCourse:
    """make_course({"01_name": [code, code]}, expectations="…") -> root of a course."""

    def make(notebooks: dict[str, list[str]], expectations: str = "") -> Path:
        folder = tmp_path / "notebooks"
        folder.mkdir()
        for name, sources in notebooks.items():
            cells = [
                new_markdown_cell(
                    f"# {name[:2]} {name[3:]}\n\nYou will be able to\ndo {name[3:]}.\n\nMore.", id="title"
                ),
                new_markdown_cell("to be generated", id="time"),
                new_code_cell(
                    'PROFILE = "fast"\nSEED = 0', id="parameters", metadata={"tags": ["parameters"]}
                ),
                *(new_code_cell(source, id=f"code-{number}") for number, source in enumerate(sources)),
            ]
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")
        (folder / "expectations.toml").write_text(expectations, encoding="utf-8")
        (tmp_path / "README.md").write_text(README, encoding="utf-8")
        return tmp_path

    return make
