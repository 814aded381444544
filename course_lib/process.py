"""How a process that trains uses memory and cores."""

import ctypes
import os
import platform

# Of glibc's malloc.h; mallopt(3) describes them.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1
# The same for a process that is started with these variables.
MALLOC_ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(_NEVER)}


def keep_freed_memory() -> bool:
    """Lets the C library keep what was freed for what is allocated next, instead of giving it back.

    A training step on a CPU frees and allocates tensors of megabytes at every operation. glibc maps each of
    them anew, and the kernel clears its pages one by one: on a virtual machine that can take as long as the
    arithmetic. The price is that the process stays as large as it once was.

    Returns:
        Whether anything was set: only glibc, on Linux, can be told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def thread_environment(num_processes: int = 1) -> dict[str, str]:
    """Environment variables that divide the cores of a CPU among TensorFlow's operations.

    By default TensorFlow spreads each operation over all cores and also runs as many operations at once. The
    two directions of a BiLSTM are such operations, each a chain of small ones: with more threads than cores
    they wait for one another at every time step. So each operation gets half of the cores here, and there
    are always two at once. What is one large product at a time, such as MiniLM's layers, loses a little.

    Args:
        num_processes: that share the machine, each with its part.
    """
    num_cores = (os.cpu_count() or 1) // num_processes
    return {
        "TF_NUM_INTRAOP_THREADS": str(max(1, num_cores // 2)),
        "TF_NUM_INTEROP_THREADS": str(max(2, num_cores)),
    }


def prepare_for_training() -> None:
    """Keeps freed memory and divides the cores, for the rest of this process.

    TensorFlow reads the variables of `thread_environment` when it is first used; one that is set already
    stays as it is.
    """
    keep_freed_memory()
    for name, value in thread_environment().items():
        os.environ.setdefault(name, value)
