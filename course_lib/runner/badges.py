"""`course badges`: from one setting, what opens each notebook on Colab and brings the course there."""

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from course_lib.errors import UsageError
from course_lib.files import REPOSITORY, write_atomically
from course_lib.runner.notebooks import COLAB_SETUP, find_notebooks

# The ids of the two cells that are generated here.
BADGE_ID, SETUP_ID = "badge", "colab"
_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"
_PART = r"\w[\w.-]*"
_ADDRESS = re.compile(
    rf"https://github\.com/({_PART}?/{_PART}?)(?:\.git)?/?(?:/tree/({_PART}(?:/{_PART})*))?/?", re.ASCII
)
# What the setup cell does before it looks for the course, if it can come from a repository.
_BEFORE = "    found = "
_CLONE = """\
    if not any(file for place in places for file in Path("/content").glob(place)):
        !git clone -q --depth 1 -b {branch} https://github.com/{name}.git "/content/{folder}"
"""


class Repository(NamedTuple):
    """Where Colab finds the notebooks: `name` is OWNER/NAME on GitHub."""

    name: str
    branch: str


def read_repository(root: Path = REPOSITORY) -> Repository | None:
    """What pyproject.toml sets as [tool.course] repository; None if that is empty or missing.

    Raises:
        UsageError: it is no address of a repository on GitHub, from where Colab could open notebooks.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = settings.get("tool", {}).get("course", {}).get("repository", "")
    if address == "":
        return None
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if match is None:
        raise UsageError(
            f"[tool.course] repository in pyproject.toml is {address!r}: write a repository's address on "
            "GitHub, https://github.com/OWNER/NAME (for another branch than main with /tree/BRANCH behind "
            'it), or "" for no badges.'
        )
    return Repository(match[1], match[2] or "main")


def badge(repository: Repository, name: str) -> str:
    """Markdown that opens the notebook `name`, e.g. "04_training", on Colab."""
    address = f"{repository.name}/blob/{repository.branch}/notebooks/{name}.ipynb"
    return f"[![Open in Colab]({_IMAGE})](https://colab.research.google.com/github/{address})"


def colab_setup(repository: Repository | None) -> str:
    """The first code cell of every notebook; a repository is cloned where nobody has brought the course."""
    if repository is None:
        return COLAB_SETUP
    folder = repository.name.partition("/")[2]
    clone = _CLONE.format(name=repository.name, branch=repository.branch, folder=folder)
    return COLAB_SETUP.replace(_BEFORE, clone + _BEFORE, 1)


def generate_badges(*, root: Path = REPOSITORY, check: bool = False) -> list[Path]:
    """Bring each notebook's badge, the cell under its title, and its setup cell in line with the setting.

    Args:
        root: the repository.
        check: only compare, write nothing.

    Returns:
        The files that differed.

    Raises:
        UsageError: as `read_repository`.
    """
    repository = read_repository(root)
    differing = []
    for name, path in find_notebooks(root).items():
        notebook = nbformat.read(path, as_version=4)
        _set_badge(notebook, "" if repository is None else badge(repository, name))
        for cell in notebook.cells:
            if cell.get("id") == SETUP_ID:
                cell.source = colab_setup(repository)
        text = nbformat.writes(notebook) + "\n"
        if path.read_text(encoding="utf-8") != text:
            differing.append(path)
            if not check:
                write_atomically(path, text)
    return differing


def _set_badge(notebook: NotebookNode, source: str) -> None:
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != BADGE_ID]
    if source:
        notebook.cells.insert(1, new_markdown_cell(source, id=BADGE_ID))
