"""Run a command under a deadline, measure the memory of its whole process tree, leave no process behind."""

import contextlib
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

SAMPLE_SECONDS = 0.5
_MARK = "COURSE_RUN_MARK"


@dataclass(frozen=True)
class Watched:
    """What became of the command: `exit_code` is None if it was stopped, and `limit` then says why.

    `limit` is "time", "memory", "processes" or "stop", or None if the command came to its own end.
    """

    exit_code: int | None
    wall_seconds: float
    peak_memory_mb: float
    limit: str | None = None


def watch(
    command: list[str],
    *,
    deadline_seconds: float,
    env: dict[str, str],
    max_memory_mb: float = float("inf"),
    max_processes: float = float("inf"),
    after_start: Callable[[], object] = lambda: None,
    stop: threading.Event | None = None,
    **streams: Any,
) -> Watched:
    """Run a command to its end or to a limit; afterwards no process that it started is alive.

    Peak memory is the largest sum of the tree's resident sets, sampled twice a second, in MB (10**6 bytes).

    Args:
        command: program and arguments.
        deadline_seconds, max_memory_mb, max_processes: limits, the last two of the whole tree.
        env: its environment.
        after_start: called once the process runs.
        stop: once another thread sets it, the command is stopped.
        streams: `stdin`, `stdout` and `stderr`, as `subprocess.Popen` takes them.
    """
    # A kernel runs in a session of its own and may lose its parent, but every descendant inherits the mark.
    mark = uuid.uuid4().hex
    began = time.perf_counter()
    peak, limit = 0, None
    process = subprocess.Popen(command, env={**env, _MARK: mark}, **{"stdin": subprocess.DEVNULL, **streams})
    try:
        after_start()
        while process.poll() is None and limit is None:
            memory, num_processes = _tree_usage(process.pid)
            peak = max(peak, memory)
            if time.perf_counter() - began >= deadline_seconds:
                limit = "time"
            elif memory > max_memory_mb * 1e6:
                limit = "memory"
            elif num_processes > max_processes:
                limit = "processes"
            elif stop is not None and stop.is_set():
                limit = "stop"
            else:
                remaining = began + deadline_seconds - time.perf_counter()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0, min(SAMPLE_SECONDS, remaining)))
        return Watched(process.poll(), time.perf_counter() - began, peak / 1e6, limit)
    finally:
        with contextlib.suppress(OSError):
            process.kill()
        _kill_marked(mark)
        process.wait()


def _tree_usage(pid: int) -> tuple[int, int]:
    """Bytes in use and number of processes."""
    memory, number = 0, 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                memory += process.memory_info().rss
                number += 1
    return memory, number


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
