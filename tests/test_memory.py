"""A process that keeps what it freed touches fewer new pages."""

import os
import platform
import subprocess
import sys

import pytest

from course_lib.memory import MALLOC_ENVIRONMENT, keep_freed_memory

# bytearray writes zeros into what it gets: every page that is new to the process is a fault.
# Above 32 MiB glibc maps every block anew.
FAULTS = """
import resource
from course_lib.memory import keep_freed_memory
{}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytearray(40 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again():
    def faults(line="", **environment):
        command = [sys.executable, "-c", FAULTS.format(line)]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=True)
        return int(done.stdout)

    pages = (40 << 20) // 4096
    assert faults() > 19 * pages
    assert faults("assert keep_freed_memory()") < 2 * pages
    assert faults(**MALLOC_ENVIRONMENT) < 2 * pages


def test_elsewhere_nothing_is_set(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
