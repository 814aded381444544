"""`TextEncoder`: any text gives ids, the file round-trips, and a damaged file is refused by name."""

import errno
import hashlib
import json
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.errors import CourseError, UsageError
from course_lib.text import DEFAULT_STEPS, TextEncoder, Vocabulary

TEXTS = [
    "A fine film, really.",
    "A dull film.<br />Don't!",
    "中文 film 😀 ❤️",
    "مرحبا שלום",
    "naïve café 1,000",
]
HARD_TEXTS = {
    "empty": "",
    "white space": " \t\r\n\x0b",
    "punctuation": "?!... --",
    "unknown": "xyzzy plugh",
    "NUL": "\x00\x00",
    "NUL inside": "fi\x00lm",
    "right to left": "\u202eمرحبا\u202c שלום",
    "CJK": "我爱电影",
    "emoji": "😀👩‍👩‍👧‍👦🇩🇪",
    "lone surrogate": "\ud83d film \ude00",
    "only tags": "<br /><br />",
    "only a comment": "<!-- film -->",
    "zero width": "\u200b\ufeff",
    "replacement": "\ufffd",
    "spelled padding": "[PAD] [PAD]",
    "1 MB of one word": "x" * 1_000_000,
    "1 MB of one line": "film " * 200_000,
    "1 MB of emoji": "😀" * 250_000,
    "1 MB of NUL": "\x00" * 1_000_000,
}


@pytest.fixture
def encoder():
    return TextEncoder.fit(TEXTS, max_length=6)


def checksum(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


def write(path, **changes):
    """A file as `save` writes it, with a right checksum over changed content; None leaves a key out."""
    content = {
        "format": "course_lib.TextEncoder/1",
        "max_length": 6,
        "truncation": "head",
        "steps": ["lowercase"],
        "tokens": ["film", "fine"],
    } | changes
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps({**content, "sha256": checksum(content)}), encoding="utf-8")


def test_encode_by_hand():
    encoder = TextEncoder.fit(["A fine film.", "A dull film."], max_length=4)
    # Twice: ".", "a", "film"; once: "dull", "fine".
    assert encoder.vocabulary.tokens[2:] == [".", "a", "film", "dull", "fine"]
    assert encoder.encode("A very fine film.") == [3, 1, 4, 2]
    assert encoder.decode(encoder.encode("A very fine film.")) == ["a", "[UNK]", "film", "."]
    assert encoder.tokenize("A very FINE film.") == ["a", "very", "fine", "film", "."]
    batch = encoder.encode_batch(["film", "", "A dull, dull film."])
    assert batch.dtype == np.int32
    assert batch.tolist() == [[4, 0, 0, 0], [1, 0, 0, 0], [3, 5, 4, 2]]
    assert encoder.encode_batch(["film"], length=6).tolist() == [[4, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("truncation, expected", [("head", "ab"), ("tail", "de"), ("head_tail", "ae")])
def test_truncation_takes_effect(truncation, expected):
    encoder = TextEncoder.fit(["a b c d e"], max_length=2, truncation=truncation)
    assert "".join(encoder.decode(encoder.encode("a b c d e"))) == expected


def test_fit_passes_on_size_count_and_steps():
    texts = ["B b a", "b A c"]
    assert TextEncoder.fit(texts, 5).vocabulary.tokens[2:] == ["b", "a", "c"]
    assert TextEncoder.fit(texts, 5, max_size=3).vocabulary.tokens[2:] == ["b"]
    assert TextEncoder.fit(texts, 5, min_count=2).vocabulary.tokens[2:] == ["b", "a"]
    assert TextEncoder.fit(texts, 5, steps=()).vocabulary.tokens[2:] == ["b", "A", "B", "a", "c"]


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_hard_text_gives_ids_and_no_padding_row(encoder, name):
    ids = encoder.encode(HARD_TEXTS[name])
    assert 1 <= len(ids) <= 6
    assert all(isinstance(i, int) and 1 <= i < len(encoder.vocabulary) for i in ids)
    assert encoder.encode_batch([HARD_TEXTS[name], "film"]).any(axis=1).all()


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=()), max_size=50), length=st.integers(1, 5))
def test_any_text_gives_one_to_max_length_ids(text, length):
    encoder = TextEncoder.fit(TEXTS, max_length=length)
    ids = encoder.encode(text)
    assert 1 <= len(ids) <= length and 0 not in ids


@pytest.mark.parametrize("max_length", [0, -3, 2.0, "6", None])
def test_wrong_max_length_is_refused(max_length):
    with pytest.raises(UsageError, match="max_length"):
        TextEncoder(Vocabulary(["a"]), max_length)


def test_wrong_truncation_and_steps_are_refused():
    with pytest.raises(UsageError, match="'middle'"):
        TextEncoder(Vocabulary(["a"]), 3, truncation="middle")
    with pytest.raises(UsageError, match="'lower'"):
        TextEncoder(Vocabulary(["a"]), 3, steps=["lower"])


def test_round_trip(tmp_path):
    texts = [*TEXTS, "\ud83d lone \ude00", "\x00 NUL", '"quotes" \\ back', "\u2028", "e\u0301"]
    for steps in (DEFAULT_STEPS, (), ("lowercase", "strip_accents")):
        encoder = TextEncoder.fit(texts, max_length=7, truncation="tail", steps=steps)
        encoder.save(tmp_path / "encoder.json")
        loaded = TextEncoder.load(str(tmp_path / "encoder.json"))
        assert loaded.vocabulary.tokens == encoder.vocabulary.tokens
        assert (loaded.max_length, loaded.truncation, loaded.steps) == (7, "tail", tuple(steps))
        for text in [*texts, *HARD_TEXTS.values()]:
            assert loaded.encode(text[:10_000]) == encoder.encode(text[:10_000])


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=()), max_size=30), max_size=8))
def test_any_vocabulary_round_trips(tmp_path_factory, texts):
    path = tmp_path_factory.getbasetemp() / "any.json"
    encoder = TextEncoder.fit(texts, max_length=9, steps=())
    encoder.save(path)
    loaded = TextEncoder.load(path)
    assert [loaded.encode(text) for text in texts] == [encoder.encode(text) for text in texts]


def test_a_numpy_max_length_can_be_saved(tmp_path):
    TextEncoder(Vocabulary(["a"]), np.int64(5)).save(tmp_path / "encoder.json")
    assert TextEncoder.load(tmp_path / "encoder.json").max_length == 5


def test_the_file_is_plain_json(encoder, tmp_path):
    encoder.save(tmp_path / "encoder.json")
    document = json.loads((tmp_path / "encoder.json").read_bytes().decode("ascii"))
    assert document.pop("sha256") == checksum(document)
    assert document["tokens"] == encoder.vocabulary.tokens[2:]
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.json"]


def refused(path):
    with pytest.raises(CourseError, match=re.escape(str(path))) as caught:
        TextEncoder.load(path)
    assert type(caught.value) is CourseError
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    assert "no text encoder" in refused(tmp_path / "none.json")


def test_a_folder_is_refused(tmp_path):
    assert "damaged" in refused(tmp_path)


def test_every_flipped_byte_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "encoder.json"
    TextEncoder(Vocabulary(["film", "é", "😀"]), 6).save(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for flip in (0x01, 0x20, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            try:
                loaded = TextEncoder.load(path)
            except CourseError as error:
                assert str(path) in str(error)
                continue
            # White space of JSON and the case of an escape's digits mean nothing.
            assert loaded.vocabulary.tokens == ["[PAD]", "[UNK]", "film", "é", "😀"]
            assert (loaded.max_length, loaded.truncation, loaded.steps) == (6, "head_tail", DEFAULT_STEPS)


def test_every_truncated_file_is_refused(encoder, tmp_path):
    path = tmp_path / "encoder.json"
    encoder.save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"no json", b"\xff\xfe", b"\x00" * 50, b"[]", b"3", b"null", b'"text"', b"{}", b"[" * 100_000],
    ids=lambda content: repr(content[:10]),
)
def test_what_is_no_encoder_is_refused(tmp_path, content):
    path = tmp_path / "encoder.json"
    path.write_bytes(content)
    assert "damaged or of another format" in refused(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "course_lib.TextEncoder/2"},
        {"format": None},
        {"tokens": None},
        {"tokens": ["film", 3]},
        {"tokens": [["film"]]},
        {"tokens": ["film", "film"]},
        {"tokens": ["[PAD]"]},
        {"tokens": "film"},
        {"tokens": {"film": 2}},
        {"tokens": 7},
        {"max_length": "6"},
        {"max_length": 6.0},
        {"max_length": 0},
        {"max_length": [6]},
        {"max_length": None},
        {"truncation": "middle"},
        {"truncation": ["head"]},
        {"steps": ["lowercase", "delete_files"]},
        {"steps": "lowercase"},
        {"steps": [["lowercase"]]},
        {"steps": 3},
        {"vocabulary": ["film"]},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_hostile_file_with_a_right_checksum_is_refused(tmp_path, changes):
    path = tmp_path / "encoder.json"
    write(path)
    assert TextEncoder.load(path).encode("fine FILM") == [3, 2]
    write(path, **changes)
    assert "damaged or of another format" in refused(path)


def test_a_full_disk_leaves_the_old_file(encoder, tmp_path, monkeypatch):
    path = tmp_path / "encoder.json"
    encoder.save(path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CourseError, match=r"encoder\.json.*No space left"):
        TextEncoder(Vocabulary(["other"]), 3).save(path)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.json"]


def test_a_file_that_did_not_arrive_whole_does_not_replace_the_old_one(encoder, tmp_path, monkeypatch):
    path = tmp_path / "encoder.json"
    encoder.save(path)
    before = path.read_bytes()

    def lose_the_end(descriptor):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - 9)

    monkeypatch.setattr(os, "fsync", lose_the_end)
    with pytest.raises(CourseError, match=rf"could not be written to {re.escape(str(path))} \(Unterminated"):
        TextEncoder(Vocabulary(["other"]), 3).save(path)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.json"]


def test_saving_into_a_missing_folder_is_refused_by_name(encoder, tmp_path):
    with pytest.raises(CourseError, match=r"none.*encoder\.json"):
        encoder.save(tmp_path / "none" / "encoder.json")
