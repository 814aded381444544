"""Answering questions on a passage: windows, the best legal span, no answer, baselines. Needs no TensorFlow.

A network here is any function from token ids and roles to scores, so that a Keras model, an ONNX graph or a
table can stand behind it.
"""

import math
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from course_lib.data.records import ReadingQuestion
from course_lib.data.splits import hold_out_groups
from course_lib.errors import UsageError
from course_lib.summarization import sentence_words
from course_lib.text.cleaning import clean, straighten_quotes
from course_lib.text.encoder import TextEncoder
from course_lib.text.padding import pad
from course_lib.text.sentences import sentence_spans
from course_lib.text.storage import read_document, write_document
from course_lib.text.tokenization import token_spans
from course_lib.text.vocabulary import UNKNOWN_ID

# The role of a token in the joined sequence; 0 is padding.
QUESTION, PASSAGE = 1, 2
# What else holds for a token of the passage is added to PASSAGE, in this order 1, 2, 4, 8, 16 and 32:
FLAGS = (
    "capital",  # begins with a capital letter
    "in question",  # its word stands in the question, whatever its case
    "first of sentence",
    "near",  # its sentence shares half as many words with the question as the best one, or more
    "best",  # its sentence is the one that shares most, of equals the first
    "opening",  # its sentence is the passage's first
)
# A pointer to the first token, which is the question's, means "the passage does not tell".
NO_ANSWER = 0
MAX_QUESTION_LENGTH = 40
# Below it, a text is hardly in the vocabulary's language. An English text on any subject lies above.
_LEAST_KNOWN = 0.65
_WINDOWS_AT_ONCE = 8
# Ids up to here are function words and punctuation: a vocabulary begins with the most frequent words.
_LAST_COMMON_ID = 151
_FORMAT, _KIND = "course_lib.ReaderSettings/1", "settings of a reader"

Span = tuple[int, int]
Network = Callable[[np.ndarray, np.ndarray], np.ndarray]
Encode = Callable[[str], tuple[list[int], list[Span]]]


class EncodedPair(NamedTuple):
    """A question and its passage, encoded.

    Attributes:
        question_ids, passage_ids: ids of all tokens of both.
        roles: of each token of the passage: `PASSAGE`, plus 2 ** i for each of the `FLAGS` i that holds.
        spans: (start, end) character offsets of the passage's tokens.
    """

    question_ids: list[int]
    passage_ids: list[int]
    roles: list[int]
    spans: list[Span]

    @property
    def question_length(self) -> int:
        """Tokens of the question in the joined sequence: `MAX_QUESTION_LENGTH` at most, and at least one."""
        return max(1, min(len(self.question_ids), MAX_QUESTION_LENGTH))


class ScoredSpan(NamedTuple):
    """Positions of the first and the last token, and the sum of their scores."""

    first: int
    last: int
    score: float


class Answer(NamedTuple):
    """What a reader answers.

    Attributes:
        text: `passage[start:end]`; empty if there is no answer.
        start, end: character offsets in the passage.
        score: log-odds of this span against "no answer", in nats; minus infinity if nothing was read.
        problem: one sentence that says why there is no answer; otherwise None.
    """

    text: str
    start: int
    end: int
    score: float
    problem: str | None


class YesNo(NamedTuple):
    """How probable "yes" is, from 0 to 1, or None; then `problem` says in one sentence why."""

    probability: float | None
    problem: str | None


class ReaderSettings(NamedTuple):
    """How a trained span reader is asked: arguments of `find_answer`, by their names there."""

    window: int
    stride: int
    max_answer_length: int
    threshold: float

    def save(self, path: str | Path) -> None:
        """Writes the settings as JSON with a checksum; the old file stays until the new one is whole.

        Raises:
            CourseError: the file cannot be written, or the settings are none that `load` takes.
        """
        write_document(path, {"format": _FORMAT, **self._asdict()}, _KIND, ReaderSettings.load)

    @classmethod
    def load(cls, path: str | Path) -> "ReaderSettings":
        """Reads what `save` wrote.

        Raises:
            CourseError: the file is missing or damaged, or no passage can be read with what it holds.
        """
        return read_document(path, _FORMAT, _KIND, cls._from_content)

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> "ReaderSettings":
        settings = cls(**content)
        *sizes, threshold = settings
        if not all(isinstance(size, int) for size in sizes) or not math.isfinite(threshold):
            raise ValueError("sizes are whole numbers, and the threshold is finite")
        if not 1 <= settings.stride <= settings.window or settings.max_answer_length < 1:
            raise ValueError("a stride from 1 to the window, and answers of at least one token")
        return settings


def split_by_passage(
    records: Sequence[ReadingQuestion], seed: int
) -> tuple[list[ReadingQuestion], list[ReadingQuestion], list[ReadingQuestion]]:
    """Splits questions into (training, validation, test) so that no passage stands in two of them.

    Questions whose answers are not in the passage's words are left out: a span can answer none of them. A
    fifth of the others at most is for the test, a tenth at most for validation; each part keeps their order.

    Args:
        records: of one data set or several.
        seed: chooses the passages.
    """
    usable = [record for record in records if record.spans or not record.answers]
    rest, test = hold_out_groups(usable, [record.passage for record in usable], len(usable) // 5, seed)
    passages = [record.passage for record in rest]
    training, validation = hold_out_groups(rest, passages, len(usable) // 10, seed)
    return training, validation, test


def encode_with_spans(text: str, encoder: TextEncoder) -> tuple[list[int], list[Span]]:
    """The ids of all tokens of a text and their (start, end) character offsets in it; nothing is cut off.

    `TextEncoder` cleans the whole text before it looks for tokens, and offsets are lost; here the tokens are
    found first and cleaned one by one. An `Encode` once `functools.partial` has filled in the encoder.
    """
    spans = token_spans(straighten_quotes(text))  # one character for one, so offsets stay
    tokens = [text[slice(*span)] for span in spans]
    cleaned = {token: clean(token, encoder.steps) for token in set(tokens)}
    return encoder.vocabulary.encode([cleaned[token] for token in tokens]), spans


def encode_pair(question: str, passage: str, encode: Encode) -> EncodedPair:
    """Encodes both, and tells the roles of the passage's tokens.

    Words are compared by their letters: a name that the vocabulary does not know is still the same name. The
    words that sentences share with the question are counted without the vocabulary's most frequent ones.
    """
    question_ids, question_spans = encode(question)
    passage_ids, spans = encode(passage)
    asked = {
        question[slice(*span)].casefold(): index
        for index, span in zip(question_ids, question_spans, strict=True)
    }
    words = [passage[slice(*span)] for span in spans]
    starts = [start for start, _ in sentence_spans(passage)]
    # Of each token; what stands before the first sentence, such as a bullet, belongs to it.
    sentence = np.maximum(np.searchsorted(starts, [start for start, _ in spans], side="right") - 1, 0)
    shared = [set() for _ in range(max(len(starts), 1))]
    for word, own in zip(words, sentence, strict=True):
        index = asked.get(word.casefold())
        if index == UNKNOWN_ID or (index is not None and index > _LAST_COMMON_ID):
            shared[own].add(word.casefold())
    counts = np.array([len(group) for group in shared])
    flags = np.zeros((len(words), len(FLAGS)), dtype=int)
    flags[:, 0] = [word[:1].isupper() for word in words]
    flags[:, 1] = [word.casefold() in asked for word in words]
    flags[:, 2] = np.diff(sentence, prepend=-1) > 0
    flags[:, 3] = (counts[sentence] > 0) & (2 * counts[sentence] >= counts.max())
    flags[:, 4] = (counts[sentence] > 0) & (sentence == counts.argmax())
    flags[:, 5] = sentence == 0
    roles = PASSAGE + flags @ 2 ** np.arange(len(FLAGS))
    return EncodedPair(question_ids, passage_ids, roles.tolist(), spans)


def join_pair(pair: EncodedPair, window: Span) -> tuple[list[int], list[int]]:
    """One sequence for an encoder that reads a window (start, end) of the passage behind the question.

    Returns:
        Token ids, and for each of them its role: `QUESTION`, or that of the passage's token. A question is
        cut to `MAX_QUESTION_LENGTH`; without any token it is one unknown token.
    """
    question_ids = pair.question_ids[:MAX_QUESTION_LENGTH] or [UNKNOWN_ID]
    part = slice(*window)
    return question_ids + pair.passage_ids[part], [QUESTION] * len(question_ids) + pair.roles[part]


def passage_windows(num_tokens: int, size: int, stride: int) -> list[Span]:
    """Windows (start, end) that cover a passage, each `size` tokens long; a shorter passage is one window.

    Each begins `stride` tokens behind the one before, and the last one ends with the passage. An answer of
    at most `size - stride` + 1 tokens stands whole in one of them.

    Raises:
        UsageError: not 1 <= stride <= size, so that tokens would be left out.
    """
    if not 1 <= stride <= size:
        raise UsageError(f"The stride is {stride}: it must be at least 1 and at most the window's {size}.")
    if num_tokens <= size:
        return [(0, num_tokens)]
    return [(start, start + size) for start in [*range(0, num_tokens - size, stride), num_tokens - size]]


def token_positions(spans: Sequence[Span], start: int, end: int) -> Span | None:
    """The first and the last token that have a character in `text[start:end]`, or None."""
    inside = [index for index, (first, last) in enumerate(spans) if first < end and last > start]
    return (inside[0], inside[-1]) if inside else None


def label_window(window: Span, question_length: int, answer: Span | None) -> Span:
    """Where the start and the end pointer should stand in the sequence of `join_pair`.

    Args:
        window: (start, end) of the window in the passage's tokens.
        question_length: number of the question's tokens in front of it.
        answer: the answer's first and last token in the passage, or None.

    Returns:
        The positions of first and last token; (`NO_ANSWER`, `NO_ANSWER`) unless the whole answer is inside.
    """
    if answer is None or answer[0] < window[0] or answer[1] >= window[1]:
        return NO_ANSWER, NO_ANSWER
    return question_length + answer[0] - window[0], question_length + answer[1] - window[0]


def training_windows(
    pair: EncodedPair, answer: Span | None, random: np.random.Generator, *, size: int, stride: int
) -> list[tuple[tuple[list[int], list[int]], Span]]:
    """What a span reader learns from one question: each window with the whole answer, and one without it.

    A long passage has many windows without its answer; one of them, drawn by `random`, keeps the two kinds in
    balance.

    Args:
        pair: question and passage.
        answer: the answer's first and last token in the passage, or None.
        size, stride: as in `passage_windows`.

    Returns:
        For each window the token ids and roles of `join_pair` and the label of `label_window`.
    """
    rows = [
        (join_pair(pair, window), label_window(window, pair.question_length, answer))
        for window in passage_windows(len(pair.passage_ids), size, stride)
    ]
    with_answer = [row for row in rows if row[1] != (NO_ANSWER, NO_ANSWER)]
    without = [row for row in rows if row[1] == (NO_ANSWER, NO_ANSWER)]
    return with_answer + [without[index] for index in random.permutation(len(without))[:1]]


def best_span(start_scores: np.ndarray, end_scores: np.ndarray, max_length: int) -> ScoredSpan:
    """The span with the highest sum of start and end score among the legal ones.

    A span is legal if it does not end before it starts and has at most `max_length` tokens. Of equal ones,
    the shortest, and of these the first is taken.

    Args:
        start_scores, end_scores: one for each token of the passage, (num_tokens,).

    Raises:
        UsageError: no tokens, not one score of each kind for each, or `max_length` below 1.

    Source: Chen et al. 2017, "Reading Wikipedia to Answer Open-Domain Questions", section 3.2, prediction.
    """
    start_scores, end_scores = np.asarray(start_scores), np.asarray(end_scores)
    if start_scores.shape != end_scores.shape or start_scores.ndim != 1 or start_scores.size == 0:
        raise UsageError(
            f"The scores have the shapes {start_scores.shape} and {end_scores.shape}; a span needs one start "
            "and one end score for each of at least one token."
        )
    if max_length < 1:
        raise UsageError(f"max_length is {max_length}; a span has at least one token.")
    best = ScoredSpan(0, 0, -np.inf)
    for extra in range(min(max_length, len(start_scores))):
        scores = start_scores[: len(start_scores) - extra] + end_scores[extra:]
        first = int(scores.argmax())
        if scores[first] > best.score:
            best = ScoredSpan(first, first + extra, float(scores[first]))
    return best


def reading_problem(question: str, passage: str, pair: EncodedPair) -> str | None:
    """Why a question cannot be answered from a passage, in one sentence; None if it can be tried.

    Args:
        question, passage: the two texts.
        pair: both, encoded with a word vocabulary, in which unknown words are `UNKNOWN_ID`.
    """
    for name, text, ids in (
        ("question", question, pair.question_ids),
        ("passage", passage, pair.passage_ids),
    ):
        if len(ids) == 0:
            return f"The {name} is empty."
        if not any(map(str.isalnum, text)):
            return f"The {name} has no word."
        if all(index == UNKNOWN_ID for index in ids):
            return f"The {name} has no word that the reader knows."
    ids = pair.question_ids + pair.passage_ids
    known = 1 - ids.count(UNKNOWN_ID) / len(ids)
    if known < _LEAST_KNOWN:
        return f"The reader knows only {known:.0%} of the words; it was trained on English."
    return None


def find_answer(
    question: str,
    passage: str,
    encode: Encode,
    network: Network,
    *,
    window: int,
    stride: int,
    max_answer_length: int = 30,
    threshold: float = -np.inf,
) -> Answer:
    """Reads the passage window by window and returns the span that beats "no answer" by most.

    Within a window the log-odds of a span against no answer are its two scores minus those of the position
    `NO_ANSWER`: the softmax's denominators cancel, so that windows can be compared. Eight windows are read
    at once, whatever the length of the passage, so that memory is bounded.

    Args:
        question, passage: any texts.
        encode: from a text to its ids and the (start, end) offsets of each token, as `encode_with_spans`.
        network: from token ids and roles, int32 (batch, time), 0 at padding, to the scores of start and end
            at each position, float (batch, time, 2).
        window, stride: in tokens of the passage, as in `passage_windows`.
        max_answer_length: in tokens.
        threshold: log-odds that an answer must exceed; the default always answers.

    Returns:
        The answer, or the reason why there is none: an empty or unreadable text, or odds that are too low.

    Raises:
        UsageError: as in `passage_windows`, or `max_answer_length` below 1.
    """
    pair = encode_pair(question, passage, encode)
    problem = reading_problem(question, passage, pair)
    if problem is not None:
        return Answer("", 0, 0, -np.inf, problem)
    best, odds = (0, 0), -np.inf
    for windows, scores in _read_windows(pair, network, window, stride):
        for (start, end), row in zip(windows, scores, strict=True):
            inside = row[pair.question_length :][: end - start]
            found = best_span(inside[:, 0], inside[:, 1], max_answer_length)
            margin = found.score - float(row[NO_ANSWER].sum())
            if margin > odds:
                best, odds = (start + found.first, start + found.last), margin
    if odds <= threshold:
        return Answer("", 0, 0, odds, "The passage does not seem to tell.")
    start, end = pair.spans[best[0]][0], pair.spans[best[1]][1]
    return Answer(passage[start:end], start, end, odds, None)


def answer_yes_no(
    question: str, passage: str, encode: Encode, network: Network, *, window: int, stride: int
) -> YesNo:
    """Reads the passage window by window and returns how probable "yes" is, from the mean of the log-odds.

    Args:
        question, passage, encode, window, stride: as in `find_answer`; memory is bounded as there.
        network: from token ids and roles, int32 (batch, time), to logits of no and yes, float (batch, 2).
    """
    pair = encode_pair(question, passage, encode)
    problem = reading_problem(question, passage, pair)
    if problem is not None:
        return YesNo(None, problem)
    parts = [logits for _, logits in _read_windows(pair, network, window, stride)]
    odds = float(np.diff(np.concatenate(parts), axis=1).mean())
    return YesNo((1 + math.tanh(odds / 2)) / 2, None)  # the sigmoid, without overflow


def _read_windows(
    pair: EncodedPair, network: Network, size: int, stride: int
) -> Iterator[tuple[list[Span], np.ndarray]]:
    """A few windows at a time, and what the network says of each."""
    windows = passage_windows(len(pair.passage_ids), size, stride)
    for number in range(0, len(windows), _WINDOWS_AT_ONCE):
        part = windows[number : number + _WINDOWS_AT_ONCE]
        rows = [join_pair(pair, window) for window in part]
        token_ids, roles = (pad(list(column)) for column in zip(*rows, strict=True))
        yield part, np.asarray(network(token_ids, roles))


def content_words(text: str, stop_words: Set[str]) -> set[str]:
    """The different cleaned, lower-cased words of a text that have a letter or digit and say something."""
    return set(sentence_words(text)) - stop_words


def word_overlap(question: str, passage: str, stop_words: Set[str]) -> float:
    """The share of the question's content words that stand in the passage; 0 if it has none."""
    asked = content_words(question, stop_words)
    return len(asked & content_words(passage, stop_words)) / max(len(asked), 1)


def overlap_sentence(question: str, passage: str, stop_words: Set[str]) -> Span:
    """The (start, end) offsets of the sentence that shares most content words with the question.

    The baseline of span reading: of equal sentences the first; (0, 0) for a passage without any sentence.

    Source: Richardson, Burges and Renshaw 2013, "MCTest", section 5.1, for word overlap as a baseline.
    """
    asked = content_words(question, stop_words)
    return max(
        sentence_spans(passage),
        key=lambda span: len(asked & content_words(passage[slice(*span)], stop_words)),
        default=(0, 0),
    )
