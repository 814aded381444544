"""How a process that trains holds its memory."""

import ctypes
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
