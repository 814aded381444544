"""A corpus in blocks: the same vocabulary and the same ids as by `TextEncoder` alone, whatever the blocks."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_lib.cluster import dask_client
from course_lib.corpus import EncodedCorpus, encode_files, fit_on_files
from course_lib.errors import CourseError, UsageError
from course_lib.text import TextEncoder
from course_lib.text.batches import BucketedBatches

LINES = [
    "A fine film.",
    "",
    "A <b>dull</b> film&nbsp;!",
    "日本語 ¿qué?\r",
    "one  two\tthree four five six seven",
    "A",
]


@pytest.fixture(scope="module")
def client():
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        dask_client(cluster.scheduler_address) as client,
    ):
        yield client


@pytest.fixture
def files(tmp_path) -> list[Path]:
    paths = [tmp_path / "first.txt", tmp_path / "second.txt"]
    paths[0].write_bytes("".join(line + "\n" for line in LINES[:4]).encode())
    paths[1].write_bytes("\n".join(LINES[4:]).encode())  # its last line has no end
    return paths


@pytest.mark.parametrize("block_bytes", [1, 7, 40, 10**6])
def test_blocks_do_not_show_in_the_result(client, files, tmp_path, block_bytes):
    alone = TextEncoder.fit(LINES, max_length=5, max_size=12)
    encoder = fit_on_files(client, files, max_length=5, max_size=12, block_bytes=block_bytes)
    assert encoder.vocabulary.tokens == alone.vocabulary.tokens
    corpus = encode_files(client, files, encoder, tmp_path / "out", block_bytes=block_bytes)
    assert [row.tolist() for row in corpus] == [alone.encode(line) for line in LINES]
    assert corpus[-1].tolist() == alone.encode("A") and corpus[0].dtype == np.int32
    assert not list(tmp_path.rglob("*.part"))
    with pytest.raises(IndexError):
        corpus[len(LINES)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8")), min_size=1, max_size=8),
    block_bytes=st.integers(1, 30),
)
def test_any_lines(client, tmp_path_factory, lines, block_bytes):
    folder = tmp_path_factory.mktemp("any")
    file = folder / "lines.txt"
    file.write_bytes("".join(line + "\n" for line in lines).encode())
    alone = TextEncoder.fit(lines, max_length=6)
    encoder = fit_on_files(client, [file], max_length=6, block_bytes=block_bytes)
    assert encoder.vocabulary.tokens == alone.vocabulary.tokens
    corpus = encode_files(client, [file], encoder, folder / "out", block_bytes=block_bytes)
    assert [row.tolist() for row in corpus] == [alone.encode(line) for line in lines]


def test_batches_read_it_from_the_disk(client, files, tmp_path):
    encoder = fit_on_files(client, files, max_length=5)
    encode_files(client, files, encoder, tmp_path / "out")
    corpus = EncodedCorpus(tmp_path / "out")
    batches = BucketedBatches(corpus, np.arange(len(LINES)), batch_size=2, bucket_lengths=[5])
    rows = {}
    for index in range(len(batches)):
        ids, labels, weights = batches[index]
        rows |= {int(n): row[row > 0].tolist() for row, n, w in zip(ids, labels, weights, strict=True) if w}
    assert rows == {number: encoder.encode(line) for number, line in enumerate(LINES)}


def test_bytes_that_are_no_utf_8_do_not_stop_it(client, tmp_path):
    file = tmp_path / "odd.txt"
    file.write_bytes(b"caf\xe9 \x00 one\nplain\n")
    encoder = fit_on_files(client, [file], max_length=9)
    corpus = encode_files(client, [file], encoder, tmp_path / "out")
    assert encoder.decode(corpus[1]) == ["plain"] and "one" in encoder.decode(corpus[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [], "at least one file"),
        (lambda folder: [folder / "none.txt"], r"There is no file .*none\.txt"),
        (lambda folder: [_written(folder / "zipped.gz", b"x")], "compressed"),
        (lambda folder: [_written(folder / "empty.txt", b"")], "is empty"),
    ],
)
def test_wrong_files(client, tmp_path, make, message):
    with pytest.raises(UsageError, match=message):
        fit_on_files(client, make(tmp_path), max_length=5)


def test_a_folder_that_exists_is_not_touched(client, files, tmp_path):
    encoder = fit_on_files(client, files, max_length=5)
    encode_files(client, files, encoder, tmp_path / "out")
    before = sorted((tmp_path / "out").iterdir())
    with pytest.raises(UsageError, match="exists"):
        encode_files(client, files, encoder, tmp_path / "out")
    assert sorted((tmp_path / "out").iterdir()) == before


def test_a_failure_leaves_nothing_behind(client, files, tmp_path, monkeypatch):
    encoder = fit_on_files(client, files, max_length=5)

    def full(file, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CourseError, match="No space left"):
        encode_files(client, files, encoder, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"first.txt", "second.txt"}


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest"])
def test_a_damaged_corpus_is_refused(client, files, tmp_path, damage):
    encoder = fit_on_files(client, files, max_length=5)
    encode_files(client, files, encoder, tmp_path / "out")
    part = tmp_path / "out" / "ids-00000.npy"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-4])
    elif damage == "gone":
        part.unlink()
    else:
        manifest = tmp_path / "out" / "corpus.json"
        content = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**content, "num_ids": [1, 1]}))
    with pytest.raises(CourseError, match=r"encode anew|save it again"):
        EncodedCorpus(tmp_path / "out")


def test_the_command_with_processes(files, tmp_path):
    command = [sys.executable, "-m", "course_lib.cli", "encode", *map(str, files)]
    options = ["--out", str(tmp_path / "out"), "--max-length", "5", "--vocabulary", "12"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert "6 texts, 12 entries" in done.stdout, done.stderr
    alone = TextEncoder.fit(LINES, max_length=5, max_size=12)
    assert [row.tolist() for row in EncodedCorpus(tmp_path / "out")] == [alone.encode(line) for line in LINES]
    again = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert again.returncode == 2 and "exists" in again.stderr and "Traceback" not in again.stderr


def test_no_jobs():
    with pytest.raises(UsageError, match="at least 1"), dask_client(jobs=0):
        pass


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
