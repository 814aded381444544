"""Checks of exercise 17: temperature, soft and mixed losses, fidelity, clean texts, the size of a student."""

import functools
import math
from collections import Counter

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from course_lib.data import hold_out, load_rotten_tomatoes
from course_lib.data.splits import duplicate_key
from course_lib.grading.checks import Check, Exercise, WrongAnswer

SIZES = (100, 200, 500, 1000, 2000, 4000, 8000)
# Unlabelled and validation sentences, and the accuracy that may be lost, where the right student is another
# one than by the mean alone, by independent samples, by the lower end, by agreement, and than the best one.
PARTS = (
    ((800, 2900), (0, 1400), 0.12),
    ((400, 1900), (600, 1600), 0.1),
    ((400, 2500), (0, 800), 0.09),
    ((1200, 3000), (200, 1000), 0.08),
    ((1200, 2400), (400, 1400), 0.1),
    ((800, 2300), (0, 1400), 0.09),
    ((400, 1900), (800, 1600), 0.1),
    ((0, 1200), (0, 1400), 0.09),
    ((800, 2300), (600, 1400), 0.14),
    ((0, 2100), (800, 2000), 0.1),
    ((800, 2300), (200, 1000), 0.08),
    ((0, 1800), (600, 1400), 0.12),
)
# The same where no student suffices, though some do by the mean alone.
PARTS_WITHOUT = (
    ((1200, 2100), (200, 1200), 0.07),
    ((0, 900), (0, 1400), 0.08),
    ((400, 1900), (800, 1600), 0.06),
    ((800, 2300), (600, 1400), 0.06),
    ((800, 2000), (200, 1600), 0.06),
)


def soft_probabilities(logits, temperature):
    return softmax(logits / temperature, axis=1)


def soft_losses(teacher_logits, student_logits, temperature):
    losses = []
    for teacher, student in zip(teacher_logits, student_logits, strict=True):
        pairs = zip(log_softmax(teacher / temperature), log_softmax(student / temperature), strict=True)
        losses.append(temperature**2 * sum(math.exp(log_p) * (log_p - log_q) for log_p, log_q in pairs))
    return np.array(losses)


def soft_gradient(teacher_logits, student_logits, temperature):
    """By differences of the loss itself."""
    gradient, step = np.zeros(student_logits.shape), 1e-4
    for place in np.ndindex(student_logits.shape):
        change = np.zeros(student_logits.shape)
        change[place] = step
        above = soft_losses(teacher_logits, student_logits + change, temperature).mean()
        below = soft_losses(teacher_logits, student_logits - change, temperature).mean()
        gradient[place] = (above - below) / (2 * step)
    return gradient


def whole_losses(soft, student_logits, labels, alpha):
    losses = list(soft)
    for place, label in enumerate(labels):
        if label >= 0:
            losses[place] = alpha * soft[place] - (1 - alpha) * log_softmax(student_logits[place])[label]
    return np.array(losses)


def fidelity(teacher_logits, student_logits, labels):
    answers = list(zip(teacher_logits.argmax(axis=1), student_logits.argmax(axis=1), labels, strict=True))
    known = [(teacher, student, label) for teacher, student, label in answers if label >= 0]
    after_errors = [student == label for teacher, student, label in known if teacher != label]
    accuracy = sum(student == label for _, student, label in known) / len(known)
    agreement = sum(teacher == student for teacher, student, _ in answers) / len(answers)
    return float(accuracy), float(agreement), float(sum(after_errors) / max(len(after_errors), 1))


def readable(texts, held_out, limit):
    keys = [duplicate_key(text) for text in texts]
    forbidden = [duplicate_key(text) for text in held_out]
    places = [place for place, key in enumerate(keys) if key not in forbidden and keys.index(key) == place]
    return [texts[place] for place in places[:limit]]


@functools.cache
def _sentences():
    """Counts of words, frequent ones first, and the teacher's logits for both splits; validation labels."""
    rest, validation = hold_out(load_rotten_tomatoes(), 2_000, seed=0)
    splits = [*hold_out(rest, 3_000, seed=0), validation]
    labelled, unlabelled, validation = [[row.text for row in split] for split in splits]
    labels, _, validation_labels = [np.array([row.label for row in split]) for split in splits]
    by_words = {"tokenizer": str.split, "token_pattern": None, "lowercase": False}
    pairs = CountVectorizer(**by_words, ngram_range=(1, 2))
    teacher = MultinomialNB().fit(pairs.fit_transform(labelled), labels)
    numbers = Counter(word for text in unlabelled for word in text.split())
    words = CountVectorizer(**by_words, vocabulary=sorted(numbers, key=lambda word: -numbers[word]))
    counts = [words.transform(texts).tocsc() for texts in (unlabelled, validation)]
    logits = [teacher.predict_joint_log_proba(pairs.transform(texts)) for texts in (unlabelled, validation)]
    return *counts, *logits, validation_labels


@functools.cache
def choose_student(taught_on, asked_on, max_lost):
    heard, asked, heard_logits, asked_logits, labels = _sentences()
    soft = softmax(heard_logits[slice(*taught_on)] / 2, axis=1)
    asked, labels = asked[slice(*asked_on)], labels[slice(*asked_on)]
    teacher_right = asked_logits[slice(*asked_on)].argmax(axis=1) == labels
    for size in SIZES:
        part = heard[slice(*taught_on), :size].tocsr()
        student = MultinomialNB()
        for label in (0, 1):
            student.partial_fit(part, np.full(len(soft), label), classes=[0, 1], sample_weight=soft[:, label])
        right = student.predict(asked[:, :size].tocsr()) == labels
        lost, gained, num = (teacher_right & ~right).sum(), (right & ~teacher_right).sum(), len(labels)
        mean = (lost - gained) / num
        variance = (lost + gained - num * mean**2) / (num - 1)
        if mean + 1.96 * math.sqrt(variance / num) <= max_lost:
            return size
    return None


def _logits(random):
    shapes = ((4, 3), (3, 3), (2, 5))
    return [(random.normal(0, 4, shape).round(3), t) for shape, t in zip(shapes, (1, 3, 0.5), strict=True)]


def _large_logits(random):
    """Large differences within texts, and between texts whose own logits lie close together."""
    close = random.normal(0, 2, (4, 3)) + random.permutation([-5000, -900, 1200, 4000])[:, None]
    return [(random.normal(0, 3000, (3, 4)).round(1), 2), (close.round(3), 1)]


def _two_logits(random, shape):
    return random.normal(0, 3, shape).round(3), random.normal(0, 1, shape).round(3)


def _pairs(random):
    return [(*_two_logits(random, (4, 3)), t) for t in (1, 2, 5.0)]


def _sure_pairs(random):
    teacher, student = _two_logits(random, (3, 4))
    return [(teacher * 1000, student, 1), (teacher, (student * 1000).round(3), 1)]


def _pairs_at_one(random):
    return [(*_two_logits(random, shape), 1) for shape in ((3, 3), (5, 2))]


def _pairs_at_others(random):
    return [(*_two_logits(random, (3, 4)), t) for t in (0.5, 3, 20.0)]


def _batch(random, labels, alpha):
    size = len(labels)
    soft, logits = random.uniform(0.1, 2, size).round(3), random.normal(0, 2, (size, 3)).round(3)
    return soft, logits, np.array(labels), alpha


def _labelled(random):
    return [_batch(random, random.integers(0, 3, 4).tolist(), alpha) for alpha in (0.3, 0.0, 1.0)]


def _partly_labelled(random):
    cases = [[*random.integers(0, 3, 3).tolist(), -1, -1] for _ in range(2)]
    shares = zip([*cases, [-1, -1]], (0.7, 0.0, 0.4), strict=True)
    return [_batch(random, random.permutation(labels).tolist(), alpha) for labels, alpha in shares]


def _models(random, shift=0):
    """Of 24 texts with three classes, the last six without a label, models that err in part together; the
    two texts at which the teacher errs for certain are corrected once and missed otherwise once.
    """
    truth = random.integers(0, 3, 24)
    teacher = (truth + random.choice(3, 24, p=[0.7, 0.2, 0.1])) % 3
    student = (truth + random.choice(3, 24, p=[0.6, 0.1, 0.3])) % 3
    teacher[:2], student[:2] = (truth[:2] + 1) % 3, (truth[:2] + np.array([0, 2])) % 3
    noise = random.uniform(0, 0.9, (2, 24, 3)).round(3)
    labels = np.where(np.arange(24) < 18, truth, -1)
    return np.eye(3)[teacher] + noise[0] + shift, np.eye(3)[student] + noise[1], labels


def _three_classes(random):
    return [_models(random, shift) for shift in (0, -5, 3)]


def _with_perfect_teacher(random):
    teacher, student, labels = _models(random)
    teacher[:18] = np.eye(3)[labels[:18]]
    return [_models(random), (teacher, student, labels), _models(random)]


def _bases(random, size):
    adjectives = ("slow", "funny", "loud", "tender", "clever", "dull", "warm")
    nouns = ("story", "cast", "script", "ending", "score", "idea", "sequel")
    pairs = [(adjective, noun) for adjective in adjectives for noun in nouns]
    return ["the {} is {}".format(*pairs[place][::-1]) for place in random.choice(49, size, replace=False)]


def _otherwise_written(text, random):
    ways = (str.upper, str.title, "{}.".format, "  {} !".format, "<br />{}".format)
    return ways[random.integers(len(ways))](text)


def _texts_held_out(random):
    cases = []
    for limit in (5, 20):
        texts = _bases(random, 14)
        held_out = [texts[0], *(_otherwise_written(text, random) for text in texts[1:5]), "nothing else"]
        random.shuffle(texts)
        cases.append((texts, held_out, limit))
    return cases


def _texts_repeated(random):
    cases = []
    for limit in (6, 30):
        other, *texts = _bases(random, 12)
        texts += [_otherwise_written(text, random) for text in texts[:5]]
        random.shuffle(texts)
        texts = [*texts[:2], texts[0], _otherwise_written(texts[1], random), *texts[2:]]
        cases.append((texts, [other], limit))
    return cases


def _order(random):
    """The largest first, so that the first that suffices in this order is not the smallest."""
    return [SIZES[-1], *random.permutation(SIZES[:-1]).tolist()]


def _parts(random):
    return [(*PARTS[place], _order(random)) for place in random.choice(len(PARTS), 3, replace=False)]


def _parts_without(random):
    places = random.choice(len(PARTS_WITHOUT), 2, replace=False)
    parts = [PARTS[random.integers(len(PARTS))], *(PARTS_WITHOUT[place] for place in places)]
    return [(*part, _order(random)) for part in parts]


def _chosen(taught_on, asked_on, max_lost, _):
    return choose_student(taught_on, asked_on, max_lost)


STUDENT_CALL = "choose_student(*measure(args[0], args[1], args[3]), args[2])"
CLOSE = 1e-6
EXERCISE = Exercise(
    datasets=("rotten_tomatoes",),
    checks=(
        Check(
            "q1",
            "soft-rows",
            1,
            "soft_probabilities(*args)",
            _logits,
            soft_probabilities,
            "The logits are divided by T before the exponential, and the probabilities of each text, a row, "
            "add up to 1.",
            "17_distillation#temperature",
            CLOSE,
        ),
        Check(
            "q1",
            "soft-large",
            1,
            "soft_probabilities(*args)",
            _large_logits,
            soft_probabilities,
            "The exponential of a large logit overflows, and those of very negative ones are all 0: take off "
            "the largest logit of each text first.",
            "09_named_entities#crf-paths-answer",
            CLOSE,
        ),
        Check(
            "q2",
            "soft-loss",
            2,
            "soft_losses(*args)",
            _pairs,
            soft_losses,
            "The divergence is weighted with the teacher's probabilities, both models have the temperature "
            "T, and the factor T² stands before the sum over the classes.",
            "17_distillation#loss",
            CLOSE,
        ),
        Check(
            "q2",
            "soft-loss-sure",
            1,
            "soft_losses(*args)",
            _sure_pairs,
            soft_losses,
            "A probability may be stored as 0, and its logarithm is then not finite: compute with "
            "`log_softmax` throughout.",
            "17_distillation#loss",
            CLOSE,
        ),
        Check(
            "q3",
            "gradient-at-one",
            1,
            "soft_gradient(*args)",
            _pairs_at_one,
            soft_gradient,
            "Where the student gives a class more than the teacher, the gradient is positive; the mean "
            "divides it by the number of texts.",
            "17_distillation#gradient",
            CLOSE,
        ),
        Check(
            "q3",
            "gradient-at-others",
            2,
            "soft_gradient(*args)",
            _pairs_at_others,
            soft_gradient,
            "The division of the logits by T gives a factor 1/T, the loss has the factor T².",
            "17_distillation#gradient-check",
            CLOSE,
        ),
        Check(
            "q4",
            "whole-labelled",
            1,
            "whole_losses(*args)",
            _labelled,
            whole_losses,
            "alpha is the teacher's share; the label's cross-entropy is taken at temperature 1.",
            "17_distillation#gradient-reading",
            CLOSE,
        ),
        Check(
            "q4",
            "whole-unlabelled",
            2,
            "whole_losses(*args)",
            _partly_labelled,
            whole_losses,
            "Where the label is -1 there is no cross-entropy (-1 is not the last class), and the teacher's "
            "share is then 1.",
            "17_distillation#loss-mixed",
            CLOSE,
        ),
        Check(
            "q5",
            "accuracy-and-agreement",
            2,
            "fidelity(*args)[:2]",
            _three_classes,
            lambda *models: fidelity(*models)[:2],
            "Accuracy compares with labels and counts labelled texts only; agreement compares the two "
            "answers to each text, all texts counted. Equal accuracies do not make equal answers.",
            "17_distillation#exceed-table",
            CLOSE,
        ),
        Check(
            "q5",
            "errors-avoided",
            1,
            "fidelity(*args)[2]",
            _with_perfect_teacher,
            lambda *models: fidelity(*models)[2],
            "An error is avoided if the student is right, not if it is merely wrong in another way; only "
            "labelled texts count, and without an error the share is 0.0.",
            "17_distillation#exceed-table",
            CLOSE,
        ),
        Check(
            "q6",
            "texts-held-out",
            1,
            "readable(*args)",
            _texts_held_out,
            readable,
            "A text of validation or test must be found by its key, however it is written, and `limit` "
            "counts the texts that are left.",
            "17_distillation#data-unlabelled",
        ),
        Check(
            "q6",
            "texts-repeated",
            1,
            "readable(*args)",
            _texts_repeated,
            readable,
            "Of texts with the same key only the first is taken, and the order stays.",
            "17_distillation#data-unlabelled",
        ),
        Check(
            "q7",
            "student-chosen",
            3,
            STUDENT_CALL,
            _parts,
            _chosen,
            "The upper end of the interval decides, not the mean; the differences are taken sentence by "
            "sentence; and the smallest student that suffices is wanted, not the best.",
            "17_distillation#student-interval",
        ),
        Check(
            "q7",
            "student-none",
            1,
            STUDENT_CALL,
            _parts_without,
            _chosen,
            "Where no student suffices, none may be chosen, not even the one that comes nearest.",
            "17_distillation#size-reading",
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "softmax over the texts",
            "q1",
            "def soft_probabilities(logits, temperature):\n"
            "    scaled = logits / temperature\n"
            "    powers = np.exp(scaled - scaled.max(axis=0))\n"
            "    return powers / powers.sum(axis=0)\n",
            "soft-rows",
        ),
        WrongAnswer(
            "largest logit not taken off",
            "q1",
            "def soft_probabilities(logits, temperature):\n"
            "    powers = np.exp(logits / temperature)\n"
            "    return powers / powers.sum(axis=1, keepdims=True)\n",
            "soft-large",
        ),
        WrongAnswer(
            "divergence the other way round",
            "q2",
            "def soft_losses(teacher_logits, student_logits, temperature):\n"
            "    teacher = log_softmax(teacher_logits / temperature)\n"
            "    student = log_softmax(student_logits / temperature)\n"
            "    return temperature**2 * (np.exp(student) * (student - teacher)).sum(axis=1)\n",
            "soft-loss",
        ),
        WrongAnswer(
            "logarithm of a probability that is 0",
            "q2",
            "def soft_losses(teacher_logits, student_logits, temperature):\n"
            "    teacher = np.exp(log_softmax(teacher_logits / temperature))\n"
            "    student = np.exp(log_softmax(student_logits / temperature))\n"
            "    return temperature**2 * (teacher * np.log(teacher / student)).sum(axis=1)\n",
            "soft-loss-sure",
        ),
        WrongAnswer(
            "gradient towards the teacher",
            "q3",
            "def soft_gradient(teacher_logits, student_logits, temperature):\n"
            "    teacher = np.exp(log_softmax(teacher_logits / temperature))\n"
            "    student = np.exp(log_softmax(student_logits / temperature))\n"
            "    return temperature * (teacher - student) / len(teacher)\n",
            "gradient-at-one",
        ),
        WrongAnswer(
            "inner factor 1/T forgotten",
            "q3",
            "def soft_gradient(teacher_logits, student_logits, temperature):\n"
            "    teacher = np.exp(log_softmax(teacher_logits / temperature))\n"
            "    student = np.exp(log_softmax(student_logits / temperature))\n"
            "    return temperature**2 * (student - teacher) / len(teacher)\n",
            "gradient-at-others",
        ),
        WrongAnswer(
            "no label taken for the last class",
            "q4",
            "def whole_losses(soft, student_logits, labels, alpha):\n"
            "    hard = -log_softmax(student_logits)[np.arange(len(labels)), labels]\n"
            "    return alpha * soft + (1 - alpha) * hard\n",
            "whole-unlabelled",
        ),
        WrongAnswer(
            "teacher's share kept without a label",
            "q4",
            "def whole_losses(soft, student_logits, labels, alpha):\n"
            "    hard = -log_softmax(student_logits)[np.arange(len(labels)), labels]\n"
            "    return alpha * soft + (1 - alpha) * np.where(labels >= 0, hard, 0)\n",
            "whole-unlabelled",
        ),
        WrongAnswer(
            "equal accuracy taken for agreement",
            "q5",
            "def fidelity(teacher_logits, student_logits, labels):\n"
            "    known = labels >= 0\n"
            "    teacher = (teacher_logits.argmax(axis=1) == labels)[known]\n"
            "    student = (student_logits.argmax(axis=1) == labels)[known]\n"
            "    avoided = student[~teacher].mean() if not teacher.all() else 0.0\n"
            "    agreement = 1 - abs(teacher.mean() - student.mean())\n"
            "    return float(student.mean()), float(agreement), float(avoided)\n",
            "accuracy-and-agreement",
        ),
        WrongAnswer(
            "every disagreement taken for a correction",
            "q5",
            "def fidelity(teacher_logits, student_logits, labels):\n"
            "    teacher, student = teacher_logits.argmax(axis=1), student_logits.argmax(axis=1)\n"
            "    known, wrong = labels >= 0, (labels >= 0) & (teacher != labels)\n"
            "    avoided = (student != teacher)[wrong].mean() if wrong.any() else 0.0\n"
            "    accuracy = (student == labels)[known].mean()\n"
            "    return float(accuracy), float((student == teacher).mean()), float(avoided)\n",
            "errors-avoided",
        ),
        WrongAnswer(
            "compared letter by letter",
            "q6",
            "def readable(texts, held_out, limit):\n"
            "    chosen = []\n"
            "    for text in texts:\n"
            "        if text not in held_out and text not in chosen:\n"
            "            chosen.append(text)\n"
            "    return chosen[:limit]\n",
            "texts-held-out",
        ),
        WrongAnswer(
            "repeated texts kept",
            "q6",
            "def readable(texts, held_out, limit):\n"
            "    keys = {duplicate_key(text) for text in held_out}\n"
            "    return [text for text in texts if duplicate_key(text) not in keys][:limit]\n",
            "texts-repeated",
        ),
        WrongAnswer(
            "mean without its interval",
            "q7",
            "def choose_student(student_logits, teacher_logits, labels, max_lost):\n"
            "    teacher_right = (teacher_logits.argmax(axis=1) == labels).mean()\n"
            "    for num_words in sorted(student_logits):\n"
            "        right = (student_logits[num_words].argmax(axis=1) == labels).mean()\n"
            "        if teacher_right - right <= max_lost:\n"
            "            return num_words\n"
            "    return None\n",
            "student-chosen",
        ),
        WrongAnswer(
            "largest student where none suffices",
            "q7",
            "def choose_student(student_logits, teacher_logits, labels, max_lost):\n"
            "    teacher_right = (teacher_logits.argmax(axis=1) == labels).astype(float)\n"
            "    for num_words, logits in sorted(student_logits.items()):\n"
            "        lost = teacher_right - (logits.argmax(axis=1) == labels)\n"
            "        if lost.mean() + 1.96 * lost.std(ddof=1) / np.sqrt(len(lost)) <= max_lost:\n"
            "            return num_words\n"
            "    return max(student_logits)\n",
            "student-none",
        ),
    ),
)
