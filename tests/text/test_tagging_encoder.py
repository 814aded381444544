"""The tagging encoder's file: what is saved comes back, and nothing else is believed."""

import hashlib
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.errors import CourseError, UsageError
from course_lib.text import TextEncoder, Vocabulary
from course_lib.text.features import TaggingEncoder

TAGS = ["O", "B-PER", "I-PER", "E-PER", "S-PER"]


def make(**changes):
    arguments = {
        "words": Vocabulary(["rome", "é", "😀"]),
        "characters": Vocabulary(list("abR")),
        "tags": TAGS,
        "scheme": "BIOES",
        "max_chars": 7,
        "context_length": 40,
    }
    return TaggingEncoder(**arguments | changes)


def checksum(document):
    content = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def same(one, other, tokens):
    assert one.words.tokens == other.words.tokens and one.characters.tokens == other.characters.tokens
    assert (one.tags, one.scheme, one.max_chars, one.context_length) == (
        other.tags,
        other.scheme,
        other.max_chars,
        other.context_length,
    )
    np.testing.assert_array_equal(one.allowed, other.allowed)
    first, second = one.encode(tokens), other.encode(tokens)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "encoder.json"
    for encoder in (make(), make(tags=["O", "B-X", "I-X"], scheme="BIO", context_length=np.int64(1))):
        encoder.save(path)
        same(TaggingEncoder.load(str(path)), encoder, ["Rome", "é", "unknown", "bRa" * 9, "7"])
    assert [file.name for file in tmp_path.iterdir()] == ["encoder.json"]
    document = json.loads(path.read_bytes().decode("ascii"))
    assert document["sha256"] == checksum(document) and document["words"] == ["rome", "é", "😀"]


@settings(max_examples=30)
@given(words=st.lists(st.text(st.characters(exclude_categories=())), max_size=8, unique=True))
def test_any_vocabulary_comes_back(tmp_path_factory, words):
    path = tmp_path_factory.getbasetemp() / "any-tagging.json"
    encoder = make(words=Vocabulary([word for word in words if word not in ("[PAD]", "[UNK]")]))
    encoder.save(path)
    same(TaggingEncoder.load(path), encoder, words)


def test_one_sentence_at_a_time_is_the_default():
    assert TaggingEncoder(Vocabulary([]), Vocabulary([]), ["O"], "BIO").context_length == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"max_chars": 0},
        {"max_chars": 2.0},
        {"context_length": 0},
        {"context_length": "40"},
        {"tags": []},
        {"tags": ["O", "O"]},
        {"tags": ["O", "E-X"], "scheme": "BIO"},
        {"scheme": "IOB1"},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(changes):
    with pytest.raises(UsageError):
        make(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "course_lib.TextEncoder/1"},
        {"words": None},
        {"words": ["rome", 3]},
        {"words": "rome"},
        {"words": ["a", "a"]},
        {"words": ["[PAD]"]},
        {"words": {"a": 2}},
        {"characters": [["a"]]},
        {"characters": 3},
        {"tags": "O"},
        {"tags": ["O", 3]},
        {"tags": []},
        {"tags": ["O", "X-Y"]},
        {"scheme": None},
        {"scheme": ["BIOES"]},
        {"scheme": "BILOU"},
        {"max_chars": 7.0},
        {"max_chars": -1},
        {"max_chars": None},
        {"context_length": "1"},
        {"context_length": 0},
        {"allowed": []},
    ],
    ids=str,
)
def test_a_hostile_file_with_a_right_checksum_is_refused(tmp_path, changes):
    path = tmp_path / "encoder.json"
    make().save(path)
    document = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(document | {"sha256": checksum(document)}), encoding="utf-8")
    with pytest.raises(CourseError, match=rf"{re.escape(str(path))} is damaged or of another format"):
        TaggingEncoder.load(path)


def test_every_truncated_or_flipped_file_is_refused_or_means_the_same(tmp_path):
    path = tmp_path / "encoder.json"
    make().save(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                found = TaggingEncoder.load(path)
            except CourseError as error:
                assert str(path) in str(error)
                continue
            same(found, make(), ["Rome", "é"])  # white space and the case of an escape mean nothing


def test_a_missing_file_and_another_encoder_are_refused(tmp_path):
    with pytest.raises(CourseError, match=r"no tagging encoder at .*none\.json: run the notebook"):
        TaggingEncoder.load(tmp_path / "none.json")
    TextEncoder(Vocabulary(["a"]), 3).save(tmp_path / "text.json")
    with pytest.raises(CourseError, match="damaged or of another format"):
        TaggingEncoder.load(tmp_path / "text.json")
    with pytest.raises(CourseError, match=r"none.*encoder\.json"):
        make().save(tmp_path / "none" / "encoder.json")


def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "encoder.json"
    make().save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError("disk error")))
    with pytest.raises(CourseError, match=r"could not be written to .*disk error"):
        make(words=Vocabulary([])).save(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["encoder.json"]
