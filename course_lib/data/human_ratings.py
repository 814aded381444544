"""Sentences from four domains, each rated by twenty people from very negative to very positive."""

import hashlib
import math
import tarfile

from course_lib.data.fetch import fetch
from course_lib.data.records import RatedText
from course_lib.data.splits import duplicate_key
from course_lib.errors import CourseError, unknown_name

_FILES = {
    "films": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "news": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
_SPLITS = ("train", "valid", "test")


def load_human_ratings(split: str) -> list[RatedText]:
    """The rated sentences of "train", "valid" or "test": about 70, 10 and 20 per cent.

    Of sentences that differ at most in case, whitespace and punctuation the first is kept. The split follows
    from the SHA-256 of the document's name, so it needs no seed and no document stands in two splits; a
    document is a product's reviews or a newspaper article, and of films and tweets each sentence by itself.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched, or a line is not as documented.

    Source: Hutto & Gilbert (2014), "VADER", section 3.2.
    """
    if split not in _SPLITS:
        raise unknown_name("split of the human ratings", split, _SPLITS)
    records = {}
    for domain, lines in _read_files().items():
        for number, line in enumerate(lines, start=1):
            record = _parse(line, domain, f"{_FILES[domain]}, line {number}")
            records.setdefault(duplicate_key(record.text), record)
    return [record for record in records.values() if _split_of(record.document) == split]


def _read_files():
    path = fetch("human_ratings") / "hutto_ICWSM_2014.tar.gz"
    with tarfile.open(path, "r:gz") as archive:
        members = {member.name.rsplit("/", 1)[-1]: member for member in archive if member.isfile()}
        return {
            domain: archive.extractfile(members[name])
            .read()
            .decode("utf-8")
            .removesuffix("\r\n")
            .split("\r\n")
            for domain, name in _FILES.items()
        }


def _parse(line, domain, where):
    way_out = "fetch the data again with: course data verify human_ratings"
    columns = line.split("\t")
    if len(columns) != 3 or not columns[2].strip():
        raise CourseError(f"{where}: expected id, rating and text, found {line[:60]!r}; {way_out}")
    index, rating, text = columns
    try:
        value = float(rating)
    except ValueError:
        value = math.nan
    if not -4 <= value <= 4:
        raise CourseError(f"{where}: the rating {rating!r} is no number from -4 to 4; {way_out}")
    document = index.split("_")[0] if domain in ("products", "news") else index
    return RatedText(text.strip(), value, domain, f"{domain} {document}")


def _split_of(document):
    share = int.from_bytes(hashlib.sha256(document.encode()).digest()[:4], "big") / 2**32
    return "test" if share < 0.2 else "valid" if share < 0.3 else "train"
