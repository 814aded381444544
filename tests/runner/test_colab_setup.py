"""The setup cell: nothing elsewhere; on Colab it finds the course and installs what Colab lacks."""

import re
import sys
import types
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from course_lib.runner import COLAB_SETUP

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_cell(tmp_path, monkeypatch):
    """Run the cell with tmp_path in the place of /content; returns the magics that it called."""

    def run() -> list[tuple[str, str]]:
        magics: list[tuple[str, str]] = []

        def run_line_magic(name: str, line: str) -> None:
            magics.append((name, re.sub(r"{(.*?)}", lambda match: str(eval(match[1], variables)), line)))

        shell = types.SimpleNamespace(run_line_magic=run_line_magic)
        variables = {"get_ipython": lambda: shell}
        code = TransformerManager().transform_cell(COLAB_SETUP).replace("/content", str(tmp_path))
        monkeypatch.setattr(sys, "path", list(sys.path))
        exec(code, variables)
        return magics

    return run


def test_it_does_nothing_elsewhere(run_cell):
    path = list(sys.path)
    assert run_cell() == []
    assert sys.path == path


@pytest.mark.parametrize("place", ["course", "drive/MyDrive/my course"])
def test_it_installs_the_course_on_colab(run_cell, tmp_path, monkeypatch, place):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "requirements-colab.txt").touch()
    assert run_cell() == [
        ("pip", f'install -q -r "{folder}/requirements-colab.txt"'),
        ("pip", f'install -q --no-deps -e "{folder}"'),
    ]
    assert sys.path[0] == str(folder)


def test_it_says_what_is_missing_on_colab(run_cell, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    with pytest.raises(AssertionError, match="bring the course's folder here"):
        run_cell()


def test_colab_keeps_its_own_frameworks():
    lines = (REPOSITORY / "requirements-colab.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[<>=!~ ]", line)[0].lower() for line in lines if line and not line.startswith("#")}
    assert names
    assert not names & {
        "tensorflow",
        "keras",
        "keras-hub",
        "keras-nlp",
        "tensorflow-text",
        "numpy",
        "jax",
        "torch",
    }
    assert not any("==" in line for line in lines)
