"""A cache and a mirror of their own for each test, and a pip that reaches one folder."""

import os
from pathlib import Path

import pytest
from tiny_catalog import Tiny


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    tiny = Tiny(tmp_path)
    monkeypatch.setenv("COURSE_CACHE", str(tiny.cache))
    monkeypatch.setenv("COURSE_DATA_MIRROR", str(tiny.mirror))
    return tiny


@pytest.fixture
def only_find_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip reaches nothing but the folder that is returned, whatever this machine's pip is set up to do."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return folder
