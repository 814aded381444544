"""Writing a file so that no reader ever meets half of it."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_atomically(
    path: Path, content: str | bytes, verify: Callable[[Path], object] | None = None
) -> None:
    """Write aside in the same folder, then put it in the file's place; line ends stay "\\n" everywhere.

    Args:
        path: of the file; several threads and processes may write it, and the last one stays.
        content: bytes, or text that is written as UTF-8.
        verify: reads the file aside, and raises if it is not whole.

    Raises:
        OSError: the file cannot be written; the one that was there is untouched.
    """
    # Not `tempfile.mkstemp`: its files are closed to all but their owner.
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        if verify is not None:
            verify(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
