"""Checks of exercise 11: ROUGE by hand, the oracle, TextRank, a paired interval, a selection."""

import functools
import types

import numpy as np

from course_lib.data import load_xsum_1k
from course_lib.evaluation import rouge
from course_lib.grading.checks import Check, Exercise, WrongAnswer
from course_lib.summarization import sentence_words, textrank_scores
from course_lib.text import sentence_spans

# Some of these words stand inside others.
WORDS = ("the", "to", "port", "airport", "ferry", "for", "force", "in", "inn", "dog", "fog", "was", "lost")
# Articles whose best sentences taken together are not the best ones taken alone, with the oracle's length.
NOT_THE_BEST_ALONE = ((1, 3), (3, 2), (22, 3), (24, 2), (38, 2))
# Articles in which the oracle finds an earlier sentence after a later one.
NOT_IN_ORDER = ((7, 2), (10, 2), (14, 2), (23, 2), (28, 3), (36, 2))
# Articles whose oracle stops after one sentence.
STOPS = ((2, 3), (12, 3), (15, 3), (16, 3), (21, 3), (26, 3), (37, 3))
# Articles and budgets in which the first sentence that does not fit is not the last that one looks at.
BUDGETS = ((7, 80), (10, 100), (14, 120), (19, 80), (20, 100), (28, 80), (31, 80), (37, 80), (43, 80))
# Those in which blocking changes the choice, as does blocking by pairs, or by the last sentence alone.
REPEATS = ((2, 100), (12, 80), (16, 100), (16, 120), (36, 120), (37, 120), (38, 120), (47, 120))


def new_share(summary, article):
    return float(np.mean(~np.isin(summary, article)))


def _rouge(summary, reference, kind):
    """The figure that the library gives for words as they are."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer([kind], tokenizer=types.SimpleNamespace(tokenize=str.split))
    return float(scorer.score(" ".join(reference), " ".join(summary))[kind].fmeasure)


def rouge_n(summary, reference, n):
    return _rouge(summary, reference, f"rouge{n}")


def rouge_l(summary, reference):
    return _rouge(summary, reference, "rougeL")


def textrank(weights, damping):
    """By solving the linear equations."""
    size = len(weights)
    steps = np.array([row / row.sum() if row.any() else np.full(size, 1 / size) for row in weights])
    return np.linalg.solve(np.eye(size) - damping * steps.T, np.full(size, 1 - damping))


def paired_interval(scores, baseline, indices):
    gains = [np.mean([scores[i] - baseline[i] for i in row]) for row in indices]
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(np.mean(scores) - np.mean(baseline)), float(low), float(high)


@functools.cache
def _article(index):
    article = load_xsum_1k()[index]
    return [article.text[start:end] for start, end in sentence_spans(article.text)], article.summary


def greedy_oracle(index, num_sentences):
    sentences, reference = _article(index)
    return rouge.greedy_oracle(sentences, reference, num_sentences)


def select_sentences(index, num_words):
    sentences, _ = _article(index)
    scores, words = textrank_scores(sentences), [sentence_words(sentence) for sentence in sentences]
    chosen = []
    for best in sorted(range(len(words)), key=lambda place: -scores[place]):
        told = {" ".join(words[taken][i : i + 3]) for taken in chosen for i in range(len(words[taken]) - 2)}
        repeats = any(" ".join(words[best][i : i + 3]) in told for i in range(len(words[best]) - 2))
        left = num_words - sum(len(words[taken]) for taken in chosen)
        if len(words[best]) <= left and not repeats:
            chosen.append(best)
    return sorted(chosen)


def _words(random, number, choice=WORDS):
    return [str(word) for word in random.choice(choice, number)]


def _summaries_and_articles(random):
    article = ["the", "airport", "was", "in", "the", "fog", "force"]
    cases = [(["port", "port", "the", "for", "fog", "dog"], article)]
    for _ in range(3):
        known = _words(random, 3)
        cases.append((["new", "new", *known, *_words(random, 6)], known + _words(random, 4)))
    return cases


def _pairs(random):
    """A summary that says words and pairs more often than its reference, and the other way round."""
    cases = []
    for n in (1, 2, 1, 2, 3):
        start = _words(random, 3)
        cases.append((start + start + _words(random, 9, WORDS[:6]), start + _words(random, 7, WORDS[:6]), n))
        cases.append((start + _words(random, 4, WORDS[:6]), start + start + _words(random, 6, WORDS[:6]), n))
    return cases


def _short(random):
    (word,) = _words(random, 1)
    return [([word], [word], 2), ([], [word], 1), ([word, "and"], ["or"], 1), ([word, "a", "b"], [word], 3)]


def _texts(random):
    """Texts whose longest common subsequence is longer than their longest common run."""
    cases = []
    for size in (5, 8, 12):
        words = [str(word) for word in random.permutation(WORDS)[:size]]
        gaps = [part for word in words[1:] for part in (word, "and")]
        cases.append((gaps, words))
        cases.append((_words(random, size + 4, WORDS[:5]), _words(random, size, WORDS[:5])))
    cases.append(([words[-1], *words[:-1], "x"], words))
    return cases


def _reversed_texts(random):
    words = [str(word) for word in random.permutation(WORDS)[:6]]
    return [(words[::-1], words), (["other"], words), (["b", "a"], ["a", "a", "b"])]


def _graph(random, size):
    weights = np.triu(random.random((size, size)) * (random.random((size, size)) < 0.8), 1)
    weights[0, 1:] += 0.3  # none is without a link
    return (weights + weights.T).round(3)


def _linked(random):
    return [(_graph(random, size), damping) for size, damping in ((4, 0.85), (7, 0.85), (6, 0.5))]


def _partly_linked(random):
    weights = _graph(random, 5)
    weights[2] = weights[:, 2] = 0
    return [(weights, 0.85), (np.pad(_graph(random, 3), [(0, 1), (0, 1)]), 0.7)]


def _systems(random):
    cases = []
    for size in (6, 15, 30):
        baseline = random.normal(20, 8, size).round(2)
        scores = (baseline + random.normal(1, 3, size)).round(2)
        cases.append((scores, baseline, random.integers(0, size, (60, size))))
    return cases


def _some(random, parts, number):
    return [parts[place] for place in random.choice(len(parts), number, replace=False)]


def _oracles(random):
    return _some(random, NOT_THE_BEST_ALONE, 2) + _some(random, NOT_IN_ORDER, 2)


def _stops(random):
    return _some(random, STOPS, 3)


def _budgets(random):
    return _some(random, BUDGETS, 3)


def _repeats(random):
    return _some(random, REPEATS, 3)


ORACLE_CALL = "greedy_oracle(article_sentences[args[0]], articles[args[0]].summary, args[1])"
SELECT_CALL = "select_sentences(article_scores[args[0]], article_words[args[0]], args[1])"
CLOSE = 1e-6
EXERCISE = Exercise(
    datasets=("xsum_1k",),
    cell_seconds=40,
    checks=(
        Check(
            "q1",
            "new-share",
            2,
            "new_share(*args)",
            _summaries_and_articles,
            new_share,
            "All words of the summary count, also those it repeats, and a word is known only if it stands in "
            "the article as a word, not inside of another one.",
            "11_summarization#data-novel-count",
            CLOSE,
        ),
        Check(
            "q2",
            "rouge-n",
            2,
            "rouge_n(*args)",
            _pairs,
            rouge_n,
            "Shared n-grams are counted with repetition, but not more often than in the text that has fewer; "
            "F is the harmonic mean of precision and recall.",
            "11_summarization#rouge-hand",
            CLOSE,
        ),
        Check(
            "q2",
            "rouge-n-short",
            1,
            "rouge_n(*args)",
            _short,
            rouge_n,
            "Where no n-gram is shared, or a text is too short to have one, F is 0.",
            "11_summarization#rouge",
            CLOSE,
        ),
        Check(
            "q3",
            "rouge-l",
            2,
            "rouge_l(*args)",
            _texts,
            rouge_l,
            "The longest common subsequence may have gaps, and taking the first match is not always best: "
            "fill the table; then F, not recall.",
            "11_summarization#lcs-table",
            CLOSE,
        ),
        Check(
            "q3",
            "rouge-l-order",
            1,
            "rouge_l(*args)",
            _reversed_texts,
            rouge_l,
            "The shared words must stand in the same order in both texts.",
            "11_summarization#lcs",
            CLOSE,
        ),
        Check(
            "q4",
            "oracle-greedy",
            2,
            ORACLE_CALL,
            _oracles,
            greedy_oracle,
            "Each sentence is judged together with those already taken, not alone, and the answer stands in "
            "the order of the article.",
            "11_summarization#oracle",
        ),
        Check(
            "q4",
            "oracle-stops",
            1,
            ORACLE_CALL,
            _stops,
            greedy_oracle,
            "The oracle stops as soon as no further sentence raises ROUGE-1 + ROUGE-2.",
            "11_summarization#oracle",
        ),
        Check(
            "q5",
            "textrank-linked",
            2,
            "textrank(*args)",
            _linked,
            textrank,
            "A sentence hands its rank on in shares: its links are divided by the sum of its own links, then "
            "comes the damping.",
            "11_summarization#textrank-power-iteration",
            CLOSE,
        ),
        Check(
            "q5",
            "textrank-unlinked",
            1,
            "textrank(*args)",
            _partly_linked,
            textrank,
            "A sentence without links has no sum to divide by; its rank goes to all sentences alike.",
            "11_summarization#textrank",
            CLOSE,
        ),
        Check(
            "q6",
            "paired-interval",
            3,
            "paired_interval(*args)",
            _systems,
            paired_interval,
            "Each resample draws the same documents for both systems and has one mean gain; the ends are the "
            "percentiles 2.5 and 97.5 of those means.",
            "11_summarization#result-paired",
            CLOSE,
        ),
        Check(
            "q7",
            "selection-budget",
            1,
            SELECT_CALL,
            _budgets,
            select_sentences,
            "A sentence that is too long is passed over, and a shorter one may still fit; the answer stands "
            "in the order of the article.",
            "11_summarization#own",
        ),
        Check(
            "q7",
            "selection-repeats",
            2,
            SELECT_CALL,
            _repeats,
            select_sentences,
            "A sentence that shares three words in a row with any sentence already taken is passed over; two "
            "words in a row do not matter.",
            "11_summarization#own-redundancy",
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "word looked for inside of words",
            "q1",
            "def new_share(summary, article):\n"
            '    text = " ".join(article)\n'
            "    return sum(word not in text for word in summary) / len(summary)\n",
            "new-share",
        ),
        WrongAnswer(
            "recall for F",
            "q2",
            "def rouge_n(summary, reference, n):\n"
            "    first, second = (\n"
            "        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))\n"
            "        for words in (summary, reference)\n"
            "    )\n"
            "    return (first & second).total() / max(second.total(), 1)\n",
            "rouge-n",
        ),
        WrongAnswer(
            "counts not clipped",
            "q2",
            "def rouge_n(summary, reference, n):\n"
            "    first, second = (\n"
            "        [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]\n"
            "        for words in (summary, reference)\n"
            "    )\n"
            "    shared = sum(part in second for part in first)\n"
            "    return 2 * shared / max(len(first) + len(second), 1)\n",
            "rouge-n",
        ),
        WrongAnswer(
            "longest common run",
            "q3",
            "def rouge_l(summary, reference):\n"
            "    table = np.zeros((len(summary) + 1, len(reference) + 1), dtype=int)\n"
            "    for i, word in enumerate(summary, start=1):\n"
            "        for j, other in enumerate(reference, start=1):\n"
            "            if word == other:\n"
            "                table[i, j] = table[i - 1, j - 1] + 1\n"
            "    return float(2 * table.max() / (len(summary) + len(reference)))\n",
            "rouge-l",
        ),
        WrongAnswer(
            "shared words in any order",
            "q3",
            "def rouge_l(summary, reference):\n"
            "    shared = (Counter(summary) & Counter(reference)).total()\n"
            "    return 2 * shared / (len(summary) + len(reference))\n",
            "rouge-l-order",
        ),
        WrongAnswer(
            "best sentences, each taken alone",
            "q4",
            "def greedy_oracle(sentences, reference, num_sentences):\n"
            "    scores = rouge_scores(sentences, [reference] * len(sentences))\n"
            '    order = np.argsort(-(scores["rouge1"] + scores["rouge2"]), kind="stable")\n'
            "    return sorted(order[:num_sentences].tolist())\n",
            "oracle-greedy",
        ),
        WrongAnswer(
            "budget always used up",
            "q4",
            "def greedy_oracle(sentences, reference, num_sentences):\n"
            "    chosen = []\n"
            "    while len(chosen) < min(num_sentences, len(sentences)):\n"
            "        rest = [index for index in range(len(sentences)) if index not in chosen]\n"
            "        candidates = [sorted([*chosen, index]) for index in rest]\n"
            '        texts = [" ".join(sentences[i] for i in candidate) for candidate in candidates]\n'
            "        scores = rouge_scores(texts, [reference] * len(texts))\n"
            '        chosen = candidates[int((scores["rouge1"] + scores["rouge2"]).argmax())]\n'
            "    return chosen\n",
            "oracle-stops",
        ),
        WrongAnswer(
            "links not divided by their sum",
            "q5",
            "def textrank(weights, damping=0.85):\n"
            "    ranks = np.ones(len(weights))\n"
            "    for _ in range(50):\n"
            "        ranks = 1 - damping + damping * ranks @ weights\n"
            "    return ranks\n",
            "textrank-linked",
        ),
        WrongAnswer(
            "links divided by the receiver's sum",
            "q5",
            "def textrank(weights, damping=0.85):\n"
            "    totals = weights.sum(axis=1, keepdims=True)\n"
            "    steps = np.where(totals > 0, weights / np.maximum(totals, 1e-9), 1 / len(weights))\n"
            "    ranks = np.ones(len(weights))\n"
            "    for _ in range(200):\n"
            "        ranks = 1 - damping + damping * steps @ ranks\n"
            "    return ranks\n",
            "textrank-linked",
        ),
        WrongAnswer(
            "damping forgotten",
            "q5",
            "def textrank(weights, damping=0.85):\n"
            "    totals = weights.sum(axis=1, keepdims=True)\n"
            "    steps = np.where(totals > 0, weights / np.maximum(totals, 1e-9), 1 / len(weights))\n"
            "    ranks = np.ones(len(weights))\n"
            "    for _ in range(500):\n"
            "        ranks = ranks @ steps\n"
            "    return ranks\n",
            "textrank-linked",
        ),
        WrongAnswer(
            "documents drawn for each system apart",
            "q6",
            "def paired_interval(scores, baseline, indices):\n"
            "    means = scores[indices].mean(axis=1) - baseline[indices[::-1]].mean(axis=1)\n"
            "    low, high = np.percentile(means, [2.5, 97.5])\n"
            "    return float((scores - baseline).mean()), float(low), float(high)\n",
            "paired-interval",
        ),
        WrongAnswer(
            "spread of the documents instead of the mean's",
            "q6",
            "def paired_interval(scores, baseline, indices):\n"
            "    gains = scores - baseline\n"
            "    low, high = np.percentile(gains[indices], [2.5, 97.5])\n"
            "    return float(gains.mean()), float(low), float(high)\n",
            "paired-interval",
        ),
        WrongAnswer(
            "stops at the first sentence that does not fit",
            "q7",
            "def select_sentences(scores, words, num_words):\n"
            "    chosen, seen = [], set()\n"
            "    for index in np.argsort(-scores).tolist():\n"
            "        trigrams = set(zip(words[index], words[index][1:], words[index][2:], strict=False))\n"
            "        if len(words[index]) > num_words:\n"
            "            break\n"
            "        if not trigrams & seen:\n"
            "            chosen.append(index)\n"
            "            seen |= trigrams\n"
            "            num_words -= len(words[index])\n"
            "    return sorted(chosen)\n",
            "selection-budget",
        ),
        WrongAnswer(
            "repetition not looked for",
            "q7",
            "def select_sentences(scores, words, num_words):\n"
            "    chosen = []\n"
            "    for index in np.argsort(-scores).tolist():\n"
            "        if len(words[index]) <= num_words:\n"
            "            chosen.append(index)\n"
            "            num_words -= len(words[index])\n"
            "    return sorted(chosen)\n",
            "selection-repeats",
        ),
    ),
)
