"""Writing a text file so that no reader ever meets half of it."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write aside in the same folder, then put it in the file's place; line ends stay "\\n" everywhere."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
