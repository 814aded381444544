"""Writing a file so that no reader ever meets half of it."""

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write aside in the same folder, then put it in the file's place; line ends stay "\\n" everywhere.

    Args:
        path: of the file.
        content: bytes, or text that is written as UTF-8.

    Raises:
        OSError: the file cannot be written; the one that was there is untouched.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
