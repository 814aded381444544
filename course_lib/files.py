"""Where the course lies, and writing so that no reader ever meets half a file or folder."""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def artifacts_root() -> Path:
    """Where the notebooks keep what they made: COURSE_ARTIFACTS, or the repository's `artifacts`."""
    return Path(os.environ.get("COURSE_ARTIFACTS") or REPOSITORY / "artifacts")


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
        with open(aside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if verify is not None:
            verify(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def replace_folder(target: Path, aside: Path) -> None:
    """Puts the folder `aside`, which lies beside it, in the target's place; the one before goes last.

    Raises:
        OSError: it cannot be moved; the target is as it was.
    """
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(aside, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
