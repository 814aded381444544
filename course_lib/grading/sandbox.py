"""Runs a student's notebook where it can harm nothing: without network, files, processes or time of others.

Three backends. `namespaces` (Linux): new user, mount, process, network and IPC namespaces; the file system is
an empty one in memory into which the Python environment, the course's package without its grading, and the
named data sets are mounted read-only. `docker` (Linux with an engine): the same in a container of an empty
image, where users may not make namespaces. `limits` (elsewhere): limits on each process, and an end to all
that it started, which stop accidents but hide no file. The report says which one ran.
"""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import course_lib
from course_lib.data.fetch import cache_dir
from course_lib.errors import CourseError, UsageError, unknown_name
from course_lib.files import REPOSITORY
from course_lib.runner.watch import Watched, watch

BACKENDS = ("namespaces", "docker", "limits")
MAX_EVENT_BYTES = 5_000_000
SCRATCH_MB = 200
MAX_PROCESSES = 64
START_SECONDS = 90  # until the first cell begins; a busy machine needs more than the usual two
_PACKAGE = Path(course_lib.__file__).parent
_GRADING = _PACKAGE / "grading"
# The course may lie below a folder that is mounted, such as /usr.
_HIDDEN = (_GRADING, REPOSITORY / "notebooks", REPOSITORY / "tests")
_EXECUTOR = _GRADING / "execute.py"
_IMAGE = "course-sandbox"
_EMPTY_ARCHIVE = bytes(10_240)
_NAMESPACES = (
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--fork",
    "--net",
    "--ipc",
    "--uts",
)

# Run by sh as the first process of the new namespaces, with root's powers inside of them alone.
# $1: the new root (an empty folder); then the command. Mounts come from standard environment variables.
_SETUP = r"""
set -eu
root=$1; shift
ip link set lo up
mount --make-rprivate /
mount -t tmpfs -o size=${SANDBOX_MB}m,mode=755 sandbox "$root"
printf '%s\n' "$SANDBOX_MOUNTS" | while IFS='|' read -r source target; do
    if [ -L "$source" ] && [ "$source" = "$target" ] && [ -d "$source" ]; then
        mkdir -p "$root$(dirname "$target")"
        ln -s "$(readlink "$source")" "$root$target"
    elif [ -d "$source" ]; then
        mkdir -p "$root$target"
        mount --bind "$source" "$root$target"
        mount -o remount,bind,ro "$root$target"
    elif [ -e "$source" ]; then
        mkdir -p "$root$(dirname "$target")"
        touch "$root$target"
        mount --bind "$source" "$root$target"
        mount -o remount,bind,ro "$root$target"
    fi
done
printf '%s\n' "$SANDBOX_HIDDEN" | while read -r hidden; do
    if [ -d "$root$hidden" ]; then mount -t tmpfs -o ro,size=4k hidden "$root$hidden"; fi
done
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/scratch" "$root/old"
for device in null zero random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t proc proc "$root/proc"
cd "$root"
pivot_root . old
cd /scratch
umount -l /old
rmdir /old
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


_MISSING = {
    "namespaces": "This machine does not let users make namespaces (it needs Linux with unshare, setpriv and "
    "ip, and unprivileged user namespaces)",
    "docker": "No Docker engine answers here (it needs Linux, the docker command, and the right to use it)",
}


class Run(NamedTuple):
    """What came out of the sandbox.

    Attributes:
        events: as `course_lib.grading.execute` sent them, those that could be read.
        seconds: since the first cell began; 0 if none did.
        watched: exit code, time and memory of all processes.
        flooded: more was sent than `MAX_EVENT_BYTES`.
        stderr: the end of what the executor itself complained about.
    """

    events: list[dict[str, Any]]
    seconds: float
    watched: Watched
    flooded: bool
    stderr: str


def choose_backend(name: str | None = None) -> str:
    """The backend to use: the named one, or the strongest that works on this machine.

    Raises:
        UsageError: an unknown name.
        CourseError: the named one does not work here.
    """
    if name is not None and name not in BACKENDS:
        raise unknown_name("sandbox", name, BACKENDS)
    works = {
        "namespaces": _namespaces_work,
        "docker": _docker_works,
        "limits": lambda: True,
    }
    if name is None:
        return next(backend for backend in BACKENDS if works[backend]())
    if not works[name]():
        raise CourseError(f"{_MISSING[name]}: use --sandbox limits, and only for students you trust.")
    return name


def execute(
    notebook: Mapping[str, Any],
    nonce: str,
    *,
    backend: str,
    datasets: Sequence[str],
    cell_seconds: int,
    total_seconds: int,
    memory_mb: int,
) -> Run:
    """Executes a rebuilt notebook; when it returns, none of its processes is left.

    Args:
        notebook: format 4, as a dict.
        nonce: lines of output that begin with it are reported.
        backend: one of `BACKENDS`.
        datasets: names in the catalog whose files the notebook may read.
        cell_seconds, total_seconds, memory_mb: limits; the total from the first cell on, memory of all
            processes together.

    Raises:
        UsageError: a limit below one second or one MB.
    """
    if min(cell_seconds, total_seconds, memory_mb) < 1:
        raise UsageError("The limits of the sandbox must be at least one second and one MB.")
    job = {
        "notebook": notebook,
        "nonce": nonce,
        "cell_seconds": cell_seconds,
        "total_seconds": total_seconds,
    }
    with tempfile.TemporaryDirectory(prefix="grade-") as folder, tempfile.TemporaryFile() as stderr:
        folder = Path(folder)
        command, environment = _COMMANDS[backend](folder, datasets, memory_mb)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        reading, writing = os.pipe()
        reader = _Reader(reading)
        open_ends = {writing}
        try:
            with open(folder / "job.json", "rb") as stdin:
                watched = watch(
                    command,
                    deadline_seconds=START_SECONDS + total_seconds,
                    env=environment,
                    stdin=stdin,
                    stdout=writing,
                    stderr=stderr,
                    max_memory_mb=memory_mb,
                    max_processes=MAX_PROCESSES,
                    after_start=lambda: os.close(open_ends.pop()),
                )
        finally:
            for end in open_ends:  # the process did not start
                os.close(end)
            if backend == "docker":
                out_of_memory = _remove_container(folder.name)
            content, flooded, seconds = reader.finish()
        if backend == "docker" and out_of_memory:
            watched = dataclasses.replace(watched, limit="memory")
        stderr.seek(0, os.SEEK_END)
        stderr.seek(max(0, stderr.tell() - 2_000))
        complaint = stderr.read().decode("utf-8", "replace")
    return Run(_parse(content), seconds, watched, flooded, complaint)


class _Reader(threading.Thread):
    """Reads a pipe to its end in the background and keeps the first bytes."""

    def __init__(self, descriptor):
        super().__init__(daemon=True)
        self._descriptor, self._content, self._flooded = descriptor, bytearray(), False
        self._began = None
        self.start()

    def run(self):
        while chunk := os.read(self._descriptor, 65_536):
            self._began = self._began or time.monotonic()
            room = MAX_EVENT_BYTES - len(self._content)
            self._content += chunk[:room]
            self._flooded = self._flooded or len(chunk) > room

    def finish(self):
        # All writers are dead by now, so the end has been or will be reached at once.
        self.join(timeout=10)
        os.close(self._descriptor)
        seconds = time.monotonic() - self._began if self._began else 0.0
        return bytes(self._content), self._flooded, seconds


def _parse(content):
    events = []
    for line in content.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.append(event)
    return events


def _limited(memory_mb):
    """The executor's command, under the limits that hold for each process."""
    limits = [
        "prlimit",
        # TensorFlow reserves far more addresses than it uses; what is used is watched from outside.
        f"--as={max(2 * memory_mb, 4_000) * 10**6}",
        f"--fsize={SCRATCH_MB * 10**6}",
        f"--nproc={16 * MAX_PROCESSES}",
        "--core=0",
        "--nofile=512",
    ]
    return [*(limits if shutil.which("prlimit") else []), sys.executable, "-P", "-s"]


def _limits_command(folder, datasets, memory_mb):
    scratch = folder / "scratch"
    scratch.mkdir()
    enter = ["sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", str(scratch)]
    return [*enter, *_limited(memory_mb), str(_EXECUTOR)], _environment(str(scratch), str(cache_dir()))


def _namespaces_command(folder, datasets, memory_mb):
    root = folder / "root"
    root.mkdir()
    environment = _environment("/scratch", "/data") | {
        "SANDBOX_MB": str(SCRATCH_MB),
        "SANDBOX_MOUNTS": "\n".join(f"{source}|{target}" for source, target in _mounts(datasets)),
        "SANDBOX_HIDDEN": "\n".join(map(str, _HIDDEN)),
    }
    enter = [*_NAMESPACES, "--kill-child", "sh", "-c", _SETUP, "sh", str(root)]
    return [*enter, *_limited(memory_mb), "/run/execute.py"], environment


def _docker_command(folder, datasets, memory_mb):
    create = ["docker", "run", "--interactive", "--name", folder.name, "--network", "none", "--read-only"]
    create += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--workdir", "/scratch"]
    create += ["--memory", f"{memory_mb}m", "--memory-swap", f"{memory_mb}m"]
    create += ["--pids-limit", str(MAX_PROCESSES)]
    # Root would own every file of this machine that is mounted.
    user, group = os.getuid() or 65_534, os.getgid() or 65_534
    create += ["--user", f"{user}:{group}", "--tmpfs", f"/tmp:uid={user},gid={group}"]
    create += ["--tmpfs", f"/scratch:exec,uid={user},gid={group},size={SCRATCH_MB}m"]
    mounts = _mounts(datasets)
    for source, target in mounts:
        create += ["--volume", f"{source}:{target}:ro"]
    for hidden in _HIDDEN:
        if any(hidden.is_relative_to(source) for source, _ in mounts):
            create += ["--tmpfs", f"{hidden}:ro,size=4k"]
    for name, value in _environment("/scratch", "/data").items():
        create += ["--env", f"{name}={value}"]
    command = [*create, _IMAGE, *_limited(memory_mb), "/run/execute.py"]
    return command, dict(
        os.environ
    )  # of the client, which must find its engine; the container sees none of it


_COMMANDS = {"namespaces": _namespaces_command, "docker": _docker_command, "limits": _limits_command}


def _remove_container(name):
    """Ends and removes a container; returns whether the engine had to stop it for its memory."""
    state = _docker("inspect", "--format", "{{.State.OOMKilled}}", name)
    _docker("rm", "--force", name)
    return state.stdout.strip() == b"true"


def _environment(home, cache):
    """Nothing of the grader's own environment: it may hold secrets."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "COURSE_CACHE": cache,
        **dict.fromkeys(("HOME", "TMPDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"), home),
        **dict.fromkeys(("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"), f"{home}/jupyter"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _mounts(datasets):
    """Pairs (source, target) of what is visible, read-only."""
    system = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"]
    system += ["/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/hosts", "/etc/nsswitch.conf"]
    python = [sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    python += [os.path.dirname(os.path.realpath(sys.executable))]
    course = [str(_PACKAGE), str(REPOSITORY / "data" / "catalog.toml")]
    pairs = []
    for path in dict.fromkeys([*system, *python, *course]):
        # What lies in a folder that is mounted already comes with it.
        inside = any(path != other and Path(path).is_relative_to(other) for other, _ in pairs)
        if os.path.exists(path) and not inside:
            pairs.append((path, path))
    pairs.append((str(_EXECUTOR), "/run/execute.py"))
    return pairs + [(str(cache_dir() / name), f"/data/{name}") for name in datasets]


def _namespaces_work():
    tools = ("unshare", "setpriv", "prlimit", "pivot_root", "mount", "ip")
    if not sys.platform.startswith("linux") or not all(map(shutil.which, tools)):
        return False
    command = [*_NAMESPACES, "mount", "-t", "tmpfs", "probe", "/tmp"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def _docker_works():
    """Whether an engine answers; afterwards it has the empty image."""
    if not sys.platform.startswith("linux") or not shutil.which("docker"):
        return False
    try:
        if _docker("image", "inspect", _IMAGE).returncode == 0:
            return True
        return _docker("import", "-", _IMAGE, input=_EMPTY_ARCHIVE).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _docker(*arguments, **more):
    return subprocess.run(["docker", *arguments], capture_output=True, timeout=60, check=False, **more)
