"""Encoders as JSON files with a checksum: written aside, read back, then put in place."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from course_lib.errors import CourseError
from course_lib.files import write_atomically

T = TypeVar("T")


def write_document(
    path: str | Path, content: dict[str, Any], kind: str, read: Callable[[Path], object]
) -> None:
    """Writes JSON with its checksum; the old file stays until `read` has read the new one.

    Args:
        path: the file.
        content: what JSON can hold, a `format` among it.
        kind: what it is, for messages, such as "text encoder".
        read: reads the file and raises if it is not whole.

    Raises:
        CourseError: the file cannot be written, JSON cannot hold the content, or `read` refuses it.
    """
    try:
        document = json.dumps({**content, "sha256": _checksum(content)})
        write_atomically(Path(path), document, verify=read)
    except (CourseError, OSError, TypeError, ValueError) as error:
        # What `read` says names the file aside; its cause does not.
        reason = (error.__cause__ or error) if isinstance(error, CourseError) else error
        raise CourseError(f"The {kind} could not be written to {path} ({reason}).") from error


def read_document(path: str | Path, form: str, kind: str, build: Callable[[dict[str, Any]], T]) -> T:
    """Reads what `write_document` wrote and builds an object of it.

    Args:
        path: the file.
        form: the `format` it must have.
        kind: what it is, for messages.
        build: makes the object of the content without `format`; raises ValueError, KeyError or TypeError for
            a wrong content.

    Raises:
        CourseError: the file is missing, unreadable, damaged, or of another format.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        checksum = content.pop("sha256")
        if checksum != _checksum(content) or content.pop("format") != form:
            raise ValueError("checksum or format differs")
        return build(content)
    except FileNotFoundError:
        raise CourseError(f"There is no {kind} at {path}: run the notebook that saves it first.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CourseError(
            f"The {kind} {path} is damaged or of another format ({error}): save it again."
        ) from error


def string_list(values: object, what: str) -> list[str]:
    """The values, if they are a list of strings; otherwise ValueError."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"the {what} are no list of strings")
    return values


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()
