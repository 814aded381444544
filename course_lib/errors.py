"""The one exception that users see: a clear sentence with the way out."""

import difflib
from collections.abc import Iterable


class CourseError(Exception):
    """Something the user can mend; its message says what is wrong and what to do next.

    Attributes:
        exit_code: what the `course` command exits with: 2 for wrong use, 1 for a result that fell short.
    """

    exit_code = 1


class UsageError(CourseError, ValueError):
    """A wrong name, argument or option."""

    exit_code = 2


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest known name and the whole list."""
    known = sorted(known)
    nearest = difflib.get_close_matches(str(name).lower(), [item.lower() for item in known], n=1, cutoff=0.4)
    suggestion = ""
    if nearest:
        suggestion = f" Did you mean {next(item for item in known if item.lower() == nearest[0])!r}?"
    return UsageError(f"Unknown {kind} {name!r}.{suggestion} Known: {', '.join(known)}.")
