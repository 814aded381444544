"""One training by several processes: they meet, each feeds its rows of every batch, JAX sums the gradients.

Each process is two: a supervisor, and its worker, in which JAX runs. JAX ends a worker by force when another
one is gone or never comes; the supervisor outlives it, says so in a sentence, and starts it anew.
"""

import atexit
import contextlib
import hashlib
import ipaddress
import os
import re
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from course_lib.errors import CourseError, UsageError

MAX_LOSSES = 3
# Holds the path of the log in a worker, and is not set in a supervisor.
_LOG = "COURSE_WORKER_LOG"
# What a worker ends with; 0, 1 and 2 are the command's own.
_ALONE, _LOST = 74, 75


@dataclass(frozen=True)
class Cluster:
    """Which of how many processes this is, and where they meet.

    Attributes:
        coordinator: HOST:PORT of process 0, as the others reach it.
        num_processes: how many there are.
        process_id: number of this one, from 0.
        wait: seconds that it waits for the others.

    Raises:
        UsageError: one of them cannot be.
    """

    coordinator: str
    num_processes: int
    process_id: int
    wait: int = 60

    def __post_init__(self):
        host, _, port = self.coordinator.rpartition(":")
        if not host or not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 2**16:
            raise UsageError(
                f"The coordinator {self.coordinator!r} is no HOST:PORT: name the machine of process 0 and a "
                "free port of it, such as 10.0.0.1:1234."
            )
        if self.num_processes < 1:
            raise UsageError(f"The number of processes is {self.num_processes}; it must be at least 1.")
        if not 0 <= self.process_id < self.num_processes:
            raise UsageError(
                f"The process id is {self.process_id}; of {self.num_processes} processes it must be one from "
                f"0 to {self.num_processes - 1}."
            )
        if self.wait < 1:
            raise UsageError(f"The seconds to wait are {self.wait}; they must be at least 1.")

    @property
    def host(self) -> str:
        return self.coordinator.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.coordinator.rpartition(":")[2])


def cluster_of(
    coordinator: str | None, num_processes: int | None, process_id: int | None, wait: int
) -> Cluster | None:
    """The cluster of a command's options; None if none of the first three is given.

    Raises:
        UsageError: some of the three are given and others not, or one of them cannot be.
    """
    options = {
        "--coordinator": coordinator,
        "--num-processes": num_processes,
        "--process-id": process_id,
    }
    missing = [name for name, value in options.items() if value is None]
    if len(missing) == len(options):
        return None
    if missing:
        raise UsageError(
            f"Several processes need all of {', '.join(options)}: add {' and '.join(missing)}, or leave all "
            "of them out to train with one."
        )
    return Cluster(coordinator, num_processes, process_id, wait)


def is_worker() -> bool:
    """Whether a supervisor has started this process."""
    return _LOG in os.environ


def supervise(command: Sequence[str], cluster: Cluster, folder: Path) -> int:
    """Runs a worker to its end; one that loses the others is started anew and waits for them.

    Args:
        command: starts the worker, which trains within `joined`.
        cluster: this process's.
        folder: the run's, with `checkpoints` in it; what JAX says goes to its file `process-ID.log`.

    Returns:
        The worker's exit code.

    Raises:
        UsageError: JAX is not installed, or process 0 cannot have its port.
        CourseError: the others do not come in time, or get lost again and again.
    """
    if find_spec("jax") is None:
        raise UsageError(
            "Several processes train with JAX, which is not installed: run `pip install -e .[jax]` in the "
            "course's folder."
        )
    log = folder / f"process-{cluster.process_id}.log"
    log.unlink(missing_ok=True)
    environment = {**os.environ, "KERAS_BACKEND": "jax", _LOG: str(log)}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    losses, newest = 0, None
    while True:
        if cluster.process_id == 0:
            _check_port(cluster)
        code = _run_worker(command, environment)
        if code in (0, 1, 2):
            return code
        if code == _ALONE:
            raise CourseError(
                f"Process {cluster.process_id} waited {cluster.wait} s, but not all {cluster.num_processes} "
                f"came to {cluster.coordinator}: start each id from 0 to {cluster.num_processes - 1} once, "
                "where process 0 can be reached, or let them --wait longer."
            )
        before, newest = newest, max(folder.glob("checkpoints/checkpoint-*.npz"), default=None)
        losses = losses + 1 if newest == before else 1
        if losses > MAX_LOSSES:
            raise CourseError(
                f"Process {cluster.process_id} broke off {losses} times without a new checkpoint in between; "
                f"{log} says why."
            )
        print(
            f"Process {cluster.process_id} broke off or lost the others; it waits up to {cluster.wait} s for "
            "all to be there again, and goes on from the last checkpoint.",
            file=sys.stderr,
            flush=True,
        )


def _run_worker(command, environment):
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    try:
        return worker.wait()
    finally:
        worker.kill()
        worker.wait()
        worker.stdin.close()


def _check_port(cluster):
    try:
        socket.create_server(("", cluster.port)).close()
    except OSError as error:
        raise UsageError(
            f"Process 0 cannot have port {cluster.port} of this machine ({error.strerror}): choose another "
            "one in --coordinator, in all processes."
        ) from error


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[None]:
    """Within it the processes are one: Keras copies what is built to all and adds up their gradients.

    Only the worker of `supervise` may enter it, before any computation. Each process passes its own rows of
    each batch, see `ShardedBatches`. A worker that is alone after the cluster's wait, or that loses the
    others, ends at once and leaves the rest to its supervisor.
    """
    import jax
    import keras

    _hide_noise(Path(os.environ[_LOG]))
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    alone = threading.Timer(cluster.wait, os._exit, [_ALONE])
    alone.daemon = True
    alone.start()
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.num_processes,
            cluster.process_id,
            # JAX ends the process when its time is over: ours is over before.
            initialization_timeout=10 * cluster.wait,
            coordinator_bind_address=cluster.coordinator if _is_loopback(cluster.host) else None,
        )
        alone.cancel()
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
        yield
        keras.distribution.set_distribution(None)
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError:
        os.write(2, traceback.format_exc().encode())
        os._exit(_LOST)
    except BaseException as error:
        # At its end JAX would wait for the others, which may not know of this.
        atexit.register(_leave, getattr(error, "exit_code", 1))
        raise


def _hide_noise(log):
    """Only Python's words are shown; what C++ writes past it goes to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            shown = os.dup(descriptor)
            setattr(sys, name, os.fdopen(shown, "w", 1, encoding="utf-8", errors="backslashreplace"))
            os.dup2(file.fileno(), descriptor)


def _end_with_supervisor():
    # The supervisor never writes: whatever comes is the end of its pipe.
    os.read(0, 1)
    os._exit(_LOST)


def _leave(code):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_loopback(host):
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def agree(facts: Mapping[str, bytes]) -> None:
    """Within `joined`: all processes hold the same facts, or each of them says which differ.

    Raises:
        UsageError: they differ.
    """
    from jax.experimental import multihost_utils

    digests = [hashlib.sha256(content).digest()[:4] for content in facts.values()]
    own = np.frombuffer(b"".join(digests), np.uint32)
    all_digests = multihost_utils.process_allgather(own)  # (num_processes, num_facts)
    differing = [name for name, column in zip(facts, all_digests.T, strict=True) if len(set(column)) > 1]
    if differing:
        raise UsageError(
            f"The processes differ in their {' and '.join(differing)}: give all of them the same command but "
            "for --process-id, the same data, and one folder --out that they share."
        )
