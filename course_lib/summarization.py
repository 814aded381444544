"""Extractive summaries: from text to scored sentences to the chosen ones. Pure NumPy, no TensorFlow.

A scorer is any function from a document's sentences to one score for each; the baselines here are scorers,
and `network_scores` makes one of a trained network. `summarize` takes a scorer: the same in notebook and app.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from course_lib.errors import UsageError
from course_lib.text import (
    PAD_ID,
    UNKNOWN_ID,
    TextEncoder,
    Vocabulary,
    clean,
    pad,
    sentence_spans,
    tokenize,
)

Scorer = Callable[[Sequence[str]], np.ndarray]

# All pairs of this many sentences are compared; a longer text is taken in parts, in bounded memory.
WINDOW = 400
_NUM_COMMON_WORDS = 20
_USUAL_LENGTH = 25

_SURFACE = {
    "has a number": r"\d",
    "begins with a quote": r"""^["'“‘]""",
    "holds a quote": r'["“”]',
    "says who said": r"\b(said|says|told|added)\b",
    "is a question": r"\?",
    "ends without a full stop": r"""[^.!?"'”’]$""",
    "begins with a pronoun": r'^"?(He|She|It|They|We|I|This|That|These|Those|But|And)\b',
    "speaks in the first person": r"\b(I|we|We|my|our)\b",
    "has brackets": r"\(",
    "tells of the future": r"\b(will|would|to be)\b",
    "tells of the present": r"\b(has|have)\b",
}
_SURFACE_PATTERNS = [re.compile(pattern) for pattern in _SURFACE.values()]
_CAPITALIZED = re.compile(r"(?<=\s)[A-Z]\w+")

FEATURE_NAMES = (
    # where it stands
    "closeness to the start",
    "is first",
    "is second",
    "is third",
    "is last",
    "relative position",
    "log number of sentences",
    # how long it is
    "log length",
    "length up to 25 words",
    "length beyond 25 words",
    "length relative to the mean",
    # how much of the document it holds
    "log TextRank",
    "highest TextRank",
    "TextRank relative to the highest",
    "log LexRank",
    "mean similarity",
    "highest similarity",
    "similarity to the rest",
    "similarity to the first",
    "similarity to the previous",
    "similarity to the next",
    # its words
    "rarity of its words, sum",
    "rarity of its words, mean",
    "words said again, sum",
    "words said again, mean",
    "share of new words",
    "new words taken up later",
    "frequency of its words relative to the mean",
    # its surface
    *_SURFACE,
    "capitalized words",
    "commas",
)


class SummarySentence(NamedTuple):
    """A sentence of a summary: `source[start:end]` is its text, `index` its place among all sentences."""

    text: str
    start: int
    end: int
    index: int
    score: float


class Summary(NamedTuple):
    """The chosen sentences in the order of the source, and all of them."""

    sentences: list[SummarySentence]
    all_sentences: list[SummarySentence]

    @property
    def text(self) -> str:
        """The summary as one line of text; empty if the source is."""
        return " ".join(" ".join(sentence.text.split()) for sentence in self.sentences)


def summarize(
    text: str,
    score_sentences: Scorer,
    *,
    num_sentences: int | None = None,
    num_words: int | None = None,
) -> Summary:
    """Chooses the sentences that speak for a text; an empty text gives an empty summary.

    Args:
        text: any text, its line breaks included (see `course_lib.text.sentence_spans`).
        score_sentences: function from the sentences to one score for each, higher is better.
        num_sentences, num_words: as in `select_sentences`; a text of one sentence comes back whole, with the
            score 0.

    Raises:
        UsageError: no budget, or one below 1.
    """
    spans = sentence_spans(text)
    sentences = [text[start:end] for start, end in spans]
    scores = score_sentences(sentences) if len(spans) > 1 else np.zeros(len(spans))
    scored = [
        SummarySentence(sentence, *span, index, float(score))
        for index, (sentence, span, score) in enumerate(zip(sentences, spans, scores, strict=True))
    ]
    chosen = select_sentences(scores, sentences, num_sentences=num_sentences, num_words=num_words)
    return Summary([scored[index] for index in chosen], scored)


def select_sentences(
    scores: np.ndarray,
    sentences: Sequence[str],
    *,
    num_sentences: int | None = None,
    num_words: int | None = None,
    max_similarity: float = 0.5,
) -> list[int]:
    """Takes the best sentences, one after the other, as long as they fit the budget and say something new.

    Args:
        scores: one for each sentence, (num_sentences,); of equal ones the earlier sentence is taken.
        sentences: the document's sentences, in order.
        num_sentences: at most this many sentences.
        num_words: at most this many words; if no sentence is short enough, the best one is taken alone.
        max_similarity: a sentence is passed over if it shares more than this part of its words with one that
            was taken: words in both by words in either (Jaccard). 1 lets everything through.

    Returns:
        Indices of the chosen sentences in the order of the source.

    Raises:
        UsageError: no budget, one below 1, or not one score for each sentence.
    """
    budgets = [budget for budget in (num_sentences, num_words) if budget is not None]
    if not budgets or min(budgets) < 1:
        raise UsageError("A summary needs a budget: num_sentences or num_words, at least 1.")
    if len(scores) != len(sentences):
        raise UsageError(f"There are {len(sentences)} sentences but {len(scores)} scores.")
    ranking = np.argsort(-np.asarray(scores), kind="stable").tolist()
    chosen, chosen_words, words_left = [], [], np.inf if num_words is None else num_words
    for index in ranking:
        if num_sentences is not None and len(chosen) == num_sentences:
            break
        words = sentence_words(sentences[index])
        if len(words) > words_left:
            continue
        if any(_jaccard(set(words), other) > max_similarity for other in chosen_words):
            continue
        chosen.append(index)
        chosen_words.append(set(words))
        words_left -= len(words)
    return sorted(chosen or ranking[:1])


def sentence_words(sentence: str) -> list[str]:
    """The cleaned, lower-cased tokens with a letter or a digit: what budgets and similarities count."""
    return [token for token in tokenize(clean(sentence)) if any(map(str.isalnum, token))]


def lead_scores(sentences: Sequence[str]) -> np.ndarray:
    """The scorer that prefers the beginning: its summary of k sentences is lead-k."""
    return -np.arange(len(sentences), dtype=float)


def textrank_scores(sentences: Sequence[str]) -> np.ndarray:
    """PageRank over sentences that are linked by the words that they share.

    The similarity of two sentences is the number of different words in both, divided by the sum of the
    logarithms of their lengths. Scores have mean 1; more than 400 sentences are ranked in parts.

    Returns:
        float64 (num_sentences,).

    Source: Mihalcea and Tarau (2004), "TextRank: Bringing Order into Texts", section 4; all words count.
    """
    windows = _windows([sentence_words(sentence) for sentence in sentences])
    return np.concatenate([np.zeros(0), *(pagerank(_shared_words(_count(window))) for window in windows)])


def lexrank_scores(sentences: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """PageRank over sentences that are linked by the cosine of their words, rare ones weighing more.

    Args:
        sentences: the document's sentences.
        vocabulary: most frequent word first; gives the words' weights (`word_rarity`).

    Returns:
        float64 (num_sentences,); mean and parts as in `textrank_scores`.

    Source: Erkan and Radev (2004), "LexRank", section 3.3, continuous; the rarity stands for the IDF.
    """
    windows = _windows([sentence_words(sentence) for sentence in sentences])
    return np.concatenate([np.zeros(0), *(pagerank(_cosines(window, vocabulary)) for window in windows)])


def pagerank(similarities: np.ndarray, damping: float = 0.85) -> np.ndarray:
    """The stationary distribution of a walk over the graph, times the number of nodes, by power iteration.

    Args:
        similarities: weights of the links, not negative, (num_nodes, num_nodes); the diagonal is left out. A
            node without links leads everywhere.
        damping: probability of following a link instead of jumping anywhere.

    Returns:
        float64 (num_nodes,) with mean 1.

    Raises:
        UsageError: a damping below 0, or of 1 or more, with which the walk need not settle.

    Source: Brin and Page (1998); Mihalcea and Tarau (2004), section 2.2, for weighted links.
    """
    if not 0 <= damping < 1:
        raise UsageError(f"damping is {damping}; it must be at least 0 and below 1, such as 0.85.")
    num_nodes = len(similarities)
    weights = similarities * (1 - np.eye(num_nodes))
    totals = weights.sum(axis=1, keepdims=True)
    steps = np.divide(weights, totals, out=np.full(weights.shape, 1 / max(num_nodes, 1)), where=totals > 0)
    ranks, before = np.ones(num_nodes), np.zeros(num_nodes)
    while np.abs(ranks - before).sum() > 1e-9 * num_nodes:
        before, ranks = ranks, 1 - damping + damping * (ranks @ steps)
    return ranks


def word_rarity(words: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """How much a word tells, from its rank by frequency: log(rank / 20), at least 0; unknown words come last.

    By Zipf's law the frequency falls as 1 / rank, so this is an inverse frequency up to a constant, without a
    table beside the vocabulary.

    Returns:
        float64 (num_words,).
    """
    ids = np.array(vocabulary.encode(words), dtype=float)
    return np.maximum(0, np.log(np.where(ids > 1, ids - 1, len(vocabulary)) / _NUM_COMMON_WORDS))


def sentence_features(sentences: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """What a network is told of each sentence beside its words: `FEATURE_NAMES`, all of the order of 1.

    Args:
        sentences: all sentences of the document.
        vocabulary: most frequent word first.

    Returns:
        float32 (num_sentences, num_features); no row is all zeros, so zeros can stand for padding.
    """
    num_sentences = len(sentences)
    if num_sentences == 0:
        return np.zeros((0, len(FEATURE_NAMES)), dtype=np.float32)
    words = [sentence_words(sentence) for sentence in sentences]
    place = np.arange(num_sentences)
    lengths = np.array([len(sentence) for sentence in words])
    columns = [
        1 / (1 + place),
        place == 0,
        place == 1,
        place == 2,
        place == num_sentences - 1,
        place / max(num_sentences - 1, 1),
        np.full(num_sentences, np.log(num_sentences)),
        np.log1p(lengths),
        np.minimum(lengths / _USUAL_LENGTH, 1),
        np.maximum(lengths / _USUAL_LENGTH - 1, 0),
        lengths / max(lengths.mean(), 1),
        *np.concatenate([_content_features(part, vocabulary) for part in _windows(words)], axis=1),
        *([pattern.search(sentence) is not None for sentence in sentences] for pattern in _SURFACE_PATTERNS),
        np.array([len(_CAPITALIZED.findall(sentence)) for sentence in sentences]) / 5,
        np.array([sentence.count(",") for sentence in sentences]) / 3,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def network_scores(
    sentences: Sequence[str], encoder: TextEncoder, network: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Scores of a trained summarizer; a scorer once `functools.partial` has filled in encoder and network.

    Args:
        sentences: all sentences of the document.
        encoder: the text encoder of the training.
        network: function from token ids, int32 (1, num_sentences, encoder.max_length), and features, float32
            (1, num_sentences, num_features), to scores (1, num_sentences); a Keras model or an ONNX session.
            More than 400 sentences are given in parts.

    Returns:
        float64 (num_sentences,).
    """
    token_ids, features = network_inputs(sentences, encoder)
    parts = zip(_windows(token_ids), _windows(features), strict=True)
    return np.concatenate(
        [np.zeros(0), *(np.asarray(network(ids[None], rows[None]))[0] for ids, rows in parts)]
    )


def network_inputs(sentences: Sequence[str], encoder: TextEncoder) -> tuple[np.ndarray, np.ndarray]:
    """A document's token ids, int32 (num_sentences, encoder.max_length), and its `sentence_features`."""
    token_ids = pad([encoder.encode(sentence) for sentence in sentences], encoder.max_length)
    return token_ids, sentence_features(sentences, encoder.vocabulary)


def pad_documents(
    documents: Sequence[tuple[np.ndarray, np.ndarray]], num_sentences: int
) -> tuple[np.ndarray, np.ndarray]:
    """Several documents' `network_inputs` as one batch, each cut or padded on the right.

    Args:
        documents: for each document its token ids and its features.
        num_sentences: of every document in the batch.

    Returns:
        Token ids, int32 (num_documents, num_sentences, time), a padded sentence being one unknown token; and
        features, float32 (num_documents, num_sentences, num_features), zeros at padding.
    """
    token_ids = np.stack([_pad_rows(ids, num_sentences) for ids, _ in documents])
    features = np.stack([_pad_rows(rows, num_sentences) for _, rows in documents])
    # cuDNN's LSTM takes no empty sequence.
    token_ids[..., 0] = np.where(token_ids[..., 0] == PAD_ID, UNKNOWN_ID, token_ids[..., 0])
    return token_ids, features


def _pad_rows(rows: np.ndarray, num_rows: int) -> np.ndarray:
    return np.pad(rows[:num_rows], [(0, max(num_rows - len(rows), 0)), (0, 0)])


def _content_features(words: list[list[str]], vocabulary: Vocabulary) -> np.ndarray:
    """The features of the two middle groups of `FEATURE_NAMES`, (num_features, num_sentences)."""
    counts = _count(words)
    present = counts > 0
    lengths = np.maximum(counts.sum(axis=1), 1)
    num_different = np.maximum(present.sum(axis=1), 1)
    rarity = word_rarity(_different(words), vocabulary)
    frequency = (present @ counts.sum(axis=0)) / num_different
    num_with_word = present.sum(axis=0)  # (num_words,)
    num_so_far = np.cumsum(present, axis=0)
    is_new = present & (num_so_far == 1)
    textrank = pagerank(_shared_words(counts))
    cosines = _cosines(words, vocabulary)
    others = cosines * (1 - np.eye(len(words)))
    weighted = counts * rarity
    said_again = present @ (rarity * np.log(np.maximum(num_with_word, 1)))
    return np.stack(
        [
            np.log(textrank),
            textrank == textrank.max(),
            textrank / textrank.max(),
            np.log(pagerank(cosines)),
            others.mean(axis=1),
            others.max(axis=1),
            _row_cosines(weighted, weighted.sum(axis=0) - weighted),
            cosines[0],
            np.concatenate([[0], np.diag(cosines, -1)]),
            np.concatenate([np.diag(cosines, 1), [0]]),
            weighted.sum(axis=1) / 50,
            weighted.sum(axis=1) / lengths / 5,
            said_again / 25,
            said_again / lengths,
            (is_new @ rarity) / np.maximum(present @ rarity, 1e-9),
            (is_new & (num_with_word > num_so_far)) @ rarity / 20,
            frequency / max(frequency.mean(), 1e-9),
        ]
    )


def _windows(rows: Sequence) -> list:
    return [rows[start : start + WINDOW] for start in range(0, len(rows), WINDOW)]


def _different(words: list[list[str]]) -> list[str]:
    """The different words of the sentences, in the order of the columns of `_count`."""
    return list(dict.fromkeys(word for sentence in words for word in sentence))


def _count(words: list[list[str]]) -> np.ndarray:
    """How often each word stands in each sentence: float64 (num_sentences, num_different_words)."""
    column = {word: index for index, word in enumerate(_different(words))}
    counts = np.zeros((len(words), len(column)))
    for row, sentence in zip(counts, words, strict=True):
        np.add.at(row, [column[word] for word in sentence], 1)
    return counts


def _shared_words(counts: np.ndarray) -> np.ndarray:
    """TextRank's similarity of all pairs of sentences, (num_sentences, num_sentences)."""
    present = (counts > 0).astype(float)
    log_lengths = np.log(np.maximum(counts.sum(axis=1), 1))
    sums = log_lengths[:, None] + log_lengths
    return np.divide(present @ present.T, sums, out=np.zeros_like(sums), where=sums > 0)


def _cosines(words: list[list[str]], vocabulary: Vocabulary) -> np.ndarray:
    """The cosine of all pairs of sentences, words weighted by rarity, (num_sentences, num_sentences)."""
    weighted = _count(words) * word_rarity(_different(words), vocabulary)
    norms = np.linalg.norm(weighted, axis=1, keepdims=True)
    unit = np.divide(weighted, norms, out=np.zeros_like(weighted), where=norms > 0)
    return unit @ unit.T


def _row_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    products = (first * second).sum(axis=1)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)


def _jaccard(first: set[str], second: set[str]) -> float:
    return len(first & second) / max(len(first | second), 1)
