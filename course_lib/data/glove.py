"""Stanford's published GloVe vectors."""

import numpy as np

from course_lib.data.fetch import fetch


def load_glove_6b_50d() -> tuple[list[str], np.ndarray]:
    """The 400,000 lower-cased words, most frequent first, and their vectors.

    The vectors are (400000, 50) float32, memory-mapped and read-only.

    Raises:
        CourseError: the data cannot be fetched.

    Source: Pennington, Socher and Manning (2014), "GloVe: Global Vectors for Word Representation".
    """
    import pyarrow.parquet

    folder = fetch("glove_6b_50d")
    words = pyarrow.parquet.read_table(folder / "words.parquet")["index"].to_pylist()
    return words, np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
