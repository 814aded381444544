"""Rules of the house: which room may import which, what imports without TensorFlow, and how fast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "course_lib"
# An import goes only from a later stage to an earlier one.
STAGES = [
    "errors",
    "files",
    "data",
    "text",
    "decoding",
    "summarization",
    "relations",
    "translation",
    "question_answering",
    "embeddings",
    "layers",
    "models",
    "training",
    "finetuning",
    "semisupervised",
    "privacy",
    "evaluation",
    "compression",
    "serving",
]
# These stand apart: no stage imports them.
APART = {
    "process": set(),
    "session": {"errors", "evaluation", "files", "process"},
    "runner": {"errors", "files", "process", "session"},
    "site": {"errors", "files", "runner", "session"},
    "bench": None,
    "cli": None,
    "cluster": {"errors"},
    "corpus": {"errors", "text"},
    "distributed": {"errors"},
    "grading": None,
    "recipes": None,
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    """Dotted names of everything that a module imports, also inside functions."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    room = room_of(path)
    if room == "__init__":
        room = "errors"
    rooms = {
        name.split(".")[1]
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name[:11] == "course_lib."
    }
    rooms -= {room}
    if room in APART:
        assert APART[room] is None or rooms <= APART[room]
    else:
        assert rooms <= set(STAGES[: STAGES.index(room)])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_pickle_no_eval_and_no_framework_where_it_does_not_belong(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    roots = {name.split(".")[0] for name in imported(tree)}
    assert not roots & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    # One file is for TensorFlow alone; its layer imports it only there.
    if room_of(path) in {"layers", "models", "text", "data"} and path.name != "tensorflow_lstm.py":
        assert "tensorflow" not in roots
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False


@pytest.mark.parametrize(
    "module",
    [
        "course_lib",
        "course_lib.text",
        "course_lib.data",
        "course_lib.summarization",
        "course_lib.question_answering",
        "course_lib.serving.entities",
        "course_lib.serving.predictors",
    ],
)
def test_import_is_fast_and_needs_no_tensorflow(module):
    code = (
        "import sys, time; began = time.perf_counter(); "
        f"import {module}; print(time.perf_counter() - began); "
        "print(*sorted({'tensorflow', 'keras', 'pandas', 'sklearn', 'gensim', 'nltk'} & set(sys.modules)))"
    )
    seconds = []
    for _ in range(3):
        output = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        duration, heavy = output.split("\n")[:2]
        seconds.append(float(duration))
        assert heavy == ""
    # The quickest of three: the machine may be busy with something else.
    assert min(seconds) < 0.5
