"""The rated sentences and the lexicon: counts of the source, splits that share nothing, wrong lines named."""

import io
import tarfile

import pytest

from course_lib.data import (
    THREE_CLASSES,
    human_ratings,
    load_human_ratings,
    load_sentiment_lexicon,
    ternary_label,
)
from course_lib.data.catalog import load_catalog
from course_lib.data.splits import duplicate_key
from course_lib.errors import CourseError, UsageError

RATERS = "1\t1.0\t0.0\t[1, 1]"


@pytest.fixture(scope="module")
def splits():
    return {split: load_human_ratings(split) for split in ("train", "valid", "test")}


def test_every_distinct_sentence_is_in_one_split(splits):
    lines = {domain: rows for domain, (rows, _) in human_ratings._read_files().items()}
    assert {domain: len(rows) for domain, rows in lines.items()} == {
        "films": 10_605,
        "products": 3_708,
        "news": 5_190,
        "tweets": 4_200,
    }
    keys = [{duplicate_key(record.text) for record in records} for records in splits.values()]
    everything = {duplicate_key(row.split("\t")[2]) for rows in lines.values() for row in rows}
    assert set.union(*keys) == everything
    assert sum(map(len, keys)) == len(everything)
    assert load_catalog()["human_ratings"].splits == {name: len(rows) for name, rows in splits.items()}


def test_no_document_is_in_two_splits_and_their_sizes_are_as_stated(splits):
    documents = [{record.document for record in records} for records in splits.values()]
    assert sum(map(len, documents)) == len(set.union(*documents))
    total = sum(map(len, splits.values()))
    for split, share in [("train", 0.7), ("valid", 0.1), ("test", 0.2)]:
        assert len(splits[split]) / total == pytest.approx(share, abs=0.02)
        assert {record.domain for record in splits[split]} == {"films", "products", "news", "tweets"}


def test_ratings_are_those_of_the_source(splits):
    # Read off the file by eye.
    by_text = {record.text: record for records in splits.values() for record in records}
    record = by_text["poor quality - problem with dual-layer dvd's."]
    assert (record.rating, record.domain) == (-2.25, "products")


def test_the_mean_of_the_single_ratings_is_the_rating(splits):
    records = [record for part in splits.values() for record in part]
    assert min(len(record.raters) for record in records) == 15
    means = [sum(record.raters) / len(record.raters) for record in records]
    differ = [abs(mean - record.rating) > 1e-6 for mean, record in zip(means, records, strict=True)]
    assert {record.domain for record, wrong in zip(records, differ, strict=True) if wrong} == {"tweets"}
    assert sum(differ) <= 199


@pytest.mark.parametrize(
    ("line", "raters", "message"),
    [
        ("1\t0.5", RATERS, "tweets_GroundTruth.txt, line 2: expected id, rating and text, found '1"),
        ("1\t0.5\t ", RATERS, "line 2: expected id, rating and text"),
        ("1\tgood\tfine", RATERS, "line 2: the rating 'good' is no number from -4 to 4"),
        ("1\tnan\tfine", RATERS, "line 2: the rating 'nan'"),
        ("1\t4.1\tfine", RATERS, "line 2: the rating '4.1'"),
        ("2\t1.0\tfine", RATERS, "line 2: there are no single ratings for the id '2'"),
        (
            "1\t1.0\tfine",
            "1\t1.0\t0.0\t[1, good]",
            "anonDataRatings.txt, line 1: '\\[1, good\\]' are no ratings",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path, monkeypatch, line, raters, message):
    with tarfile.open(tmp_path / "hutto_ICWSM_2014.tar.gz", "w:gz") as archive:
        for domain, name in human_ratings._FILES.items():
            rows = ["1\t1.0\tgood " + domain, *([line] if domain == "tweets" else [])]
            for kind, content in [("GroundTruth", rows), ("anonDataRatings", [raters])]:
                content = ("\r\n".join(content) + "\r\n").encode()
                member = tarfile.TarInfo(f"data/{name}_{kind}.txt")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(human_ratings, "fetch", lambda name: tmp_path)
    with pytest.raises(CourseError, match=message):
        load_human_ratings("train")


def test_an_unknown_split_is_named():
    with pytest.raises(UsageError, match="split of the human ratings 'dev'"):
        load_human_ratings("dev")


def test_three_classes_by_hand():
    ratings = [-4, -0.5, -0.49, 0, 0.49, 0.5, 4]
    names = ["negative", "negative", "neutral", "neutral", "neutral", "positive", "positive"]
    assert [THREE_CLASSES[ternary_label(rating)] for rating in ratings] == names
    assert [ternary_label(rating, band=0.1) for rating in (-0.2, 0.05, 0.2)] == [0, 1, 2]


def test_shares_of_the_classes(splits):
    labels = [ternary_label(record.rating) for records in splits.values() for record in records]
    shares = [100 * labels.count(label) / len(labels) for label in range(3)]
    assert shares == pytest.approx([38.7, 17.9, 43.4], abs=0.05)


@pytest.mark.parametrize(
    ("rating", "band", "message"),
    [
        ("0.3", 0.5, "The rating '0.3' is no number"),
        (float("nan"), 0.5, "The rating nan is no number"),
        (None, 0.5, "The rating None is no number"),
        (1.0, 0, "The neutral band is 0"),
        (1.0, float("nan"), "The neutral band is nan"),
    ],
)
def test_no_class_without_a_rating(rating, band, message):
    with pytest.raises(UsageError, match=message):
        ternary_label(rating, band)


def test_lexicon_holds_the_valences_of_the_paper():
    """The examples of section 3.1, but for ":(": the file has been revised since."""
    lexicon = load_sentiment_lexicon()
    words = {"okay": 0.9, "good": 1.9, "great": 3.1, "horrible": -2.5, "sucks": -1.5, "sux": -1.5}
    assert {word: lexicon[word] for word in words} == words
    assert len(lexicon) == 7_503 and all(-4 <= valence <= 4 for valence in lexicon.values())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bad", "vader_lexicon.txt, line 2: the valence '' is no number"),
        ("bad\tawful\t0.5", "line 2: the valence 'awful'"),
        ("bad\t-4.5\t0.5", "line 2: the valence '-4.5'"),
    ],
)
def test_a_wrong_line_of_the_lexicon_is_named(tmp_path, monkeypatch, line, message):
    (tmp_path / "vader_lexicon.txt").write_text(f"good\t1.9\t0.9\t[2]\n{line}\n")
    monkeypatch.setattr(human_ratings, "fetch", lambda name: tmp_path)
    with pytest.raises(CourseError, match=message):
        load_sentiment_lexicon()
