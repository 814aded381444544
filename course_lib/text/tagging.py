"""Entity tags: the BIO and BIOES schemes, their checks, the entities that they spell, context for a tagger.

B begins an entity, I is inside, E ends it, S is an entity of one token, O is outside; the type follows after
a hyphen, as in `B-PER`. BIO has no E and S.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from course_lib.errors import UsageError, unknown_name

# What may follow a prefix: within one entity, and after it has ended (or outside of any).
_GOES_ON = {"BIO": {"B": "I", "I": "I"}, "BIOES": {"B": "IE", "I": "IE"}}
_STARTS = {"BIO": "OB", "BIOES": "OBS"}
_MAY_BE_LAST = {"BIO": "OBI", "BIOES": "OES"}
SCHEMES = tuple(_GOES_ON)


class EntitySpan(NamedTuple):
    """An entity: the tokens `start` to `end`, `end` not included."""

    type: str
    start: int
    end: int


def validate_tags(tags: Sequence[str], scheme: str) -> None:
    """Checks one sentence's tags.

    Args:
        tags: one tag for each token.
        scheme: `BIO` or `BIOES`.

    Raises:
        UsageError: a tag is none of the scheme, or may not stand where it stands; the message names its
            position (from 0) and the reason.
    """
    _check_scheme(scheme)
    previous = "O"
    for position, tag in enumerate(tags):
        _check_shape(tag, scheme, f"Position {position}")
        if not _may_follow(previous, tag, scheme):
            before = "the start" if position == 0 else repr(previous)
            raise UsageError(f"Position {position}: {tag!r} may not follow {before} in {scheme}.")
        previous = tag
    if previous[0] not in _MAY_BE_LAST[scheme]:
        raise UsageError(f"Position {len(tags) - 1}: {previous!r} may not be the last tag in {scheme}.")


def allowed_transitions(tags: Sequence[str], scheme: str) -> np.ndarray:
    """Which tag may follow which.

    Args:
        tags: all tags of the task, in the order of their ids.
        scheme: `BIO` or `BIOES`.

    Returns:
        bool (num_tags + 1, num_tags + 1): row = tag, column = the tag after it. The last row stands for the
        start of a sentence, the last column for its end.

    Raises:
        UsageError: an unknown scheme, or a tag that is none of it.
    """
    _check_scheme(scheme)
    for tag in tags:
        _check_shape(tag, scheme, "The list of tags")
    allowed = np.ones((len(tags) + 1, len(tags) + 1), dtype=bool)
    for row, previous in enumerate([*tags, "O"]):  # after the start the same may come as after O
        for column, tag in enumerate(tags):
            allowed[row, column] = _may_follow(previous, tag, scheme)
        allowed[row, -1] = previous[0] in _MAY_BE_LAST[scheme]
    return allowed


def entity_spans(tags: Sequence[str]) -> list[EntitySpan]:
    """The entities that a sentence's tags spell, in BIO or BIOES, by the rules of conlleval.

    Any sequence is read: an I or E that follows no tag of its type begins an entity, and a B or I without an
    E ends where something else begins.

    Source: the script conlleval of the CoNLL-2000 shared task (Tjong Kim Sang and Buchholz).
    """
    spans, start, previous = [], None, "O"
    for position, tag in enumerate([*tags, "O"]):
        goes_on = tag[0] in "IE" and previous[0] in "BI" and tag[2:] == previous[2:]
        if start is not None and not goes_on:
            spans.append(EntitySpan(previous[2:], start, position))
            start = None
        if start is None and tag != "O":
            start = position
        previous = tag
    return spans


def spans_to_tags(spans: Sequence[EntitySpan], num_tokens: int, scheme: str) -> list[str]:
    """The tags that spell entities which do not overlap; the inverse of `entity_spans`.

    Raises:
        UsageError: an unknown scheme, or spans that are empty, outside of the tokens, or overlap.
    """
    _check_scheme(scheme)
    check_spans(spans, num_tokens)
    tags = ["O"] * num_tokens
    for kind, start, end in spans:
        tags[start] = f"B-{kind}"
        tags[start + 1 : end] = [f"I-{kind}"] * (end - start - 1)
        if scheme == "BIOES":
            tags[end - 1] = f"S-{kind}" if end - start == 1 else f"E-{kind}"
    return tags


def check_spans(spans: Sequence[EntitySpan], num_tokens: int) -> list[EntitySpan]:
    """The spans in the order of their places.

    Raises:
        UsageError: one is empty or outside of the tokens, or two overlap.
    """
    spans, end = sorted(spans, key=lambda span: span[1]), 0
    for _, first, last in spans:
        if not end <= first < last <= num_tokens:
            raise UsageError(
                f"The span from {first} to {last} is empty, overlaps another or leaves the text, which has "
                f"{num_tokens} tokens."
            )
        end = last
    return spans


def bio_to_bioes(tags: Sequence[str]) -> list[str]:
    """Marks ends and single tokens, too: `B-PER I-PER O` becomes `B-PER E-PER O`.

    Raises:
        UsageError: the tags are not valid BIO (`repair_bio` mends them).
    """
    validate_tags(tags, "BIO")
    return spans_to_tags(entity_spans(tags), len(tags), "BIOES")


def bioes_to_bio(tags: Sequence[str]) -> list[str]:
    """The inverse of `bio_to_bioes`.

    Raises:
        UsageError: the tags are not valid BIOES.
    """
    validate_tags(tags, "BIOES")
    return spans_to_tags(entity_spans(tags), len(tags), "BIO")


def repair_bio(tags: Sequence[str]) -> list[str]:
    """Valid BIO with the entities that conlleval sees: an I that continues nothing becomes a B.

    This also turns the older IOB1 notation, where B only parts neighbours of one type, into BIO.

    Raises:
        UsageError: a tag is not O, B-… or I-….
    """
    for position, tag in enumerate(tags):
        _check_shape(tag, "BIO", f"Position {position}")
    return spans_to_tags(entity_spans(tags), len(tags), "BIO")


def group_sentences(lengths: Sequence[int], documents: Sequence[int], max_length: int) -> list[list[int]]:
    """Joins neighbouring sentences of a document, so that a tagger reads each one in its context.

    Args:
        lengths: number of tokens of each sentence.
        documents: number of each sentence's document; a group never spans two.
        max_length: tokens in a group at most; a longer sentence is a group of its own.

    Returns:
        Groups of neighbouring sentence numbers, in order; each sentence is in one of them.
    """
    groups, size = [], 0
    for index, length in enumerate(lengths):
        if groups and size + length <= max_length and documents[index] == documents[index - 1]:
            groups[-1].append(index)
            size += length
        else:
            groups.append([index])
            size = length
    return groups


def _check_scheme(scheme: str) -> None:
    if scheme not in SCHEMES:
        raise unknown_name("tagging scheme", scheme, SCHEMES)


def _check_shape(tag: str, scheme: str, where: str) -> None:
    prefix, hyphen, kind = tag.partition("-")
    if tag != "O" and not (len(prefix) == 1 and prefix in scheme.replace("O", "") and hyphen and kind):
        prefixes = ", ".join(f"{letter}-…" for letter in scheme if letter != "O")
        raise UsageError(f"{where}: {tag!r} is no tag of {scheme}, which has O, {prefixes}.")


def _may_follow(previous: str, tag: str, scheme: str) -> bool:
    going_on = _GOES_ON[scheme].get(previous[0], "")
    if tag[0] in going_on and tag[2:] == previous[2:]:
        return True
    return tag[0] in _STARTS[scheme] and previous[0] in _MAY_BE_LAST[scheme]
