"""The rated sentences: counts of the source, splits that share nothing, and wrong lines by name."""

import io
import tarfile

import pytest

from course_lib.data import human_ratings, load_human_ratings
from course_lib.data.splits import duplicate_key
from course_lib.errors import CourseError, UsageError


@pytest.fixture(scope="module")
def splits():
    return {split: load_human_ratings(split) for split in ("train", "valid", "test")}


def test_every_distinct_sentence_is_in_one_split(splits):
    lines = human_ratings._read_files()
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t0.5", "tweets_GroundTruth.txt, line 2: expected id, rating and text, found '1"),
        ("1\t0.5\t ", "line 2: expected id, rating and text"),
        ("1\tgood\tfine", "line 2: the rating 'good' is no number from -4 to 4"),
        ("1\tnan\tfine", "line 2: the rating 'nan'"),
        ("1\t4.1\tfine", "line 2: the rating '4.1'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, monkeypatch, line, message):
    with tarfile.open(tmp_path / "hutto_ICWSM_2014.tar.gz", "w:gz") as archive:
        for domain, name in human_ratings._FILES.items():
            rows = ["1\t1.0\tgood " + domain, *([line] if domain == "tweets" else [])]
            content = ("\r\n".join(rows) + "\r\n").encode()
            member = tarfile.TarInfo(f"data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(human_ratings, "fetch", lambda name: tmp_path)
    with pytest.raises(CourseError, match=message):
        load_human_ratings("train")


def test_an_unknown_split_is_named():
    with pytest.raises(UsageError, match="split of the human ratings 'dev'"):
        load_human_ratings("dev")
