"""Run a command under a deadline, measure the memory of its whole process tree, leave no process behind."""

import contextlib
import os
import subprocess
import time
import uuid
from dataclasses import dataclass

import psutil

SAMPLE_SECONDS = 0.5
_MARK = "COURSE_RUN_MARK"


@dataclass(frozen=True)
class Watched:
    """What became of the command: `exit_code` is None if it was stopped at the deadline."""

    exit_code: int | None
    wall_seconds: float
    peak_memory_mb: float


def watch(command: list[str], *, deadline_seconds: float, env: dict[str, str]) -> Watched:
    """Run a command to its end or its deadline; afterwards no process that it started is alive.

    Peak memory is the largest sum of the tree's resident sets, sampled twice a second, in MB (10**6 bytes).
    """
    # A kernel runs in a session of its own and may lose its parent, but every descendant inherits the mark.
    mark = uuid.uuid4().hex
    began = time.perf_counter()
    peak = 0
    process = subprocess.Popen(command, env={**env, _MARK: mark}, stdin=subprocess.DEVNULL)
    try:
        while process.poll() is None and time.perf_counter() - began < deadline_seconds:
            peak = max(peak, _tree_memory(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SAMPLE_SECONDS)
        return Watched(process.poll(), time.perf_counter() - began, peak / 1e6)
    finally:
        _kill_marked(mark)
        process.wait()


def _tree_memory(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _kill_marked(mark: str) -> None:
    # Again and again, since a process may start another while it is being killed.
    for _ in range(10):
        marked = [process for process in psutil.process_iter() if _mark_of(process) == mark]
        if not marked:
            return
        for process in marked:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(marked, timeout=5)


def _mark_of(process: psutil.Process) -> str | None:
    if process.pid == os.getpid():
        return None
    try:
        return process.environ().get(_MARK)
    except (psutil.Error, OSError):
        return None
