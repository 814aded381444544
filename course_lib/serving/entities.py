"""Named entities in free text, with character offsets and probabilities."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from course_lib.decoding import Segment, constrain, segment_probabilities, share_evidence, viterbi
from course_lib.text.features import TaggingEncoder
from course_lib.text.news import news_token_spans
from course_lib.text.padding import pad
from course_lib.text.sentences import sentence_spans
from course_lib.text.tagging import EntitySpan, entity_spans, group_sentences, spans_to_tags

# Tokens that the network reads at once in a sentence that is longer than that, and those next to them that it
# reads as context only.
WINDOW, OVERLAP = 128, 16
BATCH_SIZE = 32

Scorer = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Entity(NamedTuple):
    """An entity of a text: `text[start:end]` is its own `text`; `probability` lies between 0 and 1."""

    text: str
    type: str
    start: int
    end: int
    probability: float


class _Window(NamedTuple):
    """The network reads the tokens `start` to `end`; the logits of `keep_start` to `keep_end` are kept."""

    start: int
    end: int
    keep_start: int
    keep_end: int


def find_entities(
    text: str,
    score_tokens: Scorer,
    encoder: TaggingEncoder,
    transitions: np.ndarray | None = None,
) -> list[Entity]:
    """The named entities of a text, in order.

    Sentences are split and tokenized, scored by the network in batches of bounded size; a word that occurs
    several times shares the evidence of all its places (`share_evidence`). Then each sentence is decoded: the
    best tag sequence that the scheme allows gives the entities. An entity's probability is that of exactly
    these tokens being an entity of this type, whatever the rest of the sentence is (`segment_probabilities`).

    Args:
        text: any text; one without words has no entities.
        score_tokens: the network, from features (name → array, as `TaggingEncoder` makes them, right-padded)
            to logits (batch, time, num_tags): a Keras model or an ONNX session. It may ignore features it
            does not use.
        encoder: the one that the network was trained with.
        transitions: scores (num_tags + 1, num_tags + 1) of the network's CRF; None for a softmax tagger.
    """
    transitions = tag_transitions(encoder, transitions)
    return entities_of_sentences(text, sentence_token_spans(text), score_tokens, encoder, transitions)


def tag_transitions(encoder: TaggingEncoder, transitions: np.ndarray | None) -> np.ndarray:
    """The scores of a CRF, or of none (None), without the transitions that the scheme forbids."""
    if transitions is None:
        transitions = np.zeros(encoder.allowed.shape)
    return constrain(transitions, encoder.allowed)


def sentence_token_spans(text: str) -> list[list[tuple[int, int]]]:
    """The character offsets of the tokens, sentence by sentence, as `find_entities` reads a text."""
    return [
        [(start + first, start + last) for first, last in news_token_spans(text[start:end])]
        for start, end in sentence_spans(text)
    ]


def entities_of_sentences(
    text: str,
    sentences: Sequence[Sequence[tuple[int, int]]],
    score_tokens: Scorer,
    encoder: TaggingEncoder,
    transitions: np.ndarray,
) -> list[Entity]:
    """What `find_entities` returns, for a text that is split already.

    Args:
        text: the whole text.
        sentences: as `sentence_token_spans` splits it.
        score_tokens, encoder: as in `find_entities`.
        transitions: as `tag_transitions` makes them.
    """
    words = [[text[start:end] for start, end in spans] for spans in sentences]
    document = score_document(words, score_tokens, encoder, transitions)
    return [
        entity
        for spans, logits in zip(sentences, document, strict=True)
        for entity in decode_entities(text, spans, logits, transitions, encoder)
    ]


def score_document(
    sentences: Sequence[Sequence[str]],
    score_tokens: Scorer,
    encoder: TaggingEncoder,
    transitions: np.ndarray,
) -> list[np.ndarray]:
    """What `find_entities` decodes: one array (num_tokens, num_tags) for each sentence of a document.

    Args:
        sentences: the tokens of each; none is empty.
        score_tokens, encoder: as in `find_entities`.
        transitions: as `tag_transitions` makes them.
    """
    if not sentences:
        return []
    lengths = [len(tokens) for tokens in sentences]
    logits = _score(list(itertools.chain.from_iterable(sentences)), lengths, score_tokens, encoder)
    types = [tag[2:] for tag in encoder.tags]
    return share_evidence(np.split(logits, np.cumsum(lengths)[:-1]), transitions, sentences, types)


def _score(
    tokens: Sequence[str],
    lengths: Sequence[int],
    score_tokens: Scorer,
    encoder: TaggingEncoder,
) -> np.ndarray:
    """The logits of all tokens, (num_tokens, num_tags)."""
    windows = list(_windows(lengths, encoder.context_length))
    # Windows of one length go together: little padding.
    windows.sort(key=lambda window: window.end - window.start)
    logits = np.empty((len(tokens), len(encoder.tags)), dtype=np.float32)
    for first in range(0, len(windows), BATCH_SIZE):
        batch = windows[first : first + BATCH_SIZE]
        features = encoder.encode_sentences(tokens[window.start : window.end] for window in batch)
        scored = score_tokens({name: pad(values) for name, values in features.items()})
        for window, rows in zip(batch, np.asarray(scored), strict=True):
            kept = rows[window.keep_start - window.start : window.keep_end - window.start]
            logits[window.keep_start : window.keep_end] = kept
    return logits


def _windows(lengths: Sequence[int], context_length: int) -> Iterator[_Window]:
    start = 0
    for group in group_sentences(lengths, [0] * len(lengths), context_length):
        end = start + sum(lengths[index] for index in group)
        limit = max(WINDOW, context_length)
        if end - start <= limit:
            yield _Window(start, end, start, end)
        else:
            for keep_start in range(start, end, limit - 2 * OVERLAP):
                keep_end = min(keep_start + limit - 2 * OVERLAP, end)
                yield _Window(
                    max(keep_start - OVERLAP, start), min(keep_end + OVERLAP, end), keep_start, keep_end
                )
        start = end


def decode_entities(
    text: str,
    spans: Sequence[tuple[int, int]],
    logits: np.ndarray,
    transitions: np.ndarray,
    encoder: TaggingEncoder,
) -> list[Entity]:
    """The entities of one sentence.

    Args:
        text: the whole text.
        spans: character offsets in it of the sentence's tokens.
        logits: of the sentence, as `score_document` makes them.
        transitions: as `tag_transitions` makes them.
        encoder: the one that the network was trained with.
    """
    tags, _ = viterbi(logits[None], transitions)
    found = entity_spans(encoder.decode_tags(tags[0]))
    segments = [entity_segment(span, encoder) for span in found]
    probabilities = segment_probabilities(logits, transitions, segments) if segments else []
    entities = []
    for span, probability in zip(found, probabilities, strict=True):
        start, end = spans[span.start][0], spans[span.end - 1][1]
        entities.append(Entity(text[start:end], span.type, start, end, float(probability)))
    return entities


def entity_segment(span: EntitySpan, encoder: TaggingEncoder) -> Segment | None:
    """The tags that spell the entity; BIO needs a tag other than I- behind it, BIOES says where it ends.

    None if the encoder lacks one of the tags, such as the I- of a type that training held in one token only.
    """
    num_tokens = span.end - span.start
    tags = spans_to_tags([EntitySpan(span.type, 0, num_tokens)], num_tokens, encoder.scheme)
    if not set(tags) <= set(encoder.tags):
        return None
    inside = f"I-{span.type}"
    goes_on = encoder.scheme == "BIO" and inside in encoder.tags
    return Segment(span.start, encoder.encode_tags(tags), encoder.encode_tags([inside]) if goes_on else ())
