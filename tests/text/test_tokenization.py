"""The word tokenizer against hand-made cases, NLTK's Treebank tokenizer and any Unicode text."""

import re
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.text import clean, token_spans, tokenize

any_text = st.text(st.characters(exclude_categories=()), max_size=40)
pieces = st.lists(
    st.sampled_from(
        [
            *"aZé1_.,:;'()- \n/中ア한مन\u0301\u094d\ufe0f\u200d😀❤\x00\u00a0\ud800",
            *("n't", "'s", "'LL", "U.S.", "1,000", ":-)", "...", "don", "http://"),
        ]
    ),
    max_size=15,
).map("".join)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ""),
        (" \t\n", ""),
        ("A fine film.", "A fine film ."),
        # contractions
        ("can't won't don't N'T", "ca n't wo n't do n't N'T"),
        ("ISN'T Ain't n't", "IS N'T Ai n't n't"),
        ("it's I'm we're they've he'll she'd", "it 's I 'm we 're they 've he 'll she 'd"),
        ("couldn't've", "could n't 've"),
        ("mustn'ts", "mustn ' ts"),
        ("rock'n'roll", "rock ' n ' roll"),
        ("dogs' 'quoted'", "dogs ' ' quoted '"),
        ("'so 'sorry'", "' so ' sorry '"),
        # numbers
        ("1,000.50 3.14 10:30 2001:", "1,000.50 3.14 10:30 2001 :"),
        ("1990s 2nd 7/10 $5 -3 50%", "1990s 2nd 7 / 10 $ 5 - 3 50 %"),
        ("1.5. 1,2,", "1.5 . 1,2 ,"),
        ("٣٫٥ ٤", "٣ ٫ ٥ ٤"),
        # abbreviations
        ("U.S. e.g. a.m.", "U.S. e.g. a.m."),
        ("in the U.S.A", "in the U.S. A"),
        ("end. A", "end . A"),
        ("plan b. Then", "plan b . Then"),
        # emoticons
        ("good :) bad :-( ;D =P :'(", "good :) bad :-( ;D =P :'("),
        ("fine:)", "fine :)"),
        ("x=(a)", "x = ( a )"),
        ("see http://a.b/c", "see http : / / a . b / c"),
        # punctuation
        ("wait... what?!", "wait ... what ? !"),
        ("well-known (really)", "well - known ( really )"),
        ("snake_case", "snake _ case"),
        ('"quoted"', '" quoted "'),
        # other scripts
        ("我爱电影。", "我 爱 电 影 。"),
        ("映画が好き ﾃｽﾄ", "映 画 が 好 き ﾃｽﾄ"),
        ("film中文film", "film 中 文 film"),
        ("영화가 좋다", "영화가 좋다"),
        ("فيلم رائع!", "فيلم رائع !"),
        ("סרט נהדר", "סרט נהדר"),
        ("हिन्दी फ़िल्म", "हिन्दी फ़िल्म"),
        ("cafe\u0301 ole\u0301", "cafe\u0301 ole\u0301"),
        ("ภาพยนตร์", "ภาพยนตร์"),
        # emoji: a variation selector belongs to what it varies
        ("😀😀 great👍", "😀 😀 great 👍"),
        ("I ❤️ it", "I ❤️ it"),
        ("a\x00b", "a \x00 b"),
        ("\ud800", "\ud800"),
    ],
)
def test_tokenize(text, expected):
    assert tokenize(text) == expected.split()


def test_a_typographic_apostrophe_counts_after_cleaning():
    assert tokenize(clean("I don’t think it’s bad")) == ["i", "do", "n't", "think", "it", "'s", "bad"]
    assert tokenize("don’t") == ["don", "’", "t"]


SENTENCES = [
    "This is a wonderful film, and everyone should see it.",
    "I can't believe they didn't like it!",
    "It's the best movie I've seen; you won't regret it.",
    "He'll be back, she's sure, but they're not.",
    "We'd have loved it if it hadn't been so long.",
    "I'm not saying it isn't good, am I?",
    "The film cost $ 10 million in 1999.",
    "DON'T watch this: it's AWFUL.",
    "Wouldn't you? Couldn't they? Shouldn't he!",
    "John's brother doesn't act (or so they say).",
    "A running time of 3.5 hours, 1,000 extras and 20 songs.",
    "What a waste of time...",
    "You'd think that's enough, but there's more.",
    "Ain't nobody who doesn't know it.",
    "One , two ; three ? four !",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_ordinary_sentences_as_nltk_splits_them(sentence):
    from nltk.tokenize import TreebankWordTokenizer

    assert tokenize(sentence) == TreebankWordTokenizer().tokenize(sentence)


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(any_text, pieces))
def test_tokens_are_all_of_the_text_but_white_space(text):
    spans = token_spans(text)
    assert [text[start:end] for start, end in spans] == tokenize(text)
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert edges == sorted(edges)
    assert all(start < end for start, end in spans)
    for before, after in zip(edges[::2], edges[1::2], strict=True):
        assert text[before:after].strip() == ""
    assert not any(char.isspace() for token in tokenize(text) for char in token)


@settings(max_examples=200, deadline=None)
@given(text=pieces)
def test_white_space_between_texts_parts_their_tokens(text):
    assert tokenize(f"{text} \n{text}") == tokenize(text) * 2


@settings(deadline=None)
@given(text=st.text(st.characters(categories=["L", "M"], max_codepoint=0x2FFF), min_size=1, max_size=12))
def test_a_word_with_its_marks_is_one_token(text):
    assert tokenize("a" + text) == ["a" + text]


@given(word=st.from_regex(r"[a-z]{1,8}", fullmatch=True))
def test_joined_tokens_of_words_and_contractions_are_the_words(word):
    for contraction in ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m"):
        assert tokenize(word + contraction) == [word, contraction]
    assert tokenize(word) == [word]


def test_every_mark_of_the_basic_plane_stays_with_its_letter():
    marks = [chr(code) for code in range(0x10000) if unicodedata.category(chr(code))[0] == "M"]
    assert len(marks) > 1000
    assert [mark for mark in marks if tokenize("x" + mark) != ["x" + mark]] == []


def test_cjk_characters_stand_alone():
    text = "".join(chr(code) for code in range(0x4E00, 0x9FFF, 50))
    assert tokenize(text) == list(text)


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "unit", ["a", "1", "1,", "a.", ".", "n't", "an't", "'", ":-", "a\u0316", "中", "word ", "\x00"]
)
def test_one_line_of_a_megabyte_takes_seconds(unit):
    text = unit * (MEGABYTE // len(unit))
    start = time.process_time()
    tokens = tokenize(text)
    assert time.process_time() - start < 3
    assert sum(map(len, tokens)) == len(re.sub(r"\s", "", text))
