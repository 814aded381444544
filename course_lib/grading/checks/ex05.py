"""Checks of exercise 05: perplexity, counted bigrams, windows of a stream, sampled sums, the vocabulary."""

import functools
from collections import Counter

import numpy as np
from scipy.special import logsumexp

from course_lib.data import load_wikitext2
from course_lib.grading.checks import Check, Exercise, WrongAnswer
from course_lib.models.ngram import KneserNey


def perplexity(sentences):
    logs = [float(log) for sentence in sentences for log in sentence]
    return float(2 ** (-sum(logs) / np.log(2) / len(logs)))


def bigram_probability(tokens, discount, before, token):
    ids = {name: i for i, name in enumerate(sorted({*tokens, before, token}))}
    model = KneserNey(np.array([ids[name] for name in tokens]), len(ids), order=2, discount=discount)
    return float(np.exp(model.log_probabilities([ids[before], ids[token]])[0]))


def windows(ids, batch_size, num_steps):
    """Token by token: row b begins at b times the length of a row."""
    row_length = (len(ids) - 1) // batch_size
    places = [
        [[b * row_length + w * num_steps + step for step in range(num_steps)] for b in range(batch_size)]
        for w in range(row_length // num_steps)
    ]
    places = np.array(places)
    return ids[places], ids[places + 1]


def reach(position, num_steps):
    window = [place for place in range(position + 1) if place // num_steps == position // num_steps]
    return position + 1, len(window)


def estimated_log_sum(logits, q, drawn):
    return float(logsumexp(logits[drawn], b=1 / (len(drawn) * q[drawn])))


@functools.cache
def _tokens(split):
    return [token for paragraph in load_wikitext2(split)[:1_000] for token in paragraph.split()]


def _slices(begin, valid_begin, test_begin):
    """What the calls of question 6 cut out of the three splits."""
    places = {"train": (begin, 30_000), "valid": (valid_begin, 4_001), "test": (test_begin, 4_001)}
    return [_tokens(split)[first : first + length] for split, (first, length) in places.items()]


def choose_vocabulary(begin, valid_begin, test_begin, max_unknown):
    train, valid, test = _slices(begin, valid_begin, test_begin)
    rank = {
        token: i for i, (_, token) in enumerate(sorted((-n, token) for token, n in Counter(train).items()))
    }
    # Each token of a text is known from the size rank + 1 on.
    needed = np.sort([rank.get(token, len(rank)) + 1 for token in valid])
    num_known = next(n for n in range(len(needed) + 1) if len(needed) - n <= max_unknown * len(needed))
    size = int(needed[num_known - 1]) if num_known else 0
    return {"size": size, "test_unknown": float(np.mean([rank.get(t, len(rank)) >= size for t in test]))}


def _logs(random, length, scale=3.0):
    return -np.abs(random.normal(scale, 1, length)) - 0.01


def _one_sentence(random):
    return [([_logs(random, 8)],) for _ in range(3)]


def _sentences(random):
    # Short sentences that are easy beside long ones that are hard.
    return [([_logs(random, 3, 1.0), _logs(random, 20, 5.0), _logs(random, 1, 2.0)],) for _ in range(2)]


def _long_text(random):
    return [([_logs(random, 240, 8.0)],)]


def _letters(random, length=30):
    return [str(letter) for letter in random.choice(list("abcde"), length, p=[0.4, 0.3, 0.15, 0.1, 0.05])]


def _pairs_seen(random):
    cases = []
    for discount in (0.75, 0.5, 0.9):
        tokens = _letters(random)
        place = int(random.integers(len(tokens) - 1))
        cases.append((tokens, discount, tokens[place], tokens[place + 1]))
    return cases


def _one_context_only(random):
    """Tokens that are frequent but follow only one other, in a context where they never stood."""
    cases = []
    for times in random.integers(6, 12, 3):
        tokens = [*_letters(random), *(["san", "francisco"] * int(times)), "a", *_letters(random, 10)]
        cases.append((tokens, 0.75, "a", "francisco"))
    return cases


def _context_new(random):
    cases = []
    for _ in range(2):
        tokens = _letters(random)
        cases += [(tokens, 0.75, "z", tokens[3]), ([*tokens, "end"], 0.6, "end", tokens[5])]
    return cases


def _stream(random, length):
    return random.integers(0, 900, length)


def _streams(random):
    return [(_stream(random, length), rows, steps) for length, rows, steps in ((35, 3, 4), (42, 2, 5))]


def _streams_full(random):
    """Rows that the windows fill exactly, so that the last target of a row stands in the next row."""
    return [(_stream(random, length), rows, steps) for length, rows, steps in ((25, 2, 4), (46, 3, 5))]


def _streams_without_a_target(random):
    """One token more would make one window more."""
    return [
        (_stream(random, length), rows, steps) for length, rows, steps in ((24, 2, 4), (45, 3, 5), (27, 2, 4))
    ]


def _positions(random):
    return [(int(position), steps) for steps in (5, 35) for position in random.integers(2 * steps, 400, 3)]


def _positions_late_in_windows(random):
    return [(steps * int(n) + steps - 2, steps) for steps in (4, 35) for n in random.integers(2, 9, 2)]


def _sample(random, shift=0.0):
    q = random.dirichlet(np.ones(12))
    # The first id is drawn twice, which is its right.
    drawn = random.choice(12, 5, p=q)
    return random.normal(shift, 2, 12), q, np.append(drawn, drawn[0])


def _samples(random):
    return [_sample(random) for _ in range(3)]


def _samples_large(random):
    return [_sample(random, 3_000.0), _sample(random, -3_000.0)]


def _articles(random):
    """Places in the three splits, and a share that the whole training vocabulary can keep."""
    cases = []
    for _ in range(2):
        begin, valid_begin, test_begin = (int(place) for place in random.integers(0, 30_000, 3))
        train, valid, _ = _slices(begin, valid_begin, test_begin)
        types = set(train)
        least = sum(token not in types for token in valid) / len(valid)
        cases.append((begin, valid_begin, test_begin, round(least + 0.02 + 0.1 * random.random(), 3)))
    return cases


_CHOOSE = (
    "choose_vocabulary(train[args[0] : args[0] + 30_000], valid[args[1] : args[1] + 4_001], "
    "test[args[2] : args[2] + 4_001], args[3])"
)
CLOSE = 1e-9
EXERCISE = Exercise(
    checks=(
        Check(
            "q1",
            "natural-logarithms",
            1,
            "perplexity(*args)",
            _one_sentence,
            perplexity,
            "Natural logarithms are undone by e, not by 2, and their mean is taken before that.",
            "05_pretraining#chain",
            CLOSE,
        ),
        Check(
            "q1",
            "every-token-the-same",
            1,
            "perplexity(*args)",
            _sentences,
            perplexity,
            "Every token counts the same; a mean over sentences gives those of short ones more weight.",
            "05_pretraining#chain",
            CLOSE,
        ),
        Check(
            "q1",
            "long-text",
            1,
            "perplexity(*args)",
            _long_text,
            perplexity,
            "The probability of a long text is too small for a float: stay with logarithms until the end.",
            "05_pretraining#toy-perplexity",
            CLOSE,
        ),
        Check(
            "q2",
            "pair-seen",
            1,
            "bigram_probability(*args)",
            _pairs_seen,
            bigram_probability,
            "What the discount takes off the pairs must be given back, in proportion to the continuation.",
            "05_pretraining#kneser-ney",
            CLOSE,
        ),
        Check(
            "q2",
            "one-context-only",
            1,
            "bigram_probability(*args)",
            _one_context_only,
            bigram_probability,
            "The second term counts how many different tokens a token has followed, not how often it occurs.",
            "05_pretraining#kneser-ney",
            CLOSE,
        ),
        Check(
            "q2",
            "context-new",
            1,
            "bigram_probability(*args)",
            _context_new,
            bigram_probability,
            "Where no pair begins with the token before, the continuation alone answers; the last token of a "
            "text begins no pair.",
            "05_pretraining#toy-unseen",
            CLOSE,
        ),
        Check(
            "q3",
            "rows-go-on",
            1,
            "windows(*args)[0]",
            _streams,
            lambda *args: windows(*args)[0],
            "The stream is cut into rows first and the rows into windows, in reading order.",
            "05_pretraining#stream-toy",
        ),
        Check(
            "q3",
            "targets-shifted",
            1,
            "windows(*args)[1]",
            _streams_full,
            lambda *args: windows(*args)[1],
            "The target is the next token of the stream, also at the end of a window and of a row.",
            "05_pretraining#stream-toy",
        ),
        Check(
            "q3",
            "number-of-windows",
            1,
            "windows(*args)",
            _streams_without_a_target,
            windows,
            "Only the stream's last token has no target: rows are as long as the other tokens allow.",
            "05_pretraining#stream",
        ),
        Check(
            "q4",
            "state",
            1,
            "reach(*args)[0]",
            _positions,
            lambda *args: reach(*args)[0],
            "The state is carried: it has seen the row from its beginning, whatever the window.",
            "05_pretraining#stream-reading",
        ),
        Check(
            "q4",
            "gradient",
            1,
            "reach(*args)[1]",
            lambda random: _positions(random) + _positions_late_in_windows(random),
            lambda *args: reach(*args)[1],
            "The gradient stops at the edge of its window, so its reach depends on the place in the window.",
            "05_pretraining#stream",
        ),
        Check(
            "q5",
            "corrected",
            2,
            "estimated_log_sum(*args)",
            _samples,
            estimated_log_sum,
            "Each term is divided by k q, how often it was to be expected; with logarithms, subtract "
            "log(k q).",
            "05_pretraining#softmax",
            CLOSE,
        ),
        Check(
            "q5",
            "large-logits",
            1,
            "estimated_log_sum(*args)",
            _samples_large,
            estimated_log_sum,
            "The exponential of a large logit is infinite and that of a very negative one is 0: stay in "
            "logarithms and add with `np.logaddexp`, which takes the largest exponent out first.",
            "09_named_entities#crf-paths-answer",
            CLOSE,
        ),
        Check(
            "q6",
            "vocabulary-size",
            3,
            f"{_CHOOSE}['size']",
            _articles,
            lambda *args: choose_vocabulary(*args)["size"],
            "Tokens are ranked by the training text alone; the share is that of running validation tokens.",
            "05_pretraining#data",
        ),
        Check(
            "q6",
            "unknown-in-test",
            1,
            f"{_CHOOSE}['test_unknown']",
            _articles,
            lambda *args: choose_vocabulary(*args)["test_unknown"],
            "The share of the test tokens is counted with the vocabulary that was chosen, token by token.",
            "05_pretraining#data-table",
            CLOSE,
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "base 2 for natural logarithms",
            "q1",
            "def perplexity(sentences):\n    return float(2 ** -np.concatenate(sentences).mean())\n",
            "natural-logarithms",
        ),
        WrongAnswer(
            "mean of the sentences' perplexities",
            "q1",
            "def perplexity(sentences):\n"
            "    return float(np.mean([np.exp(-sentence.mean()) for sentence in sentences]))\n",
            "every-token-the-same",
        ),
        WrongAnswer(
            "root of a product that is zero",
            "q1",
            "def perplexity(sentences):\n"
            "    probabilities = np.exp(np.concatenate(sentences))\n"
            "    return float(np.prod(probabilities) ** (-1 / len(probabilities)))\n",
            "long-text",
        ),
        WrongAnswer(
            "frequency for continuation",
            "q2",
            "def bigram_probability(tokens, discount, before, token):\n"
            "    pairs = Counter(pairwise(tokens))\n"
            "    share = tokens.count(token) / len(tokens)\n"
            "    total = sum(count for (first, _), count in pairs.items() if first == before)\n"
            "    if total == 0:\n"
            "        return share\n"
            "    followers = sum(first == before for first, _ in pairs)\n"
            "    return (max(pairs[before, token] - discount, 0) + discount * followers * share) / total\n",
            "one-context-only",
        ),
        WrongAnswer(
            "last token counted as a context",
            "q2",
            "def bigram_probability(tokens, discount, before, token):\n"
            "    pairs = Counter(pairwise(tokens))\n"
            "    continuation = sum(second == token for _, second in pairs) / len(pairs)\n"
            "    total = tokens.count(before)\n"
            "    if total == 0:\n"
            "        return continuation\n"
            "    followers = sum(first == before for first, _ in pairs)\n"
            "    rest = discount * followers * continuation\n"
            "    return (max(pairs[before, token] - discount, 0) + rest) / total\n",
            "context-new",
        ),
        WrongAnswer(
            "windows filled one after the other",
            "q3",
            "def windows(ids, batch_size, num_steps):\n"
            "    num_windows = (len(ids) - 1) // batch_size // num_steps\n"
            "    used = num_windows * batch_size * num_steps\n"
            "    shape = num_windows, batch_size, num_steps\n"
            "    return ids[:used].reshape(shape), ids[1 : used + 1].reshape(shape)\n",
            "rows-go-on",
        ),
        WrongAnswer(
            "targets turned round within the row",
            "q3",
            "def windows(ids, batch_size, num_steps):\n"
            "    row_length = (len(ids) - 1) // batch_size\n"
            "    num_windows = row_length // num_steps\n"
            "    rows = ids[: batch_size * row_length].reshape(batch_size, row_length)\n"
            "    cut = []\n"
            "    for part in (rows, np.roll(rows, -1, axis=1)):\n"
            "        part = part[:, : num_windows * num_steps]\n"
            "        cut.append(part.reshape(batch_size, num_windows, num_steps).swapaxes(0, 1))\n"
            "    return tuple(cut)\n",
            "targets-shifted",
        ),
        WrongAnswer(
            "gradient through num_steps tokens everywhere",
            "q4",
            "def reach(position, num_steps):\n    return position + 1, min(position + 1, num_steps)\n",
            "gradient",
        ),
        WrongAnswer(
            "sampled terms not corrected",
            "q5",
            "def estimated_log_sum(logits, q, drawn):\n"
            "    return float(np.logaddexp.reduce(logits[drawn]))\n",
            "corrected",
        ),
        WrongAnswer(
            "exponential of large logits",
            "q5",
            "def estimated_log_sum(logits, q, drawn):\n"
            "    return float(np.log((np.exp(logits[drawn]) / (len(drawn) * q[drawn])).sum()))\n",
            "large-logits",
        ),
        WrongAnswer(
            "vocabulary made on training and validation text",
            "q6",
            "def choose_vocabulary(train, valid, test, max_unknown):\n"
            "    counts = Counter([*train, *valid])\n"
            "    ranked = sorted(counts, key=lambda token: (-counts[token], token))\n"
            "    valid_counts, num_unknown, size = Counter(valid), len(valid), 0\n"
            "    while num_unknown / len(valid) > max_unknown:\n"
            "        num_unknown -= valid_counts[ranked[size]]\n"
            "        size += 1\n"
            "    known = set(ranked[:size])\n"
            '    return {"size": size, "test_unknown": sum(t not in known for t in test) / len(test)}\n',
            "vocabulary-size",
        ),
        WrongAnswer(
            "unknown words counted on the training text",
            "q6",
            "def choose_vocabulary(train, valid, test, max_unknown):\n"
            "    counts = Counter(train)\n"
            "    ranked = sorted(counts, key=lambda token: (-counts[token], token))\n"
            "    num_unknown, size = len(train), 0\n"
            "    while num_unknown / len(train) > max_unknown:\n"
            "        num_unknown -= counts[ranked[size]]\n"
            "        size += 1\n"
            "    known = set(ranked[:size])\n"
            '    return {"size": size, "test_unknown": sum(t not in known for t in test) / len(test)}\n',
            "unknown-in-test",
        ),
    ),
    datasets=("wikitext2",),
    cell_seconds=40,
    total_seconds=180,
)
