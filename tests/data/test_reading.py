"""QuAC, NarrativeQA and SQuAD: counts, spans that are what they say, and the joined answers told apart."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_catalog import Tiny, dataset_toml, download_toml

from course_lib.data import (
    ReadingQuestion,
    catalog,
    hold_out_groups,
    load_narrative_qa,
    load_quac,
    load_squad,
    locate_answer,
    reading,
)
from course_lib.data.catalog import load_catalog
from course_lib.data.fetch import fetch
from course_lib.data.reading import split_references
from course_lib.errors import CourseError, UsageError


def rows_of(name, file):
    lines = (fetch(name) / file).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def test_quac_keeps_every_character_of_the_joined_answers():
    records = load_quac()
    rows = rows_of("quac", "Quac-test.jsonl")
    assert len(rows) == load_catalog()["quac"].splits["test"] == 1_000
    assert len(records) == 3_000 and len({record.passage for record in records}) == 1_000
    for number, record in enumerate(records):
        row = rows[number // 3]
        # The part of the file between this question's heading and the next one's.
        part = row["answer"].split(f"possible answers for question{number % 3 + 1}:\n")[1]
        part = part.split(f"\npossible answers for question{number % 3 + 2}:\n")[0]
        assert f"question{number % 3 + 1}: {record.question}" in row["question"]
        num_missing = part.count("CANNOTANSWER")
        if record.answers:
            assert num_missing < len(record.answers)
            assert " ".join(part.replace("CANNOTANSWER", " ").split()) == " ".join(
                " ".join(record.answers).split()
            )
        else:
            assert num_missing > 0
        assert len(record.spans) == len(record.answers)
        for answer, (start, end) in zip(record.answers, record.spans, strict=True):
            assert record.passage[start:end] == answer


def test_quac_unanswerable_questions():
    records = load_quac()
    assert sum(not record.answers for record in records) == 451
    assert records[2].question == "did she have any other children?" and records[2].answers == ()
    assert records[0].answers == (
        "In May 1983, she married Nikos Karvelas,",
        "In May 1983, she married Nikos Karvelas, a composer,",
        "In May 1983, she married Nikos Karvelas,",
        "In May 1983, she married Nikos Karvelas, a composer,",
    )


def test_half_of_the_annotators_make_a_question_unanswerable(tmp_path, monkeypatch):
    row = {
        "passage": "It rained. The sun shone.",
        "question": "question1: did it rain?\nquestion2: and then?\nquestion3: why?",
        "answer": "possible answers for question1:\nIt rained. CANNOTANSWER\n"
        "possible answers for question2:\nThe sun shone. CANNOTANSWER sun\n"
        "possible answers for question3:\nCANNOTANSWER CANNOTANSWER It rained.",
    }
    (tmp_path / "Quac-test.jsonl").write_text(json.dumps(row), encoding="utf-8")
    monkeypatch.setattr(reading, "fetch", lambda name: tmp_path)
    assert [record[2:] for record in load_quac()] == [
        ((), ()),
        (("The sun shone.", "sun"), ((11, 25), (15, 18))),
        ((), ()),
    ]


def test_joined_answers_by_hand():
    passage = "Ann met Bob in Rome. Bob left."
    assert split_references("Ann met Bob in Rome. in Rome. CANNOTANSWER Bob", passage) == [
        *("Ann met Bob in Rome.", "in Rome.", "CANNOTANSWER", "Bob"),
    ]
    assert split_references("  ", passage) == []
    with pytest.raises(CourseError, match=r"'Carl left\.' does not stand in its passage"):
        split_references("Bob Carl left.", passage)


@given(st.data())
def test_joined_answers_come_back_in_order_in_as_few_parts(data):
    words = list("abcdefghijkl")  # no word begins another
    passage = " ".join(words)
    bounds = st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda pair: pair[0] < pair[1])
    spans = data.draw(st.lists(bounds, min_size=1, max_size=5))
    answers = [" ".join(words[start:end]) for start, end in spans]
    found = split_references(" ".join(answers), passage)
    assert " ".join(found) == " ".join(answers)
    # Words are all different: two answers run together only where one begins just behind the other.
    num_joints = sum(before[1] == after[0] for before, after in itertools.pairwise(spans))
    assert len(found) == len(answers) - num_joints


def test_narrative_qa_counts_and_spans():
    records = load_narrative_qa()
    card = load_catalog()["narrative_qa"]
    assert len(records) == card.splits["test"] == 3_000
    assert len({record.passage for record in records}) == card.facts["summaries"] == 101
    rows = rows_of("narrative_qa", "NarrativeQA-test.jsonl")
    for record, row in zip(records, rows, strict=True):
        assert list(record.answers) == [answer.strip() for answer in row["answer"]]
        said = [answer.casefold() for answer in record.answers]
        for start, end in record.spans:
            found = " ".join(record.passage[start:end].casefold().split())
            assert any(found in " ".join(answer.split()) for answer in said)
    # A plain search for the whole answer, without its last full stop, finds nearly as many.
    plain = sum(
        any(answer.rstrip(".").casefold() in record.passage.casefold() for answer in record.answers)
        for record in records
    )
    located = sum(bool(record.spans) for record in records)
    assert located == 1_871 and abs(located - plain) < 100
    assert [record.question for record in records[:5] if record.spans] == [
        "Where does this radio station take place?",
        "Who commits suicide?",
    ]


def test_an_answer_is_located_as_whole_words_near_the_question_s():
    passage = 'The cat sat. Cats ran.\nA cat, tired of running, slept in "The Old\n Barn".'
    assert locate_answer("cats", passage) == (13, 17)
    assert locate_answer("The cat.", passage) == (0, 7)
    # The first of two places, or the one with "slept" nearby.
    assert locate_answer("cat", passage) == (4, 7)
    far = "cat " + "x " * 200 + "a cat slept"
    assert locate_answer("cat", far, "who slept?") == (far.index("a cat") + 2, far.index("a cat") + 5)
    start, end = locate_answer('the "old barn" ', passage) or (0, 0)
    assert (start, end) == (0, 0), "a quotation mark inside is not at the end"
    start, end = locate_answer("the old barn", passage)
    assert passage[start:end] == "The Old\n Barn"
    assert locate_answer("an old", passage) == (passage.index("Old"), passage.index("Old") + 3)
    assert locate_answer("dog", passage) is None
    assert locate_answer("at", passage) is None
    assert locate_answer("...", passage) is None and locate_answer("", passage) is None
    assert locate_answer("the", "no article") is None


def squad_file(passage, *questions):
    entries = [
        {"id": f"q{i}", "question": text, "answers": [{"text": a, "answer_start": s} for a, s in answers]}
        for i, (text, *answers) in enumerate(questions)
    ]
    article = {"title": "Rome", "paragraphs": [{"context": passage, "qas": entries}]}
    return json.dumps({"version": "1.1", "data": [article]}).encode()


def use_squad(tiny: Tiny, monkeypatch, train: bytes, dev: bytes) -> None:
    files = {"squad_train": ("train-v1.1.json", train), "squad_dev": ("dev-v1.1.json", dev)}
    text = ""
    for name, (file, content) in files.items():
        text += download_toml(name, "https", f"https://example.org/{file}", file, content)
        (tiny.mirror / file).write_bytes(content)
    dataset = dataset_toml("squad_v1", *(f'download = "{name}"\n' for name in files))
    tiny.path.write_text(text + dataset, encoding="utf-8")
    monkeypatch.setattr(catalog, "DEFAULT_PATH", tiny.path)


def test_squad_reads_the_official_format_through_a_mirror(tiny: Tiny, monkeypatch):
    passage = "Ann met Bob in Rome in 1983."
    train = squad_file(passage, (" Where? ", ("Rome", 15)), ("Whom?", ("Bob", 8)))
    dev = squad_file(passage, ("When?", ("1983", 23), ("in 1983", 20)))
    use_squad(tiny, monkeypatch, train, dev)
    assert load_squad("train") == [
        ReadingQuestion("Where?", passage, ("Rome",), ((15, 19),)),
        ReadingQuestion("Whom?", passage, ("Bob",), ((8, 11),)),
    ]
    assert load_squad("dev") == [
        ReadingQuestion("When?", passage, ("1983", "in 1983"), ((23, 27), (20, 27))),
    ]


def test_squad_says_which_answer_is_out_of_place(tiny: Tiny, monkeypatch):
    wrong = squad_file("Ann met Bob.", ("Whom?", ("Bob", 7)))
    use_squad(tiny, monkeypatch, wrong, wrong)
    with pytest.raises(CourseError, match="question q0: 'Bob' is not at character 7"):
        load_squad("train")
    with pytest.raises(UsageError, match=r"Unknown split of SQuAD 'valid'. .*Known: dev, train"):
        load_squad("valid")


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.data())
def test_groups_stay_whole(groups, data):
    num_held_out = data.draw(st.integers(0, len(groups) - 1))
    records = list(range(len(groups)))
    kept, held = hold_out_groups(records, groups, num_held_out, seed=1)
    assert sorted(kept + held) == records and kept == sorted(kept) and held == sorted(held)
    assert len(held) <= num_held_out and kept
    held_groups = {groups[record] for record in held}
    assert not held_groups & {groups[record] for record in kept}
    # No further group would have fitted.
    rest = {group: groups.count(group) for group in set(groups) - held_groups}
    assert all(len(held) + size > num_held_out for size in rest.values())
    assert hold_out_groups(records, groups, num_held_out, seed=1) == (kept, held)


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="Cannot hold out 3 of 3 records"):
        hold_out_groups([1, 2, 3], "abc", 3, seed=0)
    with pytest.raises(UsageError, match="There are 2 records but 3 groups"):
        hold_out_groups([1, 2], "abc", 1, seed=0)
    drawn = [hold_out_groups(np.arange(50), np.arange(50), 10, seed)[1] for seed in range(2)]
    assert drawn[0] != drawn[1]
