"""`course encode` on a corpus that does not fit in the memory it may use: how long, and how much at most?

    python tests/benchmarks/encode_corpus.py [--gigabytes 2] [--jobs 2]

Each line is a review of IMDB between halves of two others and a word that occurs nowhere else, so that the
vocabulary grows with the corpus.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from course_lib.corpus import EncodedCorpus
from course_lib.data import load_imdb
from course_lib.runner.watch import watch


def write_corpus(path: Path, num_bytes: int) -> int:
    """Returns the number of lines."""
    random = np.random.default_rng(0)
    texts = [" ".join(review.text.split()) for review in load_imdb("train")]
    written = num_lines = 0
    with path.open("w", encoding="utf-8") as file:
        while written < num_bytes:
            a, b, c = (texts[index] for index in random.integers(len(texts), size=3))
            line = f"{a[: len(a) // 2]} {b} {c[len(c) // 2 :]} word{num_lines}\n"
            file.write(line)
            written, num_lines = written + len(line.encode()), num_lines + 1
    return num_lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "corpus.txt"), Path(folder, "encoded")
        num_lines = write_corpus(source, int(options.gigabytes * 1e9))
        print(f"{source.stat().st_size / 1e9:.2f} GB, {num_lines:,} lines", flush=True)
        command = [sys.executable, "-m", "course_lib.cli", "encode", str(source), "--out", str(out)]
        command += ["--jobs", str(options.jobs)]
        watched = watch(command, deadline_seconds=24 * 3600, env=dict(os.environ))
        if watched.exit_code:
            return watched.exit_code
        corpus = EncodedCorpus(out)
        assert len(corpus) == num_lines
        with source.open(encoding="utf-8") as file:
            for index in range(1_000):
                assert corpus[index].tolist() == corpus.text_encoder.encode(next(file))
        rate = source.stat().st_size / watched.wall_seconds / 1e6
        print(f"{watched.wall_seconds:.0f} s, {rate:.1f} MB/s in two passes")
        print(f"at most {watched.peak_memory_mb:.0f} MB of memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
