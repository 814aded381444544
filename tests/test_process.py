"""A process that keeps what it freed touches fewer new pages; operations get half of the cores each."""

import os
import platform
import subprocess
import sys

import pytest

from course_lib.process import MALLOC_ENVIRONMENT, keep_freed_memory, prepare_for_training, thread_environment

# bytearray writes zeros into what it gets: every page that is new to the process is a fault.
# Above 32 MiB glibc maps every block anew.
FAULTS = """
import resource
from course_lib.process import keep_freed_memory
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


@pytest.mark.parametrize(
    ("num_cores", "num_processes", "threads", "operations"),
    [(2, 1, 1, 2), (2, 2, 1, 2), (8, 1, 4, 8), (8, 2, 2, 4), (7, 3, 1, 2), (1, 1, 1, 2), (None, 1, 1, 2)],
)
def test_an_operation_gets_half_of_its_process_s_cores(
    monkeypatch, num_cores, num_processes, threads, operations
):
    monkeypatch.setattr(os, "cpu_count", lambda: num_cores)
    told = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(operations)}
    assert thread_environment(num_processes) == told


def test_what_the_user_set_stays(monkeypatch):
    environment = {"TF_NUM_INTRAOP_THREADS": "3"}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr("course_lib.process.keep_freed_memory", lambda: True)
    prepare_for_training()
    assert environment == {"TF_NUM_INTRAOP_THREADS": "3", "TF_NUM_INTEROP_THREADS": "8"}
