"""GloVe: the published vectors, their alignment to a vocabulary, training from scratch, intrinsic tests."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from gensim.models import KeyedVectors
from scipy import sparse, stats

from course_lib.data import load_glove_6b_50d
from course_lib.errors import UsageError
from course_lib.text import PAD_ID, UNKNOWN_ID, Vocabulary


@functools.cache
def load_glove() -> KeyedVectors:
    """GloVe 6B, 400,000 words × 50, most frequent word first; a second call returns the same object."""
    words, vectors = load_glove_6b_50d()
    return as_keyed_vectors(words, vectors)


def as_keyed_vectors(words: Sequence[str], vectors: np.ndarray) -> KeyedVectors:
    """Wraps words and their vectors (num_words, embedding_dim), uncopied, for gensim's look-ups.

    Raises:
        UsageError: there are not as many words as vectors.
    """
    if len(words) != len(vectors):
        raise UsageError(
            f"There are {len(words):,} words but {len(vectors):,} vectors: pass one word for each row."
        )
    keyed = KeyedVectors(vectors.shape[1], dtype=vectors.dtype)
    keyed.index_to_key = list(words)
    keyed.key_to_index = {word: index for index, word in enumerate(words)}
    keyed.vectors = vectors
    return keyed


@dataclass(frozen=True)
class Alignment:
    """Word vectors in the order of a vocabulary.

    Attributes:
        matrix: float32 (vocabulary size, embedding_dim); the padding row is zero.
        found: bool (vocabulary size,), True where the word has a published vector.
        coverage: share of the vocabulary's words, the two special tokens left out, that have one.
    """

    matrix: np.ndarray
    found: np.ndarray

    @property
    def coverage(self) -> float:
        return float(self.found[2:].mean())


def align(vectors: KeyedVectors, vocabulary: Vocabulary, seed: int) -> Alignment:
    """Picks each vocabulary word's vector; words without one get a random vector of the same mean and spread.

    The row of the unknown token is the mean of all vectors that were found.

    Raises:
        UsageError: no word of the vocabulary has a vector.
    """
    index = np.array([vectors.key_to_index.get(token, -1) for token in vocabulary.tokens])
    index[:2] = -1
    found = index >= 0
    if not found.any():
        raise UsageError(
            "No word of the vocabulary has a vector: compare its spelling and case with the vectors'."
        )
    known = np.asarray(vectors.vectors[index[found]], dtype=np.float32)
    mean, spread = known.mean(axis=0), known.std(axis=0)
    random = np.random.default_rng(seed)
    matrix = random.normal(mean, spread, (len(vocabulary), vectors.vector_size)).astype(np.float32)
    matrix[found] = known
    matrix[UNKNOWN_ID] = mean
    matrix[PAD_ID] = 0
    return Alignment(matrix, found)


def count_cooccurrences(
    texts: Iterable[Sequence[int]], vocabulary_size: int, window: int
) -> sparse.csr_matrix:
    """Counts how often two words occur within `window` words of each other, weighted by 1 / distance.

    Args:
        texts: token ids; no pair crosses a text's end. Padding and unknown tokens keep their place
            but are not counted.
        vocabulary_size: number of ids.
        window: largest distance, in tokens, to either side.

    Returns:
        Symmetric float64 matrix (vocabulary_size, vocabulary_size).

    Raises:
        UsageError: the window is smaller than 1, or an id is not below vocabulary_size.

    Source: Pennington et al. 2014, section 4.2.
    """
    if window < 1:
        raise UsageError(f"The window is {window}; it must reach at least 1 token to either side.")
    # Between two texts stand `window` paddings, so one long array can be shifted as a whole.
    gap = np.full(window, PAD_ID)
    stream = np.concatenate(
        [gap, *(part for ids in texts for part in (np.asarray(ids, dtype=np.int64), gap))]
    )
    if stream.max() >= vocabulary_size:
        raise UsageError(
            f"The texts hold the id {stream.max()}, but the vocabulary has {vocabulary_size} ids."
        )
    shape = (vocabulary_size, vocabulary_size)
    total = sparse.csr_matrix(shape)
    for distance in range(1, window + 1):
        left, right = stream[:-distance], stream[distance:]
        counted = (left > UNKNOWN_ID) & (right > UNKNOWN_ID)
        weights = np.full(counted.sum(), 1 / distance)
        total = total + sparse.coo_matrix((weights, (left[counted], right[counted])), shape).tocsr()
    return (total + total.T).tocsr()


def glove_weight(counts: np.ndarray, x_max: float = 100.0, alpha: float = 0.75) -> np.ndarray:
    """The weighting function f(x) = min(1, (x / x_max)^alpha) of Pennington et al. 2014, equation 9."""
    return np.minimum(1.0, (counts / x_max) ** alpha)


def glove_loss_and_gradients(
    words: np.ndarray,
    contexts: np.ndarray,
    word_bias: np.ndarray,
    context_bias: np.ndarray,
    counts: np.ndarray,
    x_max: float = 100.0,
) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """GloVe's loss over a batch of pairs, f(x) (w·c + b + b' − log x)² summed, and its gradients.

    Args:
        words, contexts: (num_pairs, embedding_dim).
        word_bias, context_bias: (num_pairs,).
        counts: co-occurrence counts x > 0, (num_pairs,).
        x_max: the count from which on every pair weighs the same.

    Returns:
        The loss and its gradients with respect to words, contexts, and either bias (they are the same).

    Source: Pennington et al. 2014, equation 8.
    """
    weight = glove_weight(counts, x_max)
    error = np.einsum("pd,pd->p", words, contexts) + word_bias + context_bias - np.log(counts)
    slope = 2 * weight * error  # (num_pairs,)
    return float(weight @ error**2), (slope[:, None] * contexts, slope[:, None] * words, slope)


def train_glove(
    cooccurrences: sparse.csr_matrix,
    embedding_dim: int,
    epochs: int,
    seed: int,
    *,
    x_max: float = 100.0,
    learning_rate: float = 0.05,
    batch_size: int = 4_096,
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[np.ndarray, list[float]]:
    """Trains GloVe vectors by AdaGrad on shuffled batches of co-occurring pairs.

    Args:
        cooccurrences: as `count_cooccurrences` returns them.
        embedding_dim: size of a word vector.
        epochs: passes over all pairs.
        seed: of the first vectors and of the order of the pairs.
        x_max: the count from which on every pair weighs the same; the paper's 100 suits billions of tokens.
        learning_rate: AdaGrad's step size; the paper's is 0.05, for one pair at a time.
        batch_size: pairs that are updated at once.
        progress: wraps the range of epochs, for example `tqdm`.

    Returns:
        Word plus context vectors, float32 (vocabulary size, embedding_dim), and the mean loss of each epoch.

    Raises:
        UsageError: no two words co-occur.

    Source: Pennington et al. 2014, sections 3 and 4.2; Duchi et al. 2011 for AdaGrad.
    """
    pairs = cooccurrences.tocoo()
    if pairs.nnz == 0:
        raise UsageError(
            "There are no co-occurring words to train on: pass longer texts or a larger vocabulary."
        )
    size = cooccurrences.shape[0]
    random = np.random.default_rng(seed)
    # The bias is the last column, so that one table and one update serve vector and bias.
    tables = [
        random.uniform(-0.5, 0.5, (size, embedding_dim + 1)).astype(np.float32) / embedding_dim for _ in "wc"
    ]
    squares = [np.ones_like(table) for table in tables]
    counts = pairs.data.astype(np.float32)
    losses = []
    for _ in progress(range(epochs)):
        order = random.permutation(len(counts))
        total = 0.0
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            ids = (pairs.row[chosen], pairs.col[chosen])
            rows, columns = (table[index] for table, index in zip(tables, ids, strict=True))
            loss, (for_words, for_contexts, for_bias) = glove_loss_and_gradients(
                rows[:, :-1], columns[:, :-1], rows[:, -1], columns[:, -1], counts[chosen], x_max
            )
            total += loss
            gradients = (for_words, for_contexts)
            for table, square, index, gradient in zip(tables, squares, ids, gradients, strict=True):
                _adagrad_step(table, square, index, np.column_stack([gradient, for_bias]), learning_rate)
        losses.append(total / len(counts))
    return (tables[0] + tables[1])[:, :-1], losses


def _adagrad_step(table, square, index, gradients, learning_rate):
    """One AdaGrad step on the rows that occur in `index`, repeated rows summed first."""
    # A sparse product adds up repeated rows many times faster than np.add.at.
    positions = np.arange(len(index) + 1)
    picker = sparse.csc_matrix(
        (np.ones(len(index), np.float32), index, positions), (len(table), len(index))
    ).tocsr()
    rows = np.flatnonzero(np.diff(picker.indptr))
    summed = (picker @ gradients)[rows]
    squares = square[rows] + summed**2
    square[rows] = squares
    table[rows] -= learning_rate * summed / np.sqrt(squares)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a zero row stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def similarity_correlation(
    vectors: KeyedVectors, pairs: Sequence[tuple[str, str, float]]
) -> tuple[float, float]:
    """Spearman correlation of cosine similarities with human ratings.

    Args:
        pairs: (word, word, rating); looked up in lower case, pairs with an unknown word are left out.

    Returns:
        The correlation and the share of pairs left out.

    Raises:
        UsageError: fewer than two pairs are known.
    """
    known = [(a, b, rating) for a, b, rating in pairs if a.lower() in vectors and b.lower() in vectors]
    if len(known) < 2:
        raise UsageError("Fewer than two of the word pairs are known to the vectors.")
    similarities = [vectors.similarity(a.lower(), b.lower()) for a, b, _ in known]
    correlation = stats.spearmanr(similarities, [rating for *_, rating in known]).statistic
    return float(correlation), 1 - len(known) / len(pairs)


def analogy_accuracy(
    vectors: KeyedVectors,
    questions: Sequence[tuple[str, str, str, str]],
    num_words: int | None = None,
    batch_size: int = 128,
) -> tuple[float, float]:
    """Share of questions "a is to b as c is to d" for which d is the word nearest to b − a + c (3CosAdd).

    Args:
        num_words: only the first so many words may be asked for or answered; all by default.
        batch_size: questions answered by one matrix product.

    Returns:
        The accuracy over the questions whose four words are known, and the share of those that are not.

    Raises:
        UsageError: no question is known.

    Source: Levy & Goldberg 2014, equation 3, after Mikolov et al. 2013.
    """
    units = unit_vectors(np.asarray(vectors.vectors[:num_words], dtype=np.float32))
    ids = [[vectors.key_to_index.get(word, len(units)) for word in question] for question in questions]
    known = np.array([row for row in ids if max(row) < len(units)]).reshape(-1, 4)
    if len(known) == 0:
        raise UsageError("None of the analogy questions is known to the vectors.")
    num_right = 0
    for start in range(0, len(known), batch_size):
        a, b, c, d = known[start : start + batch_size].T
        scores = unit_vectors(units[b] - units[a] + units[c]) @ units.T  # (questions, words)
        for asked in (a, b, c):
            scores[np.arange(len(scores)), asked] = -np.inf
        num_right += int((scores.argmax(axis=1) == d).sum())
    return num_right / len(known), 1 - len(known) / len(questions)
