"""Checks of exercise 07: counts, averages, areas, honest probabilities, and which of two models is better."""

import functools

import numpy as np
from scipy.stats import binomtest
from sklearn import metrics

from course_lib.data import hold_out, load_rotten_tomatoes
from course_lib.evaluation.calibration import expected_calibration_error
from course_lib.grading.checks import Check, Exercise, WrongAnswer

# fmt: off
GOOD = (
    "beautiful", "best", "brilliant", "charming", "compelling", "delightful", "enjoyable", "entertaining",
    "excellent", "fascinating", "fresh", "fun", "funny", "great", "heart", "hilarious", "honest",
    "lovely", "moving", "powerful", "rich", "smart", "solid", "touching", "warm", "witty", "wonderful",
    "works", "worth", "you",
)
BAD = (
    "bad", "bland", "boring", "contrived", "dull", "empty", "fails", "flat", "forgettable", "just",
    "lack", "lacks", "lame", "lazy", "mediocre", "mess", "minutes", "never", "nothing", "only", "plot",
    "pointless", "predictable", "silly", "slow", "stupid", "tedious", "tired", "too", "worst",
)
# fmt: on
WORDS = GOOD + BAD


def _pairs(matrix):
    """One (true, predicted) for each text."""
    return np.repeat(np.argwhere(matrix >= 0), matrix.ravel(), axis=0).T


def precision_recall(matrix):
    classes = range(len(matrix))
    return metrics.precision_recall_fscore_support(*_pairs(matrix), labels=classes, zero_division=0)[:2]


def f1_average(name):
    def average(matrix):
        classes = range(len(matrix))
        return float(
            metrics.f1_score(*_pairs(matrix), labels=classes, average=name, zero_division=0)
            if name != "micro"
            else metrics.accuracy_score(*_pairs(matrix))
        )

    return average


def confusion_matrix(labels, predictions, num_classes):
    return metrics.confusion_matrix(labels, predictions, labels=range(num_classes))


def auc(labels, scores):
    return float(metrics.roc_auc_score(labels, scores))


def paired_interval(right_a, right_b, draws):
    differences = [np.mean([right_a[text] - right_b[text] for text in draw]) for draw in draws.tolist()]
    return float(np.percentile(differences, 2.5)), float(np.percentile(differences, 97.5))


@functools.cache
def _splits():
    """Of each split how often each of `WORDS` stands in each sentence, and the labels."""
    kept, test = hold_out(load_rotten_tomatoes(), 1_500, seed=0)
    splits = {"validation": hold_out(kept, 1_000, seed=0)[1], "test": test}
    return {
        name: (
            np.array([[words.count(word) for word in WORDS] for words in (row.text.split() for row in rows)]),
            np.array([row.label for row in rows]),
        )
        for name, rows in splits.items()
    }


def _counts(split, words):
    good, bad = words
    return _splits()[split][0] @ np.array([(word in good) - (word in bad) for word in WORDS])


def _labels(split):
    return _splits()[split][1]


def _threshold(split, words):
    counts, labels = _counts(split, words), _labels(split)
    num_right = {t: int(((counts >= t) == labels).sum()) for t in range(-3, 4)}
    return min(t for t in num_right if num_right[t] == max(num_right.values()))


def compare_word_lists(list_a, list_b):
    thresholds = tuple(_threshold("validation", words) for words in (list_a, list_b))
    a, b = (
        (_counts("test", words) >= threshold) == _labels("test")
        for words, threshold in zip((list_a, list_b), thresholds, strict=True)
    )
    only_a, only_b = int(np.sum(a > b)), int(np.sum(b > a))
    return {
        "thresholds": thresholds,
        "accuracies": (float(a.mean()), float(b.mean())),
        "discordant": (only_a, only_b),
        "p": float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0,
    }


def _part(*names):
    return lambda list_a, list_b: tuple(compare_word_lists(list_a, list_b)[name] for name in names)


def _classes_mixed(random):
    return [
        (np.concatenate([np.arange(k), random.integers(0, k, 30)]), random.integers(0, k, 30 + k), k)
        for k in (2, 3, 4)
    ]


def _class_absent(random):
    return [(random.integers(0, 2, 12), random.integers(0, 2, 12), 4), (np.full(5, 1), np.full(5, 1), 3)]


def _matrix(random, num_classes):
    """Many on the diagonal, above it more than below: rows and columns then have other sums."""
    matrix = random.integers(1, 9, (num_classes, num_classes))
    return matrix + np.diag(random.integers(5, 30, num_classes)) + np.triu(np.full_like(matrix, 15), 1)


def _matrices(random):
    return [(_matrix(random, k),) for k in (2, 3, 5)]


def _never_called(random):
    matrix = _matrix(random, 4)
    matrix[:, 2] = 0
    absent = matrix.copy()
    absent[2] = 0
    return [(matrix,), (absent,)]


def _orders(random):
    cases = []
    for num_positive, num_negative in ((5, 9), (12, 4), (1, 6)):
        labels = np.repeat([1, 0], [num_positive, num_negative])
        scores = np.round(random.permutation(len(labels)) / 40 + 0.31, 4)
        cases.append((labels, scores))
    return cases


def _ties(random):
    cases = [(np.array([1, 0, 0]), np.full(3, 0.5))]
    for num_positive, num_negative in ((6, 8), (9, 3)):
        labels = random.permutation(np.repeat([1, 0], [num_positive, num_negative]))
        # The first text of each label has the same score, so that one tie is sure.
        scores = random.integers(1, 5, len(labels)) / 4
        scores[[labels.argmax(), labels.argmin()]] = 0.5
        cases.append((labels, scores))
    return cases


def _verdicts(random, confidences):
    return (random.random(len(confidences)) < 0.7).astype(int)


def _bins_uneven(random):
    cases = []
    for _ in range(3):
        # Two bins: few texts are unsure and right, many are sure and sometimes wrong.
        confidences = np.concatenate([random.uniform(0.3, 0.45, 3), random.uniform(0.8, 0.95, 20)])
        cases.append((confidences, np.concatenate([[1, 1, 1], [0, 0], _verdicts(random, range(18))]), 2))
    return cases


def _bins_empty(random):
    confidences = np.concatenate([random.uniform(0.51, 0.59, 4), random.uniform(0.91, 0.99, 9)])
    return [
        (confidences, _verdicts(random, confidences), 10),
        (confidences, _verdicts(random, confidences), 15),
    ]


def _bins_at_the_ends(random):
    cases = []
    for _ in range(3):
        confidences = np.array([0.5, 0.5, 0.625, 0.75, 0.75, 0.875, 1.0, 1.0])
        # All texts on a border are right, all inside a bin wrong: a text in the neighbouring bin shows.
        right = np.array([1, 1, 0, 1, 1, 0, 1, 1])
        order = random.permutation(8)
        cases.append((confidences[order], right[order], 4))
    return cases


def _right_and_draws(random):
    cases = []
    for num_texts in (20, 25):
        hard = random.random(num_texts) < 0.35
        right_a, right_b = (np.where(hard, random.random(num_texts) < 0.2, 1) for _ in range(2))
        right_a[0], right_b[0] = 1, 0
        cases.append((right_a, right_b, random.integers(0, num_texts, (60, num_texts))))
    return cases


def _word_list(random):
    return tuple(
        {words[i] for i in random.permutation(len(words))[: random.integers(8, 20)]} for words in (GOOD, BAD)
    )


def _word_lists(random):
    """Two pairs of lists, each with a list that would get another threshold on test than on validation."""
    cases = []
    while len(cases) < 2:
        pair = _word_list(random), _word_list(random)
        if any(_threshold("validation", words) != _threshold("test", words) for words in pair):
            cases.append(pair)
    return cases


def _word_lists_and_equal(random):
    words = _word_list(random)
    return [*_word_lists(random), (words, words)]


CLOSE = 1e-9
EXERCISE = Exercise(
    checks=(
        Check(
            "q1",
            "matrix-rows",
            1,
            "confusion_matrix(*args)",
            _classes_mixed,
            confusion_matrix,
            "Rows are the true classes and columns the called ones, not the other way round.",
            "07_evaluation#matrix",
        ),
        Check(
            "q1",
            "matrix-absent",
            1,
            "confusion_matrix(*args)",
            _class_absent,
            confusion_matrix,
            "The size of the matrix follows from num_classes, not from the classes that happen to occur.",
            "07_evaluation#matrix-loop",
        ),
        Check(
            "q2",
            "by-class",
            1,
            "precision_recall(*args)",
            _matrices,
            precision_recall,
            "Precision divides by the column (what was called so), recall by the row (what truly is so).",
            "07_evaluation#four-figures",
            CLOSE,
        ),
        Check(
            "q2",
            "never-called",
            1,
            "precision_recall(*args)",
            _never_called,
            precision_recall,
            "A class that is never called, or has no texts, counts 0 here; 0 / 0 is NaN: divide by at least "
            "1.",
            "07_evaluation#rare-table",
            CLOSE,
        ),
        Check(
            "q3",
            "f1-macro",
            1,
            "f1_averages(*args)['macro']",
            lambda random: _matrices(random) + _never_called(random),
            f1_average("macro"),
            "Macro is the plain mean of the classes' F1, neither that of the pooled counts nor the F1 of the "
            "mean precision and recall.",
            "07_evaluation#averages",
            CLOSE,
        ),
        Check(
            "q3",
            "f1-weighted",
            1,
            "f1_averages(*args)['weighted']",
            lambda random: _matrices(random) + _never_called(random),
            f1_average("weighted"),
            "Each class is weighted by the texts that truly belong to it, not by those that were called so.",
            "07_evaluation#averages",
            CLOSE,
        ),
        Check(
            "q3",
            "f1-micro",
            1,
            "f1_averages(*args)['micro']",
            lambda random: _matrices(random) + _never_called(random),
            f1_average("micro"),
            "Micro adds up the counts of all classes first; with one class for each text it is the accuracy.",
            "07_evaluation#three-classes",
            CLOSE,
        ),
        Check(
            "q4",
            "auc-order",
            1,
            "auc(*args)",
            _orders,
            auc,
            "The AUC compares the scores of every pair; a threshold plays no part in it.",
            "07_evaluation#roc",
            CLOSE,
        ),
        Check(
            "q4",
            "auc-ties",
            2,
            "auc(*args)",
            _ties,
            auc,
            "A pair with equal scores counts one half, neither nothing nor one.",
            "07_evaluation#auc-by-hand",
            CLOSE,
        ),
        Check(
            "q5",
            "ece-weights",
            1,
            "calibration_error(*args)",
            _bins_uneven,
            expected_calibration_error,
            "Each bin's distance is taken without its sign and weighted by the bin's share of the texts.",
            "07_evaluation#calibration",
            CLOSE,
        ),
        Check(
            "q5",
            "ece-empty",
            1,
            "calibration_error(*args)",
            _bins_empty,
            expected_calibration_error,
            "A bin without texts has no mean and adds nothing; it must not turn the sum into NaN.",
            "07_evaluation#ece-by-hand",
            CLOSE,
        ),
        Check(
            "q5",
            "ece-borders",
            1,
            "calibration_error(*args)",
            _bins_at_the_ends,
            expected_calibration_error,
            "A confidence on the border of two bins belongs to the lower one.",
            "07_evaluation#ece-by-hand",
            CLOSE,
        ),
        Check(
            "q6",
            "paired-interval",
            2,
            "paired_interval(*args)",
            _right_and_draws,
            paired_interval,
            "In each draw both models are judged on the same texts, and the quantiles are taken of the "
            "differences, not of each model alone.",
            "07_evaluation#paired",
            CLOSE,
        ),
        Check(
            "q7",
            "chosen-on-validation",
            2,
            "tuple(compare_word_lists(*args)[name] for name in ('thresholds', 'accuracies'))",
            _word_lists,
            _part("thresholds", "accuracies"),
            "Thresholds are chosen on validation, of equals the lowest; the accuracies are those on test.",
            "07_evaluation#threshold",
            CLOSE,
        ),
        Check(
            "q7",
            "discordant",
            1,
            "tuple(compare_word_lists(*args)[name] for name in ('discordant',))",
            _word_lists_and_equal,
            _part("discordant"),
            "Only the sentences that exactly one list gets right count, not all that a list gets right.",
            "07_evaluation#mcnemar",
        ),
        Check(
            "q7",
            "mcnemar-p",
            1,
            "tuple(compare_word_lists(*args)[name] for name in ('p',))",
            _word_lists_and_equal,
            _part("p"),
            "The test is two-sided and exact: twice the smaller tail of fair coin tosses, at most 1.",
            "07_evaluation#mcnemar-by-hand",
            CLOSE,
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "called classes in the rows",
            "q1",
            "def confusion_matrix(labels, predictions, num_classes):\n"
            "    matrix = np.zeros((num_classes, num_classes), dtype=int)\n"
            "    np.add.at(matrix, (predictions, labels), 1)\n"
            "    return matrix\n",
            "matrix-rows",
        ),
        WrongAnswer(
            "only classes that occur",
            "q1",
            "def confusion_matrix(labels, predictions, num_classes):\n"
            "    classes = np.union1d(labels, predictions)\n"
            "    rows = [[((labels == i) & (predictions == j)).sum() for j in classes] for i in classes]\n"
            "    return np.array(rows)\n",
            "matrix-absent",
        ),
        WrongAnswer(
            "precision and recall swapped",
            "q2",
            "def precision_recall(matrix):\n"
            "    correct, called, true = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)\n"
            "    return correct / np.maximum(called, 1), correct / np.maximum(true, 1)\n",
            "by-class",
        ),
        WrongAnswer(
            "division by no text",
            "q2",
            "def precision_recall(matrix):\n"
            "    correct = np.diag(matrix)\n"
            "    return correct / matrix.sum(axis=0), correct / matrix.sum(axis=1)\n",
            "never-called",
        ),
        WrongAnswer(
            "macro for micro",
            "q3",
            "def f1_averages(matrix):\n"
            "    f1, true = f1_by_class(matrix), matrix.sum(axis=1)\n"
            "    weighted = (f1 * true).sum() / true.sum()\n"
            '    return {"macro": f1.mean(), "weighted": weighted, "micro": f1.mean()}\n',
            "f1-micro",
        ),
        WrongAnswer(
            "F1 of the mean precision and recall",
            "q3",
            "def f1_averages(matrix):\n"
            "    f1, called, true = f1_by_class(matrix), matrix.sum(axis=0), matrix.sum(axis=1)\n"
            "    precision = (np.diag(matrix) / np.maximum(called, 1)).mean()\n"
            "    recall = (np.diag(matrix) / np.maximum(true, 1)).mean()\n"
            "    return {\n"
            '        "macro": 2 * precision * recall / (precision + recall),\n'
            '        "weighted": (f1 * true).sum() / true.sum(),\n'
            '        "micro": np.trace(matrix) / matrix.sum(),\n'
            "    }\n",
            "f1-macro",
        ),
        WrongAnswer(
            "weights from the called classes",
            "q3",
            "def f1_averages(matrix):\n"
            "    f1, called = f1_by_class(matrix), matrix.sum(axis=0)\n"
            "    return {\n"
            '        "macro": f1.mean(),\n'
            '        "weighted": (f1 * called).sum() / called.sum(),\n'
            '        "micro": np.trace(matrix) / matrix.sum(),\n'
            "    }\n",
            "f1-weighted",
        ),
        WrongAnswer(
            "ties count nothing",
            "q4",
            "def auc(labels, scores):\n"
            "    return float((scores[labels == 1][:, None] > scores[labels == 0]).mean())\n",
            "auc-ties",
        ),
        WrongAnswer(
            "one threshold instead of all",
            "q4",
            "def auc(labels, scores):\n"
            "    called = scores >= 0.5\n"
            "    return float((called[labels == 1].mean() + 1 - called[labels == 0].mean()) / 2)\n",
            "auc-order",
        ),
        WrongAnswer(
            "all bins weigh the same",
            "q5",
            "def calibration_error(confidences, right, num_bins):\n"
            "    gaps = []\n"
            "    for m in range(num_bins):\n"
            "        inside = (confidences > m / num_bins) & (confidences <= (m + 1) / num_bins)\n"
            "        if inside.any():\n"
            "            gaps.append(abs(confidences[inside].mean() - right[inside].mean()))\n"
            "    return float(np.mean(gaps))\n",
            "ece-weights",
        ),
        WrongAnswer(
            "mean of no text",
            "q5",
            "def calibration_error(confidences, right, num_bins):\n"
            "    error = 0.0\n"
            "    for m in range(num_bins):\n"
            "        inside = (confidences > m / num_bins) & (confidences <= (m + 1) / num_bins)\n"
            "        error += inside.mean() * abs(confidences[inside].mean() - right[inside].mean())\n"
            "    return float(error)\n",
            "ece-empty",
        ),
        WrongAnswer(
            "lower end belongs to the bin",
            "q5",
            "def calibration_error(confidences, right, num_bins):\n"
            "    bins = np.minimum((confidences * num_bins).astype(int), num_bins - 1)\n"
            "    error = 0.0\n"
            "    for m in np.unique(bins):\n"
            "        inside = bins == m\n"
            "        error += inside.mean() * abs(confidences[inside].mean() - right[inside].mean())\n"
            "    return float(error)\n",
            "ece-borders",
        ),
        WrongAnswer(
            "intervals of two models subtracted",
            "q6",
            "def paired_interval(right_a, right_b, draws):\n"
            "    low_a, high_a = np.quantile(right_a[draws].mean(axis=1), [0.025, 0.975])\n"
            "    low_b, high_b = np.quantile(right_b[draws].mean(axis=1), [0.025, 0.975])\n"
            "    return float(low_a - high_b), float(high_a - low_b)\n",
            "paired-interval",
        ),
        WrongAnswer(
            "threshold chosen on the test sentences",
            "q7",
            "def compare_word_lists(list_a, list_b):\n"
            "    thresholds, right = [], []\n"
            "    for good, bad in (list_a, list_b):\n"
            "        counts = word_counts(test, good, bad)\n"
            "        num_right = [((counts >= threshold) == test_labels).sum() for threshold in THRESHOLDS]\n"
            "        thresholds.append(THRESHOLDS[int(np.argmax(num_right))])\n"
            "        right.append((counts >= thresholds[-1]) == test_labels)\n"
            "    only_a, only_b = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())\n"
            "    tail = sum(math.comb(only_a + only_b, k) for k in range(min(only_a, only_b) + 1))\n"
            "    return {\n"
            '        "thresholds": tuple(thresholds),\n'
            '        "accuracies": (right[0].mean(), right[1].mean()),\n'
            '        "discordant": (only_a, only_b),\n'
            '        "p": min(1.0, 2 * tail / 2 ** (only_a + only_b)),\n'
            "    }\n",
            "chosen-on-validation",
        ),
    ),
    datasets=("rotten_tomatoes",),
    cell_seconds=40,
    total_seconds=180,
)
