"""Sentences from four domains, each rated by some twenty people, negative to positive; a lexicon."""

import hashlib
import math
import numbers
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.data.fetch import fetch
from course_lib.data.records import RatedText
from course_lib.data.splits import duplicate_key
from course_lib.errors import CourseError, UsageError, unknown_name

if TYPE_CHECKING:
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

_FILES = {
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "news": "nytEditorialSnippets",
    "tweets": "tweets",
}
LEXICON_FILE = "vader_lexicon.txt"
_SPLITS = ("train", "valid", "test")
_WAY_OUT = "remove the file, then fetch it again with: course data fetch human_ratings"

THREE_CLASSES = ("negative", "neutral", "positive")
# The authors' own: neutral lies between -0.05 and 0.05.
VADER_THRESHOLD = 0.05


def load_human_ratings(split: str) -> list[RatedText]:
    """The rated sentences of "train", "valid" or "test": about 70, 10 and 20 per cent.

    Of sentences that differ at most in case, whitespace and punctuation the first is kept. The split follows
    from the SHA-256 of the document's name, so it needs no seed and no document stands in two splits; a
    document is a product's reviews or a newspaper article, and of films and tweets each sentence by itself.
    Of 199 tweets the single ratings have another mean than the one that is given as their rating.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched, or a line is not as documented.

    Source: Hutto & Gilbert (2014), "VADER", section 3.2.
    """
    if split not in _SPLITS:
        raise unknown_name("split of the human ratings", split, _SPLITS)
    records = {}
    for domain, (sentences, raters) in _read_files().items():
        single = _parse_raters(raters, f"{_FILES[domain]}_anonDataRatings.txt")
        for number, line in enumerate(sentences, start=1):
            record = _parse(line, single, domain, f"{_FILES[domain]}_GroundTruth.txt, line {number}")
            records.setdefault(duplicate_key(record.text), record)
    return [record for record in records.values() if _split_of(record.document) == split]


def ternary_label(rating: float, band: float = 0.5) -> int:
    """The class of a mean rating, as its place in `THREE_CLASSES`: neutral where |rating| < band.

    Args:
        rating: mean rating from -4 to 4.
        band: where neutral ends; a rating of exactly `band` is positive, one of exactly `-band` negative.

    Raises:
        UsageError: the rating is no number, or the band is not above 0.
    """
    if not band > 0:
        raise UsageError(f"The neutral band is {band!r}; it must be a number above 0.")
    if not isinstance(rating, numbers.Real) or math.isnan(rating):
        raise UsageError(f"The rating {rating!r} is no number, so it has no class.")
    return 1 if abs(rating) < band else 2 if rating > 0 else 0


def vader_analyzer(lexicon: Path) -> "SentimentIntensityAnalyzer":
    """NLTK's VADER on the lexicon in that file, without a download."""
    import nltk.data
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

    # NLTK opens files below its search path only.
    root = str(lexicon.parents[1])
    if root not in nltk.data.path:
        nltk.data.path.append(root)
    return SentimentIntensityAnalyzer(lexicon_file=lexicon.relative_to(root).as_posix())


def load_sentiment_lexicon() -> dict[str, float]:
    """VADER's lexicon: words and emoticons, spelt as published, with the mean rating by ten people.

    Valences run from -4 (most negative) to 4 (most positive); neutral words are left out. Of entries that
    stand there twice the later one counts, as it does in VADER itself.

    Raises:
        CourseError: the data cannot be fetched, or a line is not as documented.

    Source: Hutto & Gilbert (2014), "VADER", section 3.1.
    """
    path, lexicon = fetch("human_ratings") / LEXICON_FILE, {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        word, _, valence = line.partition("\t")
        lexicon[word] = _number(valence.partition("\t")[0], "valence", f"{path.name}, line {number}")
    return lexicon


def _read_files():
    """By domain the lines of two files: sentences with their means, and the ratings behind each mean."""
    path = fetch("human_ratings") / "hutto_ICWSM_2014.tar.gz"
    with tarfile.open(path, "r:gz") as archive:
        members = {member.name.rsplit("/", 1)[-1]: member for member in archive if member.isfile()}
        return {
            domain: [
                archive.extractfile(members[f"{name}_{kind}.txt"])
                .read()
                .decode("utf-8-sig")
                .removesuffix("\r\n")
                .split("\r\n")
                for kind in ("GroundTruth", "anonDataRatings")
            ]
            for domain, name in _FILES.items()
        }


def _parse_raters(lines, file):
    """The single ratings by the sentence's id."""
    raters = {}
    for number, line in enumerate(lines, start=1):
        index, *_, ratings = line.split("\t")
        try:
            raters[index] = tuple(int(rating) for rating in ratings.strip("[] ").split(","))
        except ValueError:
            raise CourseError(f"{file}, line {number}: {ratings[:60]!r} are no ratings; {_WAY_OUT}") from None
    return raters


def _parse(line, raters, domain, where):
    columns = line.split("\t")
    if len(columns) != 3 or not columns[2].strip():
        raise CourseError(f"{where}: expected id, rating and text, found {line[:60]!r}; {_WAY_OUT}")
    index, rating, text = columns
    value = _number(rating, "rating", where)
    if index not in raters:
        raise CourseError(f"{where}: there are no single ratings for the id {index!r}; {_WAY_OUT}")
    document = index.split("_")[0] if domain in ("products", "news") else index
    return RatedText(text.strip(), value, domain, f"{domain} {document}", raters[index])


def _number(text, kind, where):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -4 <= value <= 4:
        raise CourseError(f"{where}: the {kind} {text!r} is no number from -4 to 4; {_WAY_OUT}")
    return value


def _split_of(document):
    share = int.from_bytes(hashlib.sha256(document.encode()).digest()[:4], "big") / 2**32
    return "test" if share < 0.2 else "valid" if share < 0.3 else "train"
