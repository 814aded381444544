"""The catalog: what every data set is, where it comes from and what its files must hash to."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from course_lib.errors import CourseError, unknown_name
from course_lib.files import REPOSITORY

DEFAULT_PATH = REPOSITORY / "data" / "catalog.toml"


@dataclass(frozen=True)
class Download:
    """One thing to fetch; its kind is `pip` (a file on an index), `https` (a URL) or `package` (installed).

    Attributes:
        location: the pip requirement, the URL, or the package's import name.
        file, size, sha256: the downloaded file; empty, 0 and empty for a package, which is already installed.
    """

    name: str
    kind: str
    location: str
    file: str = ""
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class DataFile:
    """One file of the cache, stored as `name`: `member` of the download (empty: the download itself)."""

    name: str
    download: Download
    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class DataSet:
    """A data set and its card: `splits` counts `unit`s in each split, `facts` are further measured counts."""

    name: str
    title: str
    version: str
    licence: str
    citation: str
    summary: str
    beware: str
    unit: str
    splits: Mapping[str, int]
    facts: Mapping[str, int]
    files: tuple[DataFile, ...]

    @property
    def downloads(self) -> tuple[Download, ...]:
        """The distinct downloads that the files come from, in order."""
        return tuple(dict.fromkeys(file.download for file in self.files))

    @property
    def size(self) -> int:
        """Bytes in the cache."""
        return sum(file.size for file in self.files)


class Catalog(Mapping[str, DataSet]):
    """The data sets by name; a name that does not exist raises `UsageError` with the nearest one."""

    def __init__(self, datasets: dict[str, DataSet]):
        self._datasets = datasets

    def __getitem__(self, name: str) -> DataSet:
        if name not in self._datasets:
            raise unknown_name("data set", name, self._datasets)
        return self._datasets[name]

    def __contains__(self, name: object) -> bool:
        return name in self._datasets

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)


def load_catalog(path: Path | None = None) -> Catalog:
    """Read and check a catalog (default: the repository's data/catalog.toml).

    Raises:
        CourseError: the file is missing or no TOML, or an entry has a missing, unknown or wrong value.
    """
    path = Path(path or DEFAULT_PATH)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise CourseError(
            f"The data catalog {path} cannot be read; install the course in its repository: pip install -e ."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"The data catalog {path} is not valid TOML: {error}.") from None
    try:
        _check_keys(table, "the top level", {"download": dict, "dataset": dict})
        downloads = {name: _download(name, entry) for name, entry in table["download"].items()}
        return Catalog({name: _dataset(name, entry, downloads) for name, entry in table["dataset"].items()})
    except _EntryError as error:
        raise CourseError(f"The data catalog {path} is malformed: {error}.") from None


class _EntryError(Exception):
    """What is wrong with which entry; `load_catalog` adds the file."""


def _check_keys(entry: Any, where: str, types: Mapping[str, type]) -> None:
    if not isinstance(entry, dict):
        raise _EntryError(f"{where} must be a table")
    for key in types:
        if key not in entry:
            raise _EntryError(f"{where} lacks {key!r}")
    for key, value in entry.items():
        if key not in types:
            raise _EntryError(f"{where} has the unknown key {key!r}; known: {', '.join(sorted(types))}")
        if type(value) is not types[key]:
            raise _EntryError(f"{where}: {key} must be a {types[key].__name__}, not {value!r}")


def _check_file(entry: dict[str, Any], where: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]):
        raise _EntryError(f"{where}: sha256 must be 64 hexadecimal digits, not {entry['sha256']!r}")
    if entry["size"] <= 0:
        raise _EntryError(f"{where}: size must be positive, not {entry['size']}")


def _check_path(value: str, where: str) -> None:
    path = PurePosixPath(value)
    is_plain = str(path) == value != "." and not path.is_absolute() and ".." not in path.parts
    if not is_plain or re.search(r'[\\:*?"<>|\0]', value):
        raise _EntryError(f"{where}: {value!r} must be a plain relative path that stays in its folder")


def _download(name: str, entry: Any) -> Download:
    where = f"download {name!r}"
    if not isinstance(entry, dict) or entry.get("kind") not in ("pip", "https", "package"):
        raise _EntryError(f"{where}: kind must be 'pip', 'https' or 'package'")
    file_keys = {} if entry["kind"] == "package" else {"file": str, "size": int, "sha256": str}
    _check_keys(entry, where, {"kind": str, "location": str, **file_keys})
    if entry["kind"] == "https" and not entry["location"].startswith("https://"):
        raise _EntryError(f"{where}: location must begin with https://, not {entry['location']!r}")
    if file_keys:
        _check_file(entry, where)
        _check_path(entry["file"], where)
    return Download(name=name, **entry)


def _dataset(name: str, entry: Any, downloads: Mapping[str, Download]) -> DataSet:
    where = f"data set {name!r}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise _EntryError(f"{where}: a name is made of lower-case letters, digits and _")
    card = {field.name: str for field in fields(DataSet) if field.type is str and field.name != "name"}
    _check_keys(entry, where, {**card, "splits": dict, "facts": dict, "files": list})
    for group in ("splits", "facts"):
        for key, value in entry[group].items():
            if type(value) is not int or value < 0:
                raise _EntryError(f"{where}: {group}.{key} must be a count, not {value!r}")
    if not entry["files"]:
        raise _EntryError(f"{where} has no files")
    files = tuple(_data_file(where, number, item, downloads) for number, item in enumerate(entry["files"], 1))
    if len({file.name.lower() for file in files}) < len(files):
        raise _EntryError(f"{where} names a file twice")
    return DataSet(name=name, **{**entry, "files": files})


def _data_file(dataset: str, number: int, entry: Any, downloads: Mapping[str, Download]) -> DataFile:
    where = f"{dataset}, file {number}"
    if not isinstance(entry, dict) or entry.get("download") not in list(downloads):
        raise _EntryError(f"{where}: download must be one of {', '.join(sorted(downloads))}")
    download = downloads[entry["download"]]
    if "member" not in entry and download.kind != "package":
        _check_keys(entry, where, {"download": str})
        return DataFile(download.file, download, "", download.size, download.sha256)
    _check_keys(entry, where, {"download": str, "member": str, "name": str, "size": int, "sha256": str})
    _check_file(entry, where)
    _check_path(entry["name"], where)
    _check_path(entry["member"], where)
    return DataFile(entry["name"], download, entry["member"], entry["size"], entry["sha256"])
