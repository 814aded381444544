"""The sentence splitter: hand-made texts, NLTK's own tokenizer on real articles, any text, hostile text."""

import itertools
import time

import nltk.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize.punkt import PunktTokenizer

from course_lib.data import load_xsum_1k
from course_lib.data.fetch import fetch
from course_lib.text import sentence_spans, tokenize
from course_lib.text.sentences import _TABLES

pieces = st.lists(
    st.sampled_from(
        [
            *"aZé1_.!?,:;'\"()-*#•。「」！“”’ \n\r\t\u00a0\u2028中ア한\u0301😀\x00",
            *("\n\n", "\r\n", "\n- ", "\n1. ", "Dr. ", "U.S. ", "e.g. ", "...", "The cat", " sat. "),
        ]
    ),
    max_size=25,
).map("".join)


def split(text):
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", []),
        (" \n\t\n", []),
        ("No full stop at all", ["No full stop at all"]),
        ("  One.  Two!\tThree?  ", ["One.", "Two!", "Three?"]),
        ("Dr. Smith left at 5 p.m. on Monday. He ran.", ["Dr. Smith left at 5 p.m. on Monday.", "He ran."]),
        ("U.S. troops left. J. R. R. Tolkien wrote.", ["U.S. troops left.", "J. R. R. Tolkien wrote."]),
        ("It costs $3.50 in v2.1. Pay.", ["It costs $3.50 in v2.1.", "Pay."]),
        ("See e.g. Fig. 3 or i.e. Rev. Jones. Done.", ["See e.g. Fig. 3 or i.e. Rev. Jones.", "Done."]),
        # quotes and brackets stay with their sentence
        ('"He left." She stayed.', ['"He left."', "She stayed."]),
        ("“He left.” She stayed. ‘No.’ Then", ["“He left.”", "She stayed.", "‘No.’", "Then"]),
        ("(It rained.) We went.", ["(It rained.)", "We went."]),
        # headings and lists
        ("A Short Title\nThe body goes on. It ends.", ["A Short Title", "The body goes on.", "It ends."]),
        ("Title\n\nthe body", ["Title", "the body"]),
        ("## Heading\nText here.", ["Heading", "Text here."]),
        ("Buy:\n- red apples\n- pears. Ripe ones.", ["Buy:", "red apples", "pears.", "Ripe ones."]),
        ("• one\n• two\r\n• three", ["one", "two", "three"]),
        ("1. First\n2) Second\n\na) Third", ["First", "Second", "Third"]),
        # a line break inside a sentence
        ("the quick brown\nfox jumps. It\nruns.", ["the quick brown\nfox jumps.", "It\nruns."]),
        (
            "Here is a line that somebody's old mailer\nWrapped at forty-one characters. And it\ngoes on.",
            [
                "Here is a line that somebody's old mailer\nWrapped at forty-one characters.",
                "And it\ngoes on.",
            ],
        ),
        # no letters or digits, no sentence
        ("---\n* * *\n?!", []),
        ("Yes.\n***\nNo.", ["Yes.", "No."]),
        # other scripts
        ("他来了。你好！「好。」她说。", ["他来了。", "你好！", "「好。」", "她说。"]),
        ("वह आया। वह गया।", ["वह आया।", "वह गया।"]),
        ("这是一个很短的句子。" * 60, ["这是一个很短的句子。"] * 60),
        ("x" * 300 + "。" + "y" * 300 + "！z", ["x" * 300 + "。", "y" * 300 + "！", "z"]),
    ],
)
def test_examples(text, expected):
    assert split(text) == expected


def test_articles_split_as_nltk_splits_their_lines(monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [str(fetch("nltk_data"))])
    nltk_splitter, num_sentences, num_different = PunktTokenizer("english"), 0, 0
    for article in load_xsum_1k()[:200]:
        expected = [s for line in article.text.split("\n") for s in nltk_splitter.tokenize(line.strip())]
        num_sentences += len(expected)
        num_different += len(set(expected) ^ set(split(article.text)))
    # Lines that begin in lower case go on with the line before; curly quotes; our few more abbreviations.
    assert num_sentences > 3_000 and num_different < 0.01 * num_sentences


def test_tables_are_those_of_the_pinned_nltk_data():
    original = fetch("nltk_data") / "tokenizers" / "punkt_tab" / "english"
    names = {path.name for path in original.iterdir()}
    assert names == {path.name for path in _TABLES.iterdir()} and len(names) == 4
    assert all((original / name).read_bytes() == (_TABLES / name).read_bytes() for name in names)


@settings(deadline=None)
@given(st.one_of(pieces, st.text(st.characters(exclude_categories=()), max_size=60)))
def test_spans_are_stripped_in_order_and_hold_every_letter(text):
    position = 0
    for start, end in sentence_spans(text):
        assert position <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert any(character.isalnum() for character in text[start:end])
        position = end
    # What lies between holds at most list markers: a letter or a two-digit number.
    spans = [(0, 0), *sentence_spans(text), (len(text), len(text))]
    for (_, end), (start, _) in itertools.pairwise(spans):
        for token in tokenize(text[end:start]):
            assert not token.isalpha() or len(token) == 1
            assert not token.isdigit() or len(token) <= 2


@pytest.mark.parametrize(
    "piece", ["a.", ". ", "?!", "a", ". a", ".\n", "- ", "。", "a。", "A. ", "a\n", "Zz\n", '"', "..."]
)
def test_hostile_text_takes_seconds_at_most(piece):
    text = piece * (60_000 // len(piece))
    start = time.process_time()
    sentence_spans(text)
    assert time.process_time() - start < 5


def test_twenty_thousand_words():
    text = "Rain fell on the old town. " * 4_000
    assert split(text) == ["Rain fell on the old town."] * 4_000
    assert len(split("one long sentence without an end " * 4_000)) == 1


def test_splitting_keeps_no_word_of_the_text():
    from course_lib.text.sentences import _splitter

    before = len(_splitter()._params.ortho_context)
    assert len(sentence_spans("Zorblax saw Mr. Quuxly. Frobnitz left.")) == 2
    assert len(_splitter()._params.ortho_context) == before
