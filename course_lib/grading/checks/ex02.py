"""Checks of exercise 02: GloVe's counts, loss and gradient; neighbours, analogies, a matrix, ratings."""

import functools

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from course_lib.data import load_analogies, load_glove_6b_50d, load_word_pairs
from course_lib.grading.checks import Check, Exercise, WrongAnswer


def glove_weight(counts, x_max):
    return np.where(counts >= x_max, 1.0, np.exp(0.75 * np.log(np.maximum(counts, 1e-300) / x_max)))


def count_cooccurrences(ids, vocabulary_size, window):
    """Shifts the whole text against itself, once for each distance."""
    one_hot = np.eye(vocabulary_size)[ids]
    total = np.zeros((vocabulary_size, vocabulary_size))
    for distance in range(1, min(window, len(ids) - 1) + 1):
        total += one_hot[:-distance].T @ one_hot[distance:] / distance
    return total + total.T


def glove_loss(words, contexts, word_bias, context_bias, counts, weights):
    rows = zip(words, contexts, word_bias, context_bias, counts, weights, strict=True)
    return float(sum(f * (np.dot(w, c) + b + b2 - np.log(x)) ** 2 for w, c, b, b2, x, f in rows))


def gradients(*pairs):
    """By central differences, exact up to rounding: the loss is quadratic in each number."""
    results, step = [], 0.01
    for which in range(3):
        result = np.zeros_like(pairs[which])
        for place in np.ndindex(result.shape):
            moved = [[*pairs], [*pairs]]
            for parts, sign in zip(moved, (1, -1), strict=True):
                parts[which] = pairs[which].copy()
                parts[which][place] += sign * step
            result[place] = (glove_loss(*moved[0]) - glove_loss(*moved[1])) / (2 * step)
        results.append(result)
    return tuple(results)


def neighbours(word, words, vectors, num):
    distances = cdist(vectors[[words.index(word)]], vectors, "cosine")[0]
    ranked = sorted(zip(distances.tolist(), words, strict=True))
    return [other for _, other in ranked if other != word][:num]


def analogy(a, b, c, words, vectors):
    """As the sum of three cosines, one candidate at a time."""
    to_a, to_b, to_c = (1 - cdist(vectors[[words.index(word)]], vectors, "cosine")[0] for word in (a, b, c))
    scores = dict(zip(words, to_b - to_a + to_c, strict=True))
    return max((word for word in words if word not in (a, b, c)), key=scores.get)


def embedding_matrix(tokens, words, vectors):
    table = dict(zip(words, vectors, strict=True))
    rows = [table.get(token) for token in tokens[2:]]
    found = [row for row in rows if row is not None]
    mean = np.mean(found, axis=0)
    matrix = np.stack([np.zeros_like(mean), mean, *(mean if row is None else row for row in rows)])
    return matrix, len(found) / len(rows)


def _score(vectors, pairs):
    cosines = [1 - cdist([vectors[a.lower()]], [vectors[b.lower()]], "cosine")[0, 0] for a, b, _ in pairs]
    return float(spearmanr(cosines, [rating for *_, rating in pairs]).statistic)


def _known_pairs(vectors, pairs):
    return [pair for pair in pairs if pair[0].lower() in vectors and pair[1].lower() in vectors]


def best_candidate(candidates, pairs):
    for vectors in candidates.values():
        pairs = _known_pairs(vectors, pairs)
    scores = {name: _score(vectors, pairs) for name, vectors in candidates.items()}
    best = max(scores, key=scores.get)
    return best, scores[best], len(pairs)


@functools.cache
def _glove():
    """Word → row, and the memory-mapped rows."""
    words, vectors = load_glove_6b_50d()
    return {word: row for row, word in enumerate(words)}, vectors


def _vectors(words):
    row_of, vectors = _glove()
    return np.array([vectors[row_of[word]] for word in words], dtype=float).round(2)


@functools.cache
def _frequent_words():
    return [word for word in list(_glove()[0])[200:4_000] if word.isalpha() and word.isascii()]


@functools.cache
def _rated_pairs():
    pairs = [(a.lower(), b.lower(), rating) for a, b, rating in load_word_pairs("wordsim353")]
    return [
        pair for pair in pairs if pair[0] != pair[1] and pair[0] in _glove()[0] and pair[1] in _glove()[0]
    ]


def _some(random, things, num):
    return [things[index] for index in random.choice(len(things), num, replace=False)]


def _small_counts(random):
    x_max = float(random.integers(20, 200))
    return [(random.uniform(0, x_max, 6), x_max), (np.array([[0.0, 0.25], [1.0, x_max / 2]]), x_max)]


def _large_counts(random):
    x_max = float(random.integers(5, 50))
    return [(x_max * random.uniform(0.1, 30, 8), x_max), (np.array([x_max, x_max + 0.5, 1e6]), x_max)]


def _whole_texts(random):
    return [(random.permutation(9).tolist() + random.permutation(9).tolist(), 9, window) for window in (2, 4)]


def _short_texts(random):
    a, b, c = random.permutation(5)[:3].tolist()
    return [([a, a, b, a, a, a], 5, 2), ([a, b, c], 5, 8), ([b], 5, 3), ([c, a, b, c], 5, 3)]


def _batches(random):
    cases = []
    for num_pairs, dim in ((4, 3), (1, 5)):
        words, contexts = random.normal(size=(2, num_pairs, dim))
        word_bias, context_bias = random.normal(size=(2, num_pairs))
        counts = np.exp(random.uniform(-1, 6, num_pairs))
        cases.append((words, contexts, word_bias, context_bias, counts, random.uniform(0.1, 0.9, num_pairs)))
    return cases


def _some_vectors(random):
    cases = []
    for num in (1, 4, 6):
        words = _some(random, _frequent_words(), 50)
        # The cosine knows nothing of a vector's length, so any length will do.
        lengths = random.uniform(0.3, 3, (len(words), 1))
        cases.append((words[random.integers(50)], words, (_vectors(words) * lengths).round(2), num))
    return cases


def _questions(random, with_lengths):
    cases = []
    for section in ("capital-common-countries", "family", "gram3-comparative", "gram8-plural"):
        questions = [
            question for question in load_analogies()[section] if _glove()[0].keys() >= set(question)
        ]
        asked = _some(random, questions, 15)
        words = sorted({word for question in asked for word in question})
        vectors = _vectors(words)
        if with_lengths:
            vectors = (vectors * np.exp(random.uniform(-2, 2, (len(words), 1)))).round(2)
        cases += [(*question[:3], words, vectors) for question in asked[:2]]
    return cases


def _plain_questions(random):
    return _questions(random, with_lengths=False)


def _questions_of_all_lengths(random):
    return _questions(random, with_lengths=True)


def _vocabularies(random):
    cases = []
    for num_unpublished in (3, 1):
        words = _some(random, _frequent_words(), 12)
        own = words[3:9] + [f"{word}zq" for word in words[:num_unpublished]]
        tokens = ["[PAD]", "[UNK]", *(own[index] for index in random.permutation(len(own)))]
        cases.append((tokens, words, random.normal(1, 2, (len(words), 4))))
    return cases


def _as_typed(random, pairs):
    """Some words with a capital or in capitals, as lists of ratings have them."""
    change = (str, str, str.capitalize, str.upper)
    kinds = random.integers(len(change), size=(len(pairs), 2))
    return [
        (change[kind[0]](a), change[kind[1]](b), rating)
        for (a, b, rating), kind in zip(pairs, kinds, strict=True)
    ]


def _table(pairs, random=None, noise=0.0):
    words = sorted({word for pair in pairs for word in pair[:2]})
    vectors = _vectors(words)
    if noise:
        vectors = (vectors + noise * random.normal(size=vectors.shape)).round(2)
    return dict(zip(words, vectors, strict=True))


def _equal_candidates(random):
    pairs = _some(random, _rated_pairs(), 30)
    full, noisy = _table(pairs[:27]), _table(pairs[:27], random, 0.5)
    stretched = {word: (vector * random.uniform(0.2, 4)).round(2) for word, vector in full.items()}
    candidates = {"noisy": noisy, "stretched": stretched, "short": {w: v[:6] for w, v in full.items()}}
    names = _some(random, list(candidates), 3)
    return [({name: candidates[name] for name in names}, _as_typed(random, pairs))]


def _unequal_candidates(random):
    """The worse vectors know only the pairs that are easy, and look better on what they know."""
    while True:
        pairs = _some(random, _rated_pairs(), 30)
        wide = _table(pairs)
        gaps = np.abs(_ranks([_score_of(wide, pair) for pair in pairs]) - _ranks([pair[2] for pair in pairs]))
        narrow = _table([pairs[index] for index in np.argsort(gaps)[:12]], random, 0.25)
        easy = _known_pairs(narrow, pairs)
        scores = _score(wide, pairs), _score(narrow, easy), _score(wide, easy)
        if scores[0] + 0.05 < scores[1] < scores[2] - 0.02:
            return [({"narrow": narrow, "wide": wide}, _as_typed(random, pairs))]


def _score_of(vectors, pair):
    return 1 - cdist([vectors[pair[0]]], [vectors[pair[1]]], "cosine")[0, 0]


def _ranks(values):
    return np.argsort(np.argsort(values))


CLOSE = 1e-6
EXERCISE = Exercise(
    checks=(
        Check(
            "q1",
            "weight-rising",
            1,
            "glove_weight(*args)",
            _small_counts,
            glove_weight,
            "Below x_max the weight is the power 3/4 of the count's share of x_max; a count of 0 weighs 0.",
            "02_glove_embeddings#loss-title",
            CLOSE,
        ),
        Check(
            "q1",
            "weight-capped",
            1,
            "glove_weight(*args)",
            _large_counts,
            glove_weight,
            "From x_max on every pair weighs 1, or the most frequent words would rule the loss.",
            "02_glove_embeddings#weight-figure",
            CLOSE,
        ),
        Check(
            "q2",
            "cooccurrence-weights",
            1,
            "count_cooccurrences(*args)",
            _whole_texts,
            count_cooccurrences,
            "A sighting at distance d counts 1/d, and the window looks to both sides, so the table is "
            "symmetric.",
            "02_glove_embeddings#count-loop",
            CLOSE,
        ),
        Check(
            "q2",
            "cooccurrence-edges",
            2,
            "count_cooccurrences(*args)",
            _short_texts,
            count_cooccurrences,
            "Nothing lies beyond the ends of a text (a negative index counts from its end), and a word that "
            "stands near itself is its own neighbour, seen from both places.",
            "02_glove_embeddings#count-loop",
            CLOSE,
        ),
        Check(
            "q3",
            "glove-loss",
            1,
            "loss_and_gradients(*args)[0]",
            _batches,
            glove_loss,
            "The dot product and the biases are to meet the logarithm of the count; the squared errors are "
            "weighted and summed.",
            "02_glove_embeddings#loss-title",
            CLOSE,
        ),
        Check(
            "q3",
            "glove-gradients",
            2,
            "loss_and_gradients(*args)[1:]",
            _batches,
            gradients,
            "By the chain rule each gradient is 2 f(x) e times what the error changes with: the context for "
            "the word vector, the word for the context vector, 1 for a bias.",
            "02_glove_embeddings#gradient-md",
            CLOSE,
        ),
        Check(
            "q4",
            "neighbours",
            2,
            "neighbours(*args)",
            _some_vectors,
            neighbours,
            "Neighbours have a large cosine, which does not depend on the lengths of the vectors; the word "
            "itself is none of them.",
            "02_glove_embeddings#mistake-library-proof",
        ),
        Check(
            "q5",
            "analogy",
            2,
            "analogy(*args)",
            _plain_questions,
            analogy,
            "The vector asked for is b - a + c, and no word of the question may be the answer.",
            "02_glove_embeddings#analogy-rule",
        ),
        Check(
            "q5",
            "analogy-lengths",
            1,
            "analogy(*args)",
            _questions_of_all_lengths,
            analogy,
            "All vectors are scaled to length 1 before they are added, or the longest decides.",
            "02_glove_embeddings#analogy-md",
        ),
        Check(
            "q6",
            "matrix-padding",
            1,
            "embedding_matrix(*args)[0][0]",
            _vocabularies,
            lambda *arguments: embedding_matrix(*arguments)[0][0],
            "Padding is no word: its row is zero.",
            "02_glove_embeddings#keras-align",
            CLOSE,
        ),
        Check(
            "q6",
            "matrix-words",
            1,
            "embedding_matrix(*args)[0][1:]",
            _vocabularies,
            lambda *arguments: embedding_matrix(*arguments)[0][1:],
            "Row i belongs to the token with the id i of the vocabulary, not of the published list; what has "
            "no vector gets the mean of those that were found.",
            "02_glove_embeddings#keras-title",
            CLOSE,
        ),
        Check(
            "q6",
            "matrix-coverage",
            1,
            "embedding_matrix(*args)[1]",
            _vocabularies,
            lambda *arguments: embedding_matrix(*arguments)[1],
            "The coverage is a share of the vocabulary's words, without the two special tokens.",
            "02_glove_embeddings#keras-align",
            CLOSE,
        ),
        Check(
            "q7",
            "same-words",
            2,
            "best_candidate(*args)",
            _equal_candidates,
            best_candidate,
            "Compare the order of the cosines with that of the ratings; words are looked up in lower case, "
            "and a pair with an unknown word is left out.",
            "02_glove_embeddings#ratings-md",
            CLOSE,
        ),
        Check(
            "q7",
            "different-words",
            2,
            "best_candidate(*args)",
            _unequal_candidates,
            best_candidate,
            "Candidates are comparable only on the pairs that all of them know: one that knows only easy "
            "words looks better than it is.",
            "02_glove_embeddings#ratings-compare-md",
            CLOSE,
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "weight without a cap",
            "q1",
            "def glove_weight(counts, x_max):\n    return (counts / x_max) ** 0.75\n",
            "weight-capped",
        ),
        WrongAnswer(
            "every neighbour counted as one",
            "q2",
            "def count_cooccurrences(ids, vocabulary_size, window):\n"
            "    counts = np.zeros((vocabulary_size, vocabulary_size))\n"
            "    for i, word in enumerate(ids):\n"
            "        for j in range(max(0, i - window), min(len(ids), i + window + 1)):\n"
            "            if i != j:\n"
            "                counts[word, ids[j]] += 1\n"
            "    return counts\n",
            "cooccurrence-weights",
        ),
        WrongAnswer(
            "window that reaches over the start of the text to its end",
            "q2",
            "def count_cooccurrences(ids, vocabulary_size, window):\n"
            "    counts = np.zeros((vocabulary_size, vocabulary_size))\n"
            "    for i, word in enumerate(ids):\n"
            "        for distance in range(1, min(window, len(ids) - 1) + 1):\n"
            "            counts[word, ids[i - distance]] += 1 / distance\n"
            "            counts[ids[i - distance], word] += 1 / distance\n"
            "    return counts\n",
            "cooccurrence-edges",
        ),
        WrongAnswer(
            "word near itself left out",
            "q2",
            "def count_cooccurrences(ids, vocabulary_size, window):\n"
            "    counts = np.zeros((vocabulary_size, vocabulary_size))\n"
            "    for i, word in enumerate(ids):\n"
            "        for j in range(max(0, i - window), min(len(ids), i + window + 1)):\n"
            "            if word != ids[j]:\n"
            "                counts[word, ids[j]] += 1 / abs(i - j)\n"
            "    return counts\n",
            "cooccurrence-edges",
        ),
        WrongAnswer(
            "count itself instead of its logarithm",
            "q3",
            "def loss_and_gradients(words, contexts, word_bias, context_bias, counts, weights):\n"
            "    error = (words * contexts).sum(axis=1) + word_bias + context_bias - counts\n"
            "    slope = 2 * weights * error\n"
            "    loss = float(weights @ error**2)\n"
            "    return loss, slope[:, None] * contexts, slope[:, None] * words, slope\n",
            "glove-loss",
        ),
        WrongAnswer(
            "factor two forgotten in the gradient",
            "q3",
            "def loss_and_gradients(words, contexts, word_bias, context_bias, counts, weights):\n"
            "    error = (words * contexts).sum(axis=1) + word_bias + context_bias - np.log(counts)\n"
            "    slope = weights * error\n"
            "    loss = float(weights @ error**2)\n"
            "    return loss, slope[:, None] * contexts, slope[:, None] * words, slope\n",
            "glove-gradients",
        ),
        WrongAnswer(
            "dot product instead of the cosine",
            "q4",
            "def neighbours(word, words, vectors, num):\n"
            "    order = np.argsort(-vectors @ vectors[words.index(word)])\n"
            "    return [words[i] for i in order if words[i] != word][:num]\n",
            "neighbours",
        ),
        WrongAnswer(
            "word counted among its own neighbours",
            "q4",
            "def neighbours(word, words, vectors, num):\n"
            "    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)\n"
            "    order = np.argsort(-units @ units[words.index(word)])\n"
            "    return [words[i] for i in order[:num]]\n",
            "neighbours",
        ),
        WrongAnswer(
            "words of the question allowed as the answer",
            "q5",
            "def analogy(a, b, c, words, vectors):\n"
            "    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)\n"
            "    asked = [words.index(word) for word in (a, b, c)]\n"
            "    scores = units @ (units[asked[1]] - units[asked[0]] + units[asked[2]])\n"
            "    return words[int(scores.argmax())]\n",
            "analogy",
        ),
        WrongAnswer(
            "vectors added before they are scaled",
            "q5",
            "def analogy(a, b, c, words, vectors):\n"
            "    asked = [words.index(word) for word in (a, b, c)]\n"
            "    target = vectors[asked[1]] - vectors[asked[0]] + vectors[asked[2]]\n"
            "    scores = vectors @ target / np.linalg.norm(vectors, axis=1)\n"
            "    scores[asked] = -np.inf\n"
            "    return words[int(scores.argmax())]\n",
            "analogy-lengths",
        ),
        WrongAnswer(
            "padding treated as a word without a vector",
            "q6",
            "def embedding_matrix(tokens, words, vectors):\n"
            "    row_of = {word: row for row, word in enumerate(words)}\n"
            "    found = [token for token in tokens[2:] if token in row_of]\n"
            "    mean = vectors[[row_of[token] for token in found]].mean(axis=0)\n"
            "    rows = [vectors[row_of[token]] if token in row_of else mean for token in tokens]\n"
            "    return np.array(rows), len(found) / len(tokens[2:])\n",
            "matrix-padding",
        ),
        WrongAnswer(
            "rows in the order of the published list",
            "q6",
            "def embedding_matrix(tokens, words, vectors):\n"
            "    found = [row for row, word in enumerate(words) if word in tokens[2:]]\n"
            "    mean = vectors[found].mean(axis=0)\n"
            "    missing = [mean] * (len(tokens) - 2 - len(found))\n"
            "    rows = [np.zeros_like(mean), mean, *vectors[found], *missing]\n"
            "    return np.array(rows), len(found) / len(tokens[2:])\n",
            "matrix-words",
        ),
        WrongAnswer(
            "special tokens counted in the coverage",
            "q6",
            "def embedding_matrix(tokens, words, vectors):\n"
            "    row_of = {word: row for row, word in enumerate(words)}\n"
            "    found = [token for token in tokens[2:] if token in row_of]\n"
            "    mean = vectors[[row_of[token] for token in found]].mean(axis=0)\n"
            "    rows = [vectors[row_of[token]] if token in row_of else mean for token in tokens[1:]]\n"
            "    return np.array([np.zeros_like(mean), *rows]), len(found) / len(tokens)\n",
            "matrix-coverage",
        ),
        WrongAnswer(
            "each candidate judged on its own pairs",
            "q7",
            "def best_candidate(candidates, pairs):\n"
            "    results = []\n"
            "    for name, vectors in candidates.items():\n"
            "        lower = [(a.lower(), b.lower(), rating) for a, b, rating in pairs]\n"
            "        known = [pair for pair in lower if pair[0] in vectors and pair[1] in vectors]\n"
            "        units = {word: vector / np.linalg.norm(vector) for word, vector in vectors.items()}\n"
            "        cosines = [units[a] @ units[b] for a, b, _ in known]\n"
            "        score = rank_correlation(cosines, [rating for *_, rating in known])\n"
            "        results.append((score, name, len(known)))\n"
            "    score, name, num_pairs = max(results)\n"
            "    return name, score, num_pairs\n",
            "different-words",
        ),
    ),
    datasets=("glove_6b_50d", "word_similarity"),
)
