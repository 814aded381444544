"""Newspaper tokens: by hand, and against the gold tokens of CoNLL-2003 put back into running text."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.data import load_conll2003
from course_lib.text import token_spans
from course_lib.text.news import news_token_spans
from course_lib.text.tagging import entity_spans


def tokens(text):
    return [text[start:end] for start, end in news_token_spans(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ""),
        ("He didn't, it's Rome's.", "He did n't , it 's Rome 's ."),
        ('"Yes," he said.', '" Yes , " he said .'),
        ("a British-born ex-minister", "a British-born ex-minister"),
        ("the U.S.-led force in the U.S. said", "the U.S.-led force in the U.S. said"),
        ("won 6-4 7-6 on 1996-08-22", "won 6-4 7-6 on 1996-08-22"),
        ("up 1/2 in 1995/96, +0.05 to 1,000.5", "up 1/2 in 1995/96 , +0.05 to 1,000.5"),
        (
            "Mr. Smith of Acme Corp. met J. R. Jones vs. Co.",
            "Mr. Smith of Acme Corp. met J. R. Jones vs. Co .",
        ),
        ("O'Brien of AT&T at 5 o'clock", "O'Brien of AT&T at 5 o'clock"),
        ("the A$ 5 -- or US$ 4", "the A$ 5 -- or US$ 4"),
        ("a 12-year-old in Jean-Claude's car", "a 12-year-old in Jean-Claude 's car"),
        ("1. Michael Johnson", "1. Michael Johnson"),
        ("It was plan B. Then", "It was plan B. Then"),
        ("SOCCER - JAPAN GET LUCKY WIN", "SOCCER - JAPAN GET LUCKY WIN"),
        ("end.Start a- b", "end . Start a - b"),
    ],
)
def test_by_hand(text, expected):
    assert tokens(text) == expected.split()


@settings(deadline=None)
@given(text=st.text(st.sampled_from("aBZé.-'&$/+,19 \n:"), max_size=30))
def test_tokens_are_those_of_the_course_some_of_them_joined(text):
    spans, plain = news_token_spans(text), token_spans(text)
    assert {start for start, _ in spans} <= {start for start, _ in plain}
    assert {end for _, end in spans} <= {end for _, end in plain}
    joined = "".join(text[start:end] for start, end in spans)
    assert joined == "".join(text.split())
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_entities_of_the_validation_split_begin_and_end_at_tokens():
    from nltk.tokenize.treebank import TreebankWordDetokenizer

    num_identical = num_sentences = num_cut = num_entities = 0
    for sentence in load_conll2003("valid"):
        text = TreebankWordDetokenizer().detokenize(list(sentence.tokens))
        # Offsets without white space make the gold tokens and ours comparable.
        starts = [len("".join(text[:start].split())) for start, _ in news_token_spans(text)]
        gold, position = [], 0
        for token in sentence.tokens:
            gold.append(position)
            position += len(token)
        num_sentences += 1
        num_identical += starts == gold
        edges = {*starts, position}
        for _, first, last in entity_spans(sentence.entities):
            num_entities += 1
            num_cut += gold[first] not in edges or [*gold, position][last] not in edges
    assert num_identical / num_sentences > 0.95
    assert num_cut / num_entities < 0.005


@pytest.mark.parametrize("run", ["good" * 5_000, "7" * 20_000, "A&" * 10_000, "a-" * 10_000, "x.y" * 6_000])
def test_a_long_run_without_spaces_takes_no_time(run):
    text = f"Anna met {run} in U.S.-led Rome."
    began = time.perf_counter()
    tokens = [text[start:end] for start, end in news_token_spans(text)]
    assert time.perf_counter() - began < 3
    assert tokens[:2] == ["Anna", "met"] and tokens[-4:] == ["in", "U.S.-led", "Rome", "."]
    assert "".join(tokens) == text.replace(" ", "")
