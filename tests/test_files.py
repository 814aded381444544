"""Files appear whole or not at all, also under several writers; documents say what JSON cannot hold."""

import json
import os
import re
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from course_lib.errors import CourseError
from course_lib.files import write_atomically
from course_lib.text.storage import read_document, write_document


def test_many_writers_of_one_file_leave_one_of_their_contents(tmp_path):
    path, started = tmp_path / "file.txt", threading.Barrier(8)

    def write(number):
        started.wait()
        for _ in range(30):
            # All writers are between writing and replacing at once.
            write_atomically(path, str(number) * 10_000, verify=lambda aside: aside.read_text("utf-8"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert path.read_text("utf-8") in {str(number) * 10_000 for number in range(8)}
    assert list(tmp_path.iterdir()) == [path]


def test_what_does_not_verify_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_atomically(path, "old\n")
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, "new\n", verify=lambda aside: 1 / 0)
    assert path.read_bytes() == b"old\n" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_may_be_read_by_whom_the_mask_says(tmp_path):
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_bytes(b"")
    write_atomically(atomic, b"")
    assert stat.S_IMODE(atomic.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_what_json_cannot_hold_is_refused_by_the_files_name(tmp_path):
    path = tmp_path / "settings.json"
    for content in ({"size": np.int64(3)}, {"words": {"a"}}):
        with pytest.raises(CourseError, match=re.escape(f"The settings could not be written to {path} (")):
            write_document(path, {"format": "x/1", **content}, "settings", json.loads)
    assert not list(tmp_path.iterdir())


def test_many_writers_of_one_document(tmp_path):
    path = tmp_path / "settings.json"

    def read(file):
        return read_document(file, "x/1", "settings", dict)

    def write(number):
        write_document(path, {"format": "x/1", "number": number}, "settings", read)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert read(path)["number"] in range(200) and list(tmp_path.iterdir()) == [path]
