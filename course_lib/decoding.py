"""Decoding a linear-chain CRF in NumPy; the same numbers as `course_lib.layers.crf.CRF`, without Keras.

All functions take logits (batch, time, num_tags), transition scores (num_tags + 1, num_tags + 1), whose last
row is the start and last column the end, and a bool mask (batch, time), True at real tokens, padding on the
right (None counts all). With transition scores of 0 a softmax tagger is the special case: its marginals are
the softmax and its best tags the highest logits. Computed in float64.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A type that no other occurrence of a word shows keeps this probability: evidence from elsewhere is no proof.
EVIDENCE_FLOOR = 0.05

# exp() of it is 0, several of them do not overflow, and unlike -inf it gives no nan when subtracted.
FORBIDDEN_SCORE = -1e4


class Segment(NamedTuple):
    """Part of a tag sequence: the ids `tags` from position `start` on, then none of `not_before`."""

    start: int
    tags: Sequence[int]
    not_before: Sequence[int] = ()


def constrain(transitions: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Transition scores with `FORBIDDEN_SCORE` wherever `allowed` (bool, same shape) is False."""
    return np.where(allowed, transitions, FORBIDDEN_SCORE)


def viterbi(
    logits: np.ndarray, transitions: np.ndarray, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The best tag sequence of each row.

    Returns:
        Tags int32 (batch, time), 0 at padding, and their score (batch,), 0 for a row without any token.

    Source: Viterbi 1967; Rabiner 1989, section III.B.
    """
    logits, mask = _prepare(logits, mask)
    num_rows, num_steps, num_tags = logits.shape
    rows, own = np.arange(num_rows), np.arange(num_tags)
    best = logits[:, 0] + transitions[-1, :-1]
    came_from = np.zeros((num_steps, num_rows, num_tags), dtype=np.int32)
    for step in range(1, num_steps):
        candidates = best[:, :, None] + transitions[:-1, :-1]  # (batch, from, to)
        real = mask[:, step, None]
        came_from[step] = np.where(real, candidates.argmax(axis=1), own)
        best = np.where(real, candidates.max(axis=1) + logits[:, step], best)
    best = best + transitions[:-1, -1]
    tags = np.zeros((num_rows, num_steps), dtype=np.int32)
    tags[:, -1] = best.argmax(axis=1)
    for step in range(num_steps - 1, 0, -1):
        tags[:, step - 1] = came_from[step, rows, tags[:, step]]
    return np.where(mask, tags, 0).astype(np.int32), np.where(mask[:, 0], best.max(axis=1), 0.0)


def forward_backward(
    logits: np.ndarray, transitions: np.ndarray, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-sums over all ways to reach each tag, over all ways on from it, and over all sequences.

    Returns:
        `forward` and `backward` (batch, time, num_tags), both with the tag's own logit, and log Z (batch,).
        At padding the first two are of no use; log Z is 0 for a row without any token.

    Source: Rabiner 1989, section III.A, in logarithms.
    """
    logits, mask = _prepare(logits, mask)
    between, start, end = transitions[:-1, :-1], transitions[-1, :-1], transitions[:-1, -1]
    # Both ways in one loop, the second from the last step to the first: (2, batch, time, num_tags).
    both = np.stack([logits, logits[:, ::-1]])
    both[:, :, 0] += np.stack([start, end])[:, None]
    onwards = np.stack([between, between.T])[:, None]  # (2, 1, from, to)
    for step in range(1, logits.shape[1]):
        reached = _log_sum_exp(both[:, :, step - 1, :, None] + onwards, axis=2)
        # Where the step that it comes from is padding, the way back begins here.
        reached[1] = np.where(mask[:, -step, None], reached[1], end)
        both[:, :, step] += reached
    forward, backward = both[0], both[1, :, ::-1]
    log_partition = _log_sum_exp(backward[:, 0] + start, axis=1)
    return forward, backward, np.where(mask[:, 0], log_partition, 0.0)


def marginals(logits: np.ndarray, transitions: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The probability of each tag at each token: like logits, 0 at padding."""
    logits, mask = _prepare(logits, mask)
    forward, backward, log_partition = forward_backward(logits, transitions, mask)
    # Rounding may put a log-probability just above 0, and padding may put it anywhere.
    log_marginals = np.minimum(forward + backward - logits - log_partition[:, None, None], 0.0)
    return np.where(mask[:, :, None], np.exp(log_marginals), 0.0)


def share_evidence(
    logits: Sequence[np.ndarray],
    transitions: np.ndarray,
    words: Sequence[Sequence[str]],
    types: Sequence[str],
) -> list[np.ndarray]:
    """Lets a word's occurrences in one document inform each other: a name mostly keeps its type there.

    With q for the mean probability of a type over the *other* occurrences of the token's word (upper and
    lower case alike), log(q + 0.05) is added to the logits of that type's tags, as a prior would be. A word
    that occurs once keeps its logits.

    Args:
        logits: one array (num_tokens, num_tags) for each sentence of the document.
        transitions: scores (num_tags + 1, num_tags + 1).
        words: the sentences' tokens.
        types: each tag's type, "" for O: BIO's or BIOES's prefixes of one type share it.

    Returns:
        The new logits, in the same shapes.

    Source: Gale, Church and Yarowsky 1992, "One Sense Per Discourse"; non-local evidence for names as in
    Krishnan and Manning 2006.
    """
    ids = np.unique([word.lower() for sentence in words for word in sentence], return_inverse=True)[1]
    counts = np.bincount(ids)
    if not len(ids) or counts.max() == 1:
        return list(logits)
    num_types, type_ids = len(set(types)), np.unique(types, return_inverse=True)[1]
    by_tag = np.concatenate([marginals(rows[None], transitions)[0] for rows in logits])
    by_type = by_tag @ np.eye(num_types)[type_ids]  # (num_tokens, num_types)
    sums = np.zeros((len(counts), num_types))
    np.add.at(sums, ids, by_type)
    others = (counts[ids] - 1)[:, None]
    mean = (sums[ids] - by_type) / np.maximum(others, 1)
    prior = np.log(np.maximum(mean, 0) + EVIDENCE_FLOOR)[:, type_ids]
    shared = np.concatenate(logits) + np.where(others > 0, prior, 0)
    return np.split(shared, np.cumsum([len(rows) for rows in logits])[:-1])


def segment_probabilities(
    logits: np.ndarray, transitions: np.ndarray, segments: Sequence[Segment]
) -> np.ndarray:
    """The probability that a sequence's tags contain each segment, all other tags being free.

    That is Z restricted to the sequences with the segment, divided by Z. It is exact; the product of the
    tags' marginals is not, as it takes neighbouring tags for independent.

    Args:
        logits: of one sequence, (time, num_tags).
        transitions: see the module.
        segments: each within the sequence, with at least one tag.

    Returns:
        float64 (num_segments,).

    Source: Culotta and McCallum 2004, "Confidence Estimation for Information Extraction", section 3.1.
    """
    logits = np.asarray(logits, dtype=np.float64)
    forward, backward, log_partition = forward_backward(logits[None], transitions)
    forward, backward = forward[0], backward[0]
    log_probabilities = np.empty(len(segments))
    for index, (start, tags, not_before) in enumerate(segments):
        inside = forward[start, tags[0]]
        for position, (previous, tag) in enumerate(itertools.pairwise(tags), start=start + 1):
            inside += transitions[previous, tag] + logits[position, tag]
        last, after = tags[-1], start + len(tags)
        if after == len(logits):
            onwards = transitions[last, -1]
        else:
            onwards = np.delete(transitions[last, :-1] + backward[after], list(not_before))
            onwards = _log_sum_exp(onwards, axis=0)
        log_probabilities[index] = inside + onwards - log_partition[0]
    return np.exp(np.minimum(log_probabilities, 0.0))


def _prepare(logits: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    logits = np.asarray(logits, dtype=np.float64)
    return logits, np.ones(logits.shape[:2], dtype=bool) if mask is None else np.asarray(mask, dtype=bool)


def _log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    highest = values.max(axis=axis, keepdims=True)
    return np.log(np.exp(values - highest).sum(axis=axis)) + highest.squeeze(axis)
