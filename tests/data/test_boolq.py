"""BoolQ: the official splits, told apart by hand from the file, and how much they share."""

import json
import re

import numpy as np
import pytest

from course_lib.data import boolq, hold_out_groups, load_boolq, passage_overlap
from course_lib.data.catalog import load_catalog
from course_lib.data.fetch import fetch
from course_lib.errors import UsageError


def rows_of(name):
    lines = (fetch("boolq") / name).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def letters_and_digits(text):
    return re.sub(r"[\W_]", "", text.casefold())


@pytest.fixture(scope="module")
def splits():
    return {split: load_boolq(split) for split in ("train", "dev")}


def test_counts_are_the_paper_s(splits):
    card = load_catalog()["boolq"]
    assert len(splits["train"]) == card.splits["train"] == 9_427
    assert len(splits["dev"]) == card.splits["dev"] == 3_270
    for split, records in splits.items():
        assert sum(record.label for record in records) == card.facts[f"yes, {split}"]
        assert all(record.question and record.passage.strip() and record.title for record in records)
        assert {record.label for record in records} == {0, 1}
    # The paper's majority baseline on the development split.
    assert round(np.mean([record.label for record in splits["dev"]]), 3) == 0.622


def test_every_labelled_row_of_the_file_is_in_one_of_the_splits(splits):
    rows = {row["question"]: row for row in rows_of("combined.jsonl") if "label" in row}
    assert len(rows) == 9_427 + 3_270
    for records in splits.values():
        for record in records:
            row = rows.pop(record.question)
            assert row["passage"] == f"{record.title} -- {record.passage}"
            assert row["label"] == bool(record.label)
    assert not rows


def test_no_question_stands_in_two_splits(splits):
    questions = {split: {record.question for record in records} for split, records in splits.items()}
    assert not questions["train"] & questions["dev"]


def test_passages_that_training_has_seen(splits):
    train, dev = ([record.passage for record in splits[split]] for split in ("train", "dev"))
    overlap = passage_overlap(dev, train)
    assert overlap.shape == (3_270,) and overlap.min() == 0 and overlap.max() == 1
    known = {letters_and_digits(passage) for passage in train}
    is_copy = np.array([letters_and_digits(passage) in known for passage in dev])
    assert is_copy.sum() == 957
    assert (overlap[is_copy] == 1).all()
    # Found beyond the copies: paragraphs that were edited or cut in another place.
    assert 957 < (overlap >= 0.5).sum() < 1_100
    card = load_catalog()["boolq"]
    shared = sum(passage in set(dev) for passage in train)
    assert shared == card.facts["training questions on a passage of the development split"]


def test_overlap_counted_by_hand():
    training = ["one two three four five six seven eight nine ten eleven twelve", "a b c d e f g h"]
    passages = [
        "One, two (three) four five six seven: eight nine ten!",  # three runs, all in the first
        "zero one two three four five six seven eight nine",  # three runs, two of them known
        "a b c d e f g h one two three four five six seven eight",  # nine runs, one in each
        "one two three four five six seven",  # too short for a run: only as a whole
        "",
    ]
    np.testing.assert_allclose(passage_overlap(passages, training), [1, 2 / 3, 1 / 9, 0, 0])
    np.testing.assert_allclose(passage_overlap(["one two"], ["One two."]), [1])
    np.testing.assert_allclose(passage_overlap(["one two"], []), [0])
    assert passage_overlap([], training).shape == (0,)


def test_articles_are_held_out_whole(splits):
    train = splits["train"]
    kept, held = hold_out_groups(train, [record.title for record in train], 1_000, seed=3)
    assert len(held) == 1_000 and len(kept) == 8_427
    assert not {record.title for record in kept} & {record.title for record in held}


def test_a_title_is_cut_off_at_the_first_dashes_only(tmp_path, monkeypatch):
    (tmp_path / "dev.jsonl").write_text(
        '{"question": "is b", "title": "B", "answer": false, "passage": "No."}\n', encoding="utf-8"
    )
    combined = [
        {"question": "is a", "passage": "A -- It is -- mostly.", "idx": 0, "label": True},
        {"question": "is b", "passage": "B -- No.", "idx": 1, "label": False},
        {"question": "is c", "passage": "C -- Unknown.", "idx": 2},
    ]
    (tmp_path / "combined.jsonl").write_text("\n".join(map(json.dumps, combined)), encoding="utf-8")
    monkeypatch.setattr(boolq, "fetch", lambda name: tmp_path)
    assert load_boolq("train") == [("is a", "It is -- mostly.", "A", 1)]
    assert load_boolq("dev") == [("is b", "No.", "B", 0)]


def test_an_unknown_split_names_the_known_ones():
    with pytest.raises(UsageError, match=r"Unknown split of BoolQ 'test'. .*Known: dev, train"):
        load_boolq("test")
