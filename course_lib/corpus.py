"""A corpus larger than memory: the pipeline of `TextEncoder`, block by block, on the workers of Dask."""

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from course_lib.errors import CourseError, UsageError
from course_lib.text import TextEncoder, Vocabulary
from course_lib.text.storage import read_document, write_document

if TYPE_CHECKING:
    from dask.bag import Bag
    from distributed import Client

BLOCK_BYTES = 16 * 2**20
_FORMAT, _KIND = "course_lib.EncodedCorpus/1", "encoded corpus"
_MANIFEST, _ENCODER = "corpus.json", "encoder.json"
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def fit_on_files(
    client: "Client",
    files: Sequence[Path],
    *,
    max_length: int,
    max_size: int | None = 20_000,
    block_bytes: int = BLOCK_BYTES,
) -> TextEncoder:
    """The encoder that `TextEncoder.fit` would return for all lines of the files.

    Each worker counts the tokens of its blocks, and the counts are added up eight at a time, as a tree.
    Memory grows with the number of different tokens, not with that of the lines.

    Args:
        client: from `course_lib.cluster.dask_client`; its workers see the files under the same paths.
        files: UTF-8, one text a line; bytes that are none become U+FFFD.
        max_length: sequences are cut to this many ids.
        max_size: entries of the vocabulary at most.
        block_bytes: about so much text is in a worker's memory at once.

    Raises:
        UsageError: no files, one that is missing, empty or compressed, or a wrong setting.
        CourseError: the workers could not finish.
    """
    from dask.bag import Item

    count = partial(_count, encoder=TextEncoder(Vocabulary([]), max_length))
    counts = _lines(files, block_bytes).reduction(count, _add, split_every=8, out_type=Item)
    with _worded_failures():
        vocabulary = Vocabulary.from_counts(client.compute(counts).result(), max_size)
    return TextEncoder(vocabulary, max_length)


def encode_files(
    client: "Client",
    files: Sequence[Path],
    encoder: TextEncoder,
    out: Path,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> "EncodedCorpus":
    """Encodes every line of the files, in their order, and writes the ids into a new folder.

    The folder appears when it is whole; until then its name ends in `.part`.

    Args:
        client: as in `fit_on_files`; its workers see `out`, too.
        files: as in `fit_on_files`.
        encoder: encodes the lines; an empty line becomes one unknown token.
        out: the folder, which must not exist.
        block_bytes: as in `fit_on_files`.

    Raises:
        UsageError: as in `fit_on_files`, or the folder exists.
        CourseError: the workers could not finish, or a file could not be written.
    """
    from dask import delayed
    from tqdm import tqdm

    out, aside = check_new_folder(out)
    blocks = _lines(files, block_bytes).to_delayed()
    shared, futures = delayed(encoder), []
    with _worded_failures():
        aside.mkdir(parents=True)
        try:
            encoder.save(aside / _ENCODER)
            futures += client.compute(
                [delayed(_encode_block)(block, shared, aside, part) for part, block in enumerate(blocks)]
            )
            sizes = [future.result() for future in tqdm(futures, desc="encoding", disable=None)]
            num_texts, num_ids = map(list, zip(*sizes, strict=True))
            content = {"format": _FORMAT, "num_texts": num_texts, "num_ids": num_ids}
            write_document(
                aside / _MANIFEST, content, _KIND, lambda path: EncodedCorpus(path.parent, path.name)
            )
            os.replace(aside, out)
        except BaseException:
            client.cancel(futures)
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return EncodedCorpus(out)


def check_new_folder(out: Path) -> tuple[Path, Path]:
    """Where a new corpus will stand, and where it stands until it is whole.

    Raises:
        UsageError: one of them exists.
    """
    out = Path(out).absolute()
    aside = out.with_name(out.name + ".part")
    for folder in (out, aside):
        if folder.exists():
            raise UsageError(f"{folder} exists: remove it, or name another folder.")
    return out, aside


class EncodedCorpus(Sequence):
    """What `encode_files` wrote, as a sequence of int32 arrays (num_ids,) that stay on the disk until read.

    Args:
        folder: written by `encode_files`.
        manifest: name of the file that says what is in it.

    Attributes:
        text_encoder: the one whose ids these are.

    Raises:
        CourseError: the folder holds no corpus, or not a whole one.
    """

    def __init__(self, folder: str | Path, manifest: str = _MANIFEST):
        folder = Path(folder)
        num_texts, num_ids = read_document(
            folder / manifest, _FORMAT, _KIND, lambda content: (content["num_texts"], content["num_ids"])
        )
        self.text_encoder = TextEncoder.load(folder / _ENCODER)
        self._ids, lengths = [], []
        for part, sizes in enumerate(zip(num_texts, num_ids, strict=True)):
            try:
                parts = [np.load(path, mmap_mode="r") for path in _part_paths(folder, part)]
            except (OSError, ValueError) as error:
                raise CourseError(
                    f"Part {part} of {folder} cannot be read ({error}): encode anew."
                ) from error
            if (len(parts[0]), len(parts[1])) != sizes or parts[0].sum() != sizes[1]:
                raise CourseError(f"Part {part} of {folder} is not whole: encode anew.")
            lengths.append(parts[0])
            self._ids.append(parts[1])
        self._first_text = np.cumsum([0, *num_texts])
        self._ends = [np.cumsum(part, dtype=np.int64) for part in lengths]

    def __len__(self) -> int:
        return int(self._first_text[-1])

    def __getitem__(self, index: int) -> np.ndarray:
        index = range(len(self))[index]  # negative ones, and the error for those outside
        part = int(np.searchsorted(self._first_text, index, side="right")) - 1
        row, ends = index - self._first_text[part], self._ends[part]
        return np.array(self._ids[part][ends[row - 1] if row else 0 : ends[row]])


def _lines(files: Sequence[Path], block_bytes: int) -> "Bag":
    files = [Path(file).absolute() for file in files]
    if not files or block_bytes < 1:
        raise UsageError("A corpus needs at least one file, and blocks of at least one byte.")
    for file in files:
        if not file.is_file():
            raise UsageError(f"There is no file {file}.")
        if file.suffix.lower() in _COMPRESSED:
            raise UsageError(f"{file} is compressed, and blocks begin anywhere in a file: unpack it first.")
        if not file.stat().st_size:
            raise UsageError(f"{file} is empty: leave it out.")
    from dask.bag import read_text

    # Line ends of Windows are left to the cleaning, which takes every white space alike.
    return read_text(
        list(map(str, files)), blocksize=block_bytes, errors="replace", compression=None, linedelimiter="\n"
    )


def _count(lines: Iterable[str], encoder: TextEncoder) -> Counter:
    counts = Counter()
    for line in lines:
        counts.update(encoder.tokenize(line))
    return counts


def _add(counters: Iterable[Counter]) -> Counter:
    total = Counter()
    for counts in counters:
        total.update(counts)
    return total


def _encode_block(lines: Iterable[str], encoder: TextEncoder, folder: Path, part: int) -> tuple[int, int]:
    rows = [np.array(encoder.encode(line), dtype=np.int32) for line in lines]
    lengths = np.array([len(row) for row in rows], dtype=np.int32)
    ids = np.concatenate(rows) if rows else np.array([], dtype=np.int32)
    for path, values in zip(_part_paths(folder, part), (lengths, ids), strict=True):
        # A second worker may do the same block if this one is believed lost: each writes its own file.
        own = path.with_name(f"{path.name}.{os.getpid()}")
        with own.open("wb") as file:
            np.save(file, values)
        os.replace(own, path)
    return len(lengths), len(ids)


def _part_paths(folder: Path, part: int) -> tuple[Path, Path]:
    return folder / f"lengths-{part:05d}.npy", folder / f"ids-{part:05d}.npy"


@contextlib.contextmanager
def _worded_failures() -> Iterator[None]:
    from distributed.scheduler import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise CourseError(
            "Workers were lost on the same block again and again, probably for want of memory: give them "
            "more, or make the blocks smaller."
        ) from error
    except OSError as error:
        raise CourseError(f"The corpus could not be encoded ({error}).") from error
