"""Colab badges: none without the setting; with it each opens its own file and the setup clones the course."""

import re
import shutil
import sys
import types
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from course_lib import cli
from course_lib.errors import UsageError
from course_lib.files import REPOSITORY
from course_lib.runner import COLAB_SETUP, find_notebooks
from course_lib.runner.badges import Repository, colab_setup, generate_badges, read_repository
from course_lib.site.pages import notebook_page

SETTING = '[tool.course]\nrepository = "{}"\n'


@pytest.fixture
def course(tmp_path) -> Path:
    """The course's own notebooks in a folder of their own, without the setting."""
    (tmp_path / "notebooks").mkdir()
    for path in find_notebooks(REPOSITORY).values():
        shutil.copy(path, tmp_path / "notebooks")
    set_repository(tmp_path, "")
    generate_badges(root=tmp_path)
    return tmp_path


def set_repository(root: Path, address: str) -> None:
    (root / "pyproject.toml").write_text(SETTING.format(address), encoding="utf-8")


def contents(root: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((root / "notebooks").glob("*.ipynb"))}


def badges(notebook: nbformat.NotebookNode) -> list[str]:
    """The addresses to which pictures lead, wherever they stand in the notebook."""
    markdown = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)", markdown)


def test_the_stored_notebooks_are_as_the_setting_wants_them():
    assert generate_badges(root=REPOSITORY, check=True) == []
    for path in find_notebooks(REPOSITORY).values():
        found = badges(nbformat.read(path, as_version=4))
        assert len(found) == (read_repository(REPOSITORY) is not None)
        assert all(address.endswith(f"/notebooks/{path.name}") for address in found)


@pytest.mark.parametrize(
    ("setting", "start"),
    [
        ("https://github.com/some-one/nlp.course", "/github/some-one/nlp.course/blob/main/"),
        ("https://github.com/some-one/nlp.course.git", "/github/some-one/nlp.course/blob/main/"),
        ("https://github.com/a/b/tree/autumn/2027/", "/github/a/b/blob/autumn/2027/"),
    ],
)
def test_each_badge_points_at_its_own_file(course, setting, start):
    before = contents(course)
    set_repository(course, setting)
    assert generate_badges(root=course, check=True) == list(find_notebooks(course).values())
    assert contents(course) == before

    generate_badges(root=course)

    for path in find_notebooks(course).values():
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        (address,) = badges(notebook)
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc) == ("https", "colab.research.google.com")
        # What follows OWNER/NAME/blob/BRANCH is the file's place in the repository.
        assert parts.path.startswith(start)
        assert (course / parts.path.removeprefix(start)).samefile(path)
        assert [cell.id for cell in notebook.cells[:2]] == ["title", "badge"]
    assert generate_badges(root=course) == []

    set_repository(course, "")
    generate_badges(root=course)
    assert contents(course) == before


def test_a_badge_that_was_moved_to_another_notebook_is_seen(course):
    set_repository(course, "https://github.com/a/b")
    generate_badges(root=course)
    first, second, *_ = find_notebooks(course).values()
    moved = nbformat.read(second, as_version=4)
    moved.cells[1] = nbformat.read(first, as_version=4).cells[1]
    second.write_text(nbformat.writes(moved) + "\n", encoding="utf-8")
    assert generate_badges(root=course, check=True) == [second]


@pytest.mark.parametrize(
    "setting",
    [
        "github.com/a/b",
        "https://example.org/a/b",
        "https://github.com/a",
        "https://github.com/a/b/issues",
        "https://github.com/a/b/tree/../c",
        "https://github.com/a/b c",
        'https://github.com/a/b\\"',
    ],
)
def test_a_setting_that_colab_could_not_open_is_named(course, setting):
    before = contents(course)
    set_repository(course, setting)
    with pytest.raises(UsageError, match=r"\[tool.course\] repository in pyproject.toml is .*OWNER/NAME"):
        generate_badges(root=course)
    assert contents(course) == before


def test_no_setting_at_all_means_no_badges(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    assert read_repository(tmp_path) is None
    assert colab_setup(None) == COLAB_SETUP


@pytest.mark.parametrize("brought", [False, True])
def test_setup_clones_the_repository_unless_the_course_is_there(tmp_path, monkeypatch, brought):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    calls = []

    def bring(folder: Path) -> None:
        folder.mkdir()
        (folder / "requirements-colab.txt").touch()

    def system(command: str) -> None:
        calls.append(command)
        bring(tmp_path / "b")

    if brought:
        bring(tmp_path / "uploaded")
    shell = types.SimpleNamespace(system=system, run_line_magic=lambda *_: None)
    cell = colab_setup(Repository("a/b", "autumn")).replace("/content", str(tmp_path))
    exec(TransformerManager().transform_cell(cell), {"get_ipython": lambda: shell})
    clone = f'git clone -q --depth 1 -b autumn https://github.com/a/b.git "{tmp_path}/b"'
    assert calls == ([] if brought else [clone])
    assert sys.path[0] == str(tmp_path / ("uploaded" if brought else "b"))


def test_the_site_links_to_colab_without_loading_its_picture(course):
    set_repository(course, "https://github.com/a/b")
    generate_badges(root=course)
    path = next(iter(find_notebooks(course).values()))
    page = notebook_page(nbformat.read(path, as_version=4), executed=False)
    (cell,) = (cell for cell in page.cells if cell.id == "badge")
    address = f"https://colab.research.google.com/github/a/b/blob/main/notebooks/{path.name}"
    assert cell.source == f"[Open in Colab]({address})"


def test_the_command_says_what_it_wrote_and_check_is_red(course, monkeypatch, capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["course", "badges", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    def of_the_copy(*, check):
        return generate_badges(root=course, check=check)

    monkeypatch.setattr("course_lib.runner.badges.generate_badges", of_the_copy)
    set_repository(course, "https://github.com/a/b")
    paths = list(find_notebooks(course).values())
    assert call("--check") == (
        1,
        "".join(f"out of date: {path}\n" for path in paths),
        "course: Run `course badges` and commit what it writes.\n",
    )
    assert call() == (0, "".join(f"written: {path}\n" for path in paths), "")
    assert call("--check") == (0, "Everything is up to date.\n", "")
