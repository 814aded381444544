"""BIO and BIOES: validation, repair, conversion, transitions, entities, groups; casing and encoder."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.data import load_conll2003
from course_lib.errors import UsageError
from course_lib.text import PAD_ID, UNKNOWN_ID, Vocabulary
from course_lib.text.features import CASING_VOCABULARY, TaggingEncoder, casing
from course_lib.text.tagging import (
    EntitySpan,
    allowed_transitions,
    bio_to_bioes,
    bioes_to_bio,
    entity_spans,
    group_sentences,
    repair_bio,
    spans_to_tags,
    validate_tags,
)

BIO = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
BIOES = [*BIO, "E-LOC", "S-LOC", "E-PER", "S-PER"]
any_bio = st.lists(st.sampled_from(BIO), max_size=8)


@pytest.mark.parametrize(
    "bio, bioes",
    [
        ("", ""),
        ("O O", "O O"),
        ("B-PER I-PER O", "B-PER E-PER O"),
        ("B-PER", "S-PER"),
        ("B-PER B-PER I-PER I-PER", "S-PER B-PER I-PER E-PER"),
        ("B-LOC I-LOC B-PER O B-LOC", "B-LOC E-LOC S-PER O S-LOC"),
    ],
)
def test_conversion_by_hand(bio, bioes):
    assert bio_to_bioes(bio.split()) == bioes.split()
    assert bioes_to_bio(bioes.split()) == bio.split()


@pytest.mark.parametrize(
    "tags, scheme, message",
    [
        ("I-PER O", "BIO", "Position 0: 'I-PER' may not follow the start"),
        ("O I-PER", "BIO", "Position 1: 'I-PER' may not follow 'O'"),
        ("B-LOC I-PER", "BIO", "Position 1: 'I-PER' may not follow 'B-LOC'"),
        ("O S-PER", "BIO", "Position 1: 'S-PER' is no tag of BIO"),
        ("O PER", "BIO", "Position 1: 'PER' is no tag"),
        ("O B-", "BIO", "Position 1: 'B-' is no tag"),
        ("B", "BIO", "Position 0: 'B' is no tag"),
        ("b-PER", "BIO", "Position 0: 'b-PER' is no tag"),
        ("BI-PER", "BIO", "Position 0: 'BI-PER' is no tag"),
        ("O-PER", "BIO", "Position 0: 'O-PER' is no tag"),
        ("B-PER O", "BIOES", "Position 1: 'O' may not follow 'B-PER'"),
        ("B-PER I-PER", "BIOES", "Position 1: 'I-PER' may not be the last tag"),
        ("S-PER E-PER", "BIOES", "Position 1: 'E-PER' may not follow 'S-PER'"),
        ("B-PER", "BIOS", "Did you mean 'BIO"),
    ],
)
def test_wrong_tags_are_named_with_their_position(tags, scheme, message):
    with pytest.raises(UsageError, match=message):
        validate_tags(tags.split(), scheme)


@pytest.mark.parametrize(
    "tags, repaired",
    [
        ("I-PER O I-PER", "B-PER O B-PER"),
        ("B-LOC I-PER I-PER", "B-LOC B-PER I-PER"),
        ("I-LOC I-LOC B-LOC", "B-LOC I-LOC B-LOC"),  # IOB1: B parts two neighbours
        ("B-PER I-PER O", "B-PER I-PER O"),
    ],
)
def test_repair_by_hand(tags, repaired):
    assert repair_bio(tags.split()) == repaired.split()


@pytest.mark.parametrize(
    "tags, spans",
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("O I-PER I-LOC", [("PER", 1, 2), ("LOC", 2, 3)]),
        ("B-PER E-PER S-PER", [("PER", 0, 2), ("PER", 2, 3)]),
        ("B-PER O E-PER E-PER", [("PER", 0, 1), ("PER", 2, 3), ("PER", 3, 4)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
    ],
)
def test_spans_by_hand(tags, spans):
    assert entity_spans(tags.split()) == spans


@settings(deadline=None)
@given(tags=st.lists(st.sampled_from(BIOES), max_size=8))
def test_spans_are_those_of_seqeval(tags):
    from seqeval.metrics.sequence_labeling import get_entities

    assert entity_spans(tags) == [(kind, start, end + 1) for kind, start, end in get_entities(tags)]


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize(
    "places", [[(0, 0)], [(-1, 1)], [(2, 4)], [(2, 1)], [(0, 2), (1, 3)], [(1, 3), (0, 3)]]
)
def test_spans_that_no_tags_can_spell_are_refused(places, scheme):
    with pytest.raises(UsageError, match="is empty, overlaps another or leaves the text, which has 3 tokens"):
        spans_to_tags([EntitySpan("PER", *place) for place in places], 3, scheme)


@settings(deadline=None)
@given(tags=any_bio)
def test_repaired_tags_are_valid_and_mean_the_same(tags):
    repaired = repair_bio(tags)
    validate_tags(repaired, "BIO")
    assert entity_spans(repaired) == entity_spans(tags)
    assert bioes_to_bio(bio_to_bioes(repaired)) == repaired
    assert spans_to_tags(entity_spans(tags), len(tags), "BIO") == repaired


@pytest.mark.parametrize("scheme, tags", [("BIO", BIO), ("BIOES", BIOES)])
def test_a_sequence_is_valid_exactly_if_all_its_transitions_are_allowed(scheme, tags):
    allowed = allowed_transitions(tags, scheme)
    assert allowed.shape == (len(tags) + 1,) * 2
    for length in (1, 2, 3):
        for ids in itertools.product(range(len(tags)), repeat=length):
            passes = all(allowed[step] for step in itertools.pairwise([-1, *ids, -1]))
            try:
                validate_tags([tags[index] for index in ids], scheme)
                assert passes
            except UsageError:
                assert not passes


def test_real_tags_are_valid_and_survive_both_conversions():
    for sentence in load_conll2003("valid"):
        assert bioes_to_bio(bio_to_bioes(sentence.entities)) == list(sentence.entities)


def test_groups_by_hand():
    lengths, documents = [3, 4, 2, 9, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1]
    assert group_sentences(lengths, documents, 7) == [[0, 1], [2], [3], [4], [5, 6]]
    assert group_sentences(lengths, documents, 1) == [[0], [1], [2], [3], [4], [5], [6]]
    assert group_sentences([], [], 5) == []


@pytest.mark.parametrize(
    "token, expected",
    [
        *[("rome", "lower"), ("Rome", "title"), ("U.S.", "upper"), ("EU", "upper"), ("McDonald", "mixed")],
        *[("British-born", "title"), ("Itar-Tass", "mixed"), ("1996-08-22", "number"), ("1,000.5", "number")],
        *[("1990s", "mostly_digits"), ("F16", "mostly_digits"), ("under-21", "has_digit"), ("A", "upper")],
        *[(".", "other"), ("--", "other"), ("", "other"), ("中", "other"), ("Élan", "title")],
    ],
)
def test_casing_by_hand(token, expected):
    assert casing(token) == expected


@pytest.fixture
def encoder():
    return TaggingEncoder(Vocabulary(["rome", "in"]), Vocabulary(list("Rome")), BIO, "BIO", max_chars=4)


def test_features_by_hand(encoder):
    features = encoder.encode(["Rome", "IN", "Romeo"])
    assert features["token_ids"].tolist() == [2, 3, UNKNOWN_ID]
    # Of a long token the first two and the last two characters; I and N are unknown.
    assert features["char_ids"].tolist() == [[2, 3, 4, 5], [1, 1, PAD_ID, PAD_ID], [2, 3, 5, 3]]
    assert CASING_VOCABULARY.decode(features["casing_ids"]) == ["title", "upper", "title"]
    assert all(values.dtype == np.int32 for values in features.values())
    assert encoder.encode([])["char_ids"].shape == (0, 4)
    assert [len(ids) for ids in encoder.encode_sentences([["in"], []])["token_ids"]] == [1, 0]


@pytest.mark.parametrize("wrong", [-1, 1_000])
def test_ids_without_a_tag_or_token_are_refused(encoder, wrong):
    with pytest.raises(UsageError, match=f"The id {wrong} stands for no tag: ids run from 0 to "):
        encoder.decode_tags(np.array([0, wrong]))
    with pytest.raises(UsageError, match=rf"The id {wrong} stands for no token: ids run from 0 to 2\."):
        Vocabulary(["film"]).decode([0, 2, wrong])


def test_tags_and_ids(encoder):
    assert encoder.encode_tags(["B-PER", "O"]).tolist() == [3, 0]
    assert encoder.decode_tags([3, 0]) == ["B-PER", "O"]
    with pytest.raises(UsageError, match=r"'B-ORG'\. Known: O, B-LOC"):
        encoder.encode_tags(["O", "B-ORG"])
