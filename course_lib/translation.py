"""Translating with a trained network: greedy and beam search, and from text to text. Needs no TensorFlow.

The searches know two functions of NumPy arrays, so that a Keras model, an ONNX graph or a table of
probabilities can stand behind them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from course_lib.errors import UsageError
from course_lib.text.padding import pad
from course_lib.text.subwords import END_ID, START_ID, Subwords
from course_lib.text.vocabulary import PAD_ID, UNKNOWN_ID

# In subwords; longer than any training sentence: what a network says beyond is no translation.
MAX_SOURCE_LENGTH = 100
# They have no place in a text.
_NEVER_WRITTEN = [PAD_ID, UNKNOWN_ID, START_ID]


class SearchNetwork(NamedTuple):
    """A translator, cut into what is done once for each source and what is done for each token.

    Attributes:
        encode: from source ids int32 (batch, source_time), 0 at padding, to two dicts of arrays with the
            batch first: the memory, which stays as it is, and the decoder's first state.
        step: from the last token of each row (batch,), memory and state to logits (batch, vocabulary_size)
            of the next token, attention weights (batch, source_time) and the new state.
    """

    encode: Callable[[np.ndarray], tuple[dict, dict]]
    step: Callable[[np.ndarray, dict, dict], tuple[np.ndarray, np.ndarray, dict]]


class Hypothesis(NamedTuple):
    """A translation that a search has found.

    Attributes:
        ids: target ids without start and end.
        log_probability: of all tokens, the end included if it was reached, in nats.
        score: the log-probability divided by the length penalty; for greedy search undivided.
        attention: float32 (num_steps, source_length), a row for each token and for the end.
        ended: whether the end token was reached before the limit.
    """

    ids: list[int]
    log_probability: float
    score: float
    attention: np.ndarray
    ended: bool


class Translation(NamedTuple):
    """A translated text.

    Attributes:
        text: the translation; empty if there is none.
        problem: one sentence that says why there is none; otherwise None.
        source_tokens, target_tokens: the subwords of both.
        attention: float32 (num_target_tokens, num_source_tokens); row i is what was read for token i.
        log_probability: of the translation, in nats.
    """

    text: str
    problem: str | None
    source_tokens: list[str]
    target_tokens: list[str]
    attention: np.ndarray
    log_probability: float


def length_penalty(num_tokens, alpha: float):
    """What a log-probability is divided by: ((5 + num_tokens) / 6) ** alpha; 1 for an alpha of 0.

    Source: Wu et al. 2016, "Google's Neural Machine Translation System", section 7.
    """
    return ((5 + num_tokens) / 6) ** alpha


def longest_target(source_length: int) -> int:
    """How many tokens a search writes at most for a source, so that it always ends."""
    return 2 * source_length + 10


def greedy_search(
    network: SearchNetwork,
    sources: Sequence[Sequence[int]],
    max_length: Callable[[int], int] = longest_target,
) -> list[Hypothesis]:
    """Takes the most probable token at each step until the end token comes; all sources as one batch.

    Args:
        network: the translator.
        sources: ids of each source.
        max_length: from the length of a source to the number of steps after which it is given up.

    Returns:
        One hypothesis for each source. Sources that have ended leave the batch.
    """
    if len(sources) == 0:
        return []
    source_lengths, limits = _lengths(sources, max_length)
    memory, state = network.encode(pad(sources))
    active, previous = np.arange(len(sources)), np.full(len(sources), START_ID, dtype=np.int32)
    ids, attention = [[] for _ in sources], [[] for _ in sources]
    total, ended = np.zeros(len(sources)), np.zeros(len(sources), dtype=bool)
    for step in range(limits.max()):
        log_probabilities, weights, state = _next(network, previous, memory, state)
        best = log_probabilities.argmax(axis=1).astype(np.int32)
        total[active] += log_probabilities[np.arange(len(active)), best]
        ended[active] = best == END_ID
        for row, index in enumerate(active):
            attention[index].append(weights[row, : source_lengths[index]])
            if best[row] != END_ID:
                ids[index].append(int(best[row]))
        going = ~ended[active] & (step + 1 < limits[active])
        if not going.any():
            break
        if not going.all():
            memory, state = _rows(memory, going), _rows(state, going)
        active, previous = active[going], best[going]
    return [
        Hypothesis(
            ids[i], float(total[i]), float(total[i]), np.array(attention[i], np.float32), bool(ended[i])
        )
        for i in range(len(sources))
    ]


def beam_search(
    network: SearchNetwork,
    sources: Sequence[Sequence[int]],
    *,
    beam_size: int = 4,
    alpha: float = 1.0,
    max_length: Callable[[int], int] = longest_target,
) -> list[Hypothesis]:
    """Follows the `beam_size` most probable beginnings side by side; all sources as one batch.

    A hypothesis that ends keeps its place, so that ever fewer beginnings go on. A source is done when none
    is left, when none can still reach the best score, or at its limit. A beam of 1 is greedy search.

    Args:
        network, sources, max_length: as in `greedy_search`.
        beam_size: number of beginnings that are kept.
        alpha: exponent of the length penalty; 0 compares plain log-probabilities, which favours short ones.

    Returns:
        The hypothesis with the best score for each source.

    Raises:
        UsageError: a beam size below 1, or a negative alpha.

    Source: Sutskever, Vinyals and Le 2014, section 3.2; Wu et al. 2016, section 7, for the length penalty;
    Huang, Zhao and Ma 2017, "When to Finish? Optimal Beam Search for Neural Text Generation", section 3.
    """
    if beam_size < 1 or alpha < 0:
        raise UsageError(f"beam_size is {beam_size} and alpha {alpha}: at least 1, and not negative.")
    if len(sources) == 0:
        return []
    source_lengths, limits = _lengths(sources, max_length)
    memory, state = network.encode(pad(sources))
    memory, state = (
        {name: np.repeat(values, beam_size, axis=0) for name, values in part.items()}
        for part in (memory, state)
    )
    found: list[list[Hypothesis]] = [[] for _ in sources]
    active = np.arange(len(sources))
    previous = np.full(len(sources) * beam_size, START_ID, dtype=np.int32)
    # All rows of a source are alike at first: only one of them counts.
    scores = np.tile(np.where(np.arange(beam_size) == 0, 0.0, -np.inf), (len(sources), 1))
    tokens = np.zeros((len(sources), beam_size, limits.max()), dtype=np.int32)
    attention = np.zeros((*tokens.shape, source_lengths.max()), dtype=np.float32)
    for step in range(limits.max()):
        log_probabilities, weights, state = _next(network, previous, memory, state)
        attention[:, :, step] = weights.reshape(len(active), beam_size, -1)
        candidates = scores[:, :, None] + log_probabilities.reshape(len(active), beam_size, -1)
        scores, parents, chosen = _highest(candidates, beam_size)
        # A hypothesis that has ended keeps its place in the beam: what is left goes on.
        places = beam_size - np.array([len(found[index]) for index in active])
        scores[np.arange(beam_size) >= places[:, None]] = -np.inf
        rows = np.arange(len(active))[:, None]
        tokens, attention = tokens[rows, parents], attention[rows, parents]
        tokens[:, :, step] = chosen
        for row, index in enumerate(active):
            last = step + 1 == limits[index]
            for beam in np.flatnonzero((scores[row] > -np.inf) & (last | (chosen[row] == END_ID))):
                ended = bool(chosen[row, beam] == END_ID)
                ids = tokens[row, beam, : step + (not ended)].tolist()
                score = float(scores[row, beam] / length_penalty(step + 1, alpha))
                read = attention[row, beam, : step + 1, : source_lengths[index]].copy()
                found[index].append(Hypothesis(ids, float(scores[row, beam]), score, read, ended))
                scores[row, beam] = -np.inf

        # Log-probabilities only fall, and no length divides them by more than the limit does.
        within_reach = scores.max(axis=1) / length_penalty(limits[active], alpha)
        best_found = [max([hypothesis.score for hypothesis in found[i]], default=-np.inf) for i in active]
        going = within_reach > np.array(best_found)
        if not going.any():
            break
        state = _rows(state, (np.arange(len(active))[going, None] * beam_size + parents[going]).ravel())
        if not going.all():
            memory = _rows(memory, np.repeat(going, beam_size))
        active, previous = active[going], chosen[going].ravel().astype(np.int32)
        scores, tokens, attention = scores[going], tokens[going], attention[going]
    return [max(hypotheses, key=lambda hypothesis: hypothesis.score) for hypotheses in found]


def translate(
    texts: Sequence[str],
    source_subwords: Subwords,
    target_subwords: Subwords,
    network: SearchNetwork,
    *,
    beam_size: int = 1,
    alpha: float = 1.0,
    batch_size: int = 64,
    max_source_length: int = MAX_SOURCE_LENGTH,
) -> list[Translation]:
    """Translates texts, each as one sentence, in their order.

    Args:
        texts: in the language of `source_subwords`.
        source_subwords, target_subwords: of the two languages.
        network: the translator.
        beam_size: 1 is greedy search.
        alpha: as in `beam_search`.
        batch_size: sentences that are searched at once, of similar length.
        max_source_length: in subwords; a longer text is not translated.

    Returns:
        One translation for each text. Where none is possible (no text, a text that is too long, no known
        character), `text` is empty and `problem` says so.

    Raises:
        UsageError: a beam or batch size below 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1.")
    encoded = source_subwords.encode_all(texts)
    results: list[Translation] = [
        Translation("", _problem(ids, source_subwords, max_source_length), [], [], np.zeros((0, 0)), 0.0)
        for ids in encoded
    ]
    possible = [index for index, result in enumerate(results) if result.problem is None]
    possible.sort(key=lambda index: len(encoded[index]))
    for first in range(0, len(possible), batch_size):
        members = possible[first : first + batch_size]
        sources = [encoded[index] for index in members]
        if beam_size == 1:
            hypotheses = greedy_search(network, sources)
        else:
            hypotheses = beam_search(network, sources, beam_size=beam_size, alpha=alpha)
        for index, hypothesis in zip(members, hypotheses, strict=True):
            results[index] = Translation(
                target_subwords.decode(hypothesis.ids),
                None,
                source_subwords.tokens(encoded[index]),
                target_subwords.tokens(hypothesis.ids),
                hypothesis.attention[: len(hypothesis.ids)],
                hypothesis.log_probability,
            )
    return results


def _problem(ids: list[int], subwords: Subwords, max_source_length: int) -> str | None:
    if not ids:
        return "There is no text to translate."
    if len(ids) > max_source_length:
        return (
            f"The sentence has {len(ids)} subwords and the model takes {max_source_length}: "
            "cut it into shorter sentences."
        )
    if not subwords.is_known(ids):
        return "The model has learnt none of these characters: it translates from English."
    return None


def _lengths(
    sources: Sequence[Sequence[int]], max_length: Callable[[int], int]
) -> tuple[np.ndarray, np.ndarray]:
    source_lengths = np.array([max(len(ids), 1) for ids in sources])
    return source_lengths, np.array([max(max_length(length), 1) for length in source_lengths])


def _next(network: SearchNetwork, previous: np.ndarray, memory: dict, state: dict):
    """Log-probabilities of the next token among those that may be written; weights; the new state."""
    logits, weights, state = network.step(previous, memory, state)
    logits = np.array(logits)
    logits[:, _NEVER_WRITTEN] = -np.inf
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_probabilities, weights, state


def _highest(candidates: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The highest of candidates (rows, beam, vocabulary): values, beams, tokens (rows, num), in order."""
    num_rows, _, vocabulary_size = candidates.shape
    flat = candidates.reshape(num_rows, -1)
    best = np.argpartition(-flat, num - 1, axis=1)[:, :num]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(flat, best, axis=1), axis=1), axis=1)
    beams, tokens = np.divmod(best, vocabulary_size)
    return np.take_along_axis(flat, best, axis=1), beams, tokens


def _rows(part: dict, rows: np.ndarray) -> dict:
    return {name: values[rows] for name, values in part.items()}
