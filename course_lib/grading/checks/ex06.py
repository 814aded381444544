"""Checks of exercise 06: rates and freezing layer by layer, what fits, heads, few labels and their gain."""

import functools
import random as python_random

import numpy as np
from scipy import stats

from course_lib.data import hold_out, load_rotten_tomatoes
from course_lib.grading.checks import Check, Exercise, WrongAnswer

LAYERS = ("token_embedding", "bilstm_1", "bilstm_2", "bilstm_3", "dense", "logits")


def layer_rates(rate, names, factor):
    rates = {}
    for name in names[::-1]:
        rates[name], rate = rate, rate / factor
    return rates


def match_layers(pretrained, model):
    common = [name for name in pretrained if name in model]
    if not common or [pretrained[name] for name in common] != [model[name] for name in common]:
        return None
    return {
        "loaded": sorted(common),
        "new": sorted(name for name in model if name not in common),
        "left out": sorted(name for name in pretrained if name not in common),
    }


def unfreezing(names, num_epochs):
    return [
        [name for place, name in enumerate(names) if len(names) - place <= epoch]
        for epoch in range(1, num_epochs + 1)
    ]


def sgd_step(weights, gradients, rates, masks):
    after = {name: values.copy() for name, values in weights.items()}
    for name, rate in rates.items():
        for place in np.ndindex(after[name].shape):
            if name not in masks or masks[name][place]:
                after[name][place] -= rate * gradients[name][place]
    return after


def new_head(labels, hidden_dim):
    classes = sorted(set(labels))
    # Two summaries of two directions, and the bias as one more input.
    inputs, num_classes = 2 * 2 * hidden_dim, len(classes)
    return [classes, (inputs, num_classes), (num_classes,), (inputs + 1) * num_classes]


def paired_gain(pretrained, nothing):
    low, high = stats.ttest_rel(pretrained, nothing).confidence_interval(0.95)
    return float((pretrained - nothing).mean()), float(low), float(high)


@functools.cache
def _rows():
    return load_rotten_tomatoes()


@functools.cache
def _held_out():
    return frozenset(row.text for row in hold_out(_rows(), 1_500, seed=0)[1])


def sample_labels(begin, end, num_per_class, seed, with_test=True):
    """What question 7 asks for, of the rows from `begin` to `end`; `with_test`: test texts are left out."""
    generator, texts = np.random.default_rng(seed), _held_out() if with_test else ()
    by_label = {0: [], 1: []}
    for position, row in enumerate(_rows()[begin:end]):
        if row.text not in texts:
            by_label[row.label].append(position)
    drawn = [generator.permutation(np.array(by_label[label])) for label in (0, 1)]
    return sorted(int(position) for part in drawn for position in part[:num_per_class])


def _names(random, number):
    """Some layers, in the order in which a text passes them."""
    inner = sorted(random.choice(range(1, len(LAYERS) - 1), max(number - 2, 0), replace=False))
    return [LAYERS[i] for i in [0, *inner, -1]][-number:]


def _two_layers(random):
    return [(float(random.uniform(1e-3, 1)), _names(random, 2), 2.6) for _ in range(2)]


def _many_layers(random):
    cases = ((4, 2.6), (6, 2.0), (1, 2.6), (3, 10.0))
    return [(float(random.uniform(1e-3, 1)), _names(random, number), factor) for number, factor in cases]


def _shapes(random, name):
    rows, columns = (int(size) for size in random.integers(2, 9, 2))
    # Never square: the transposed shape has to be another one.
    return [(rows, rows + columns)] if name == "token_embedding" else [(rows, rows + columns), (columns,)]


def _encoder(random, number=4):
    return {name: _shapes(random, name) for name in _names(random, number)}


def _layers_fitting(random):
    cases = []
    for _ in range(3):
        encoder = _encoder(random)
        pretrained = {**encoder, "next_token": [(7, 3), (3,)], "attention": [(4, 5)]}
        model = {"ratings": [(8, 1), (1,)], **dict(reversed(encoder.items())), "crf": [(3, 3)]}
        cases.append((pretrained, model))
    return cases


def _layers_not_fitting(random):
    cases = []
    for kind in ("wider", "transposed", "one weight less"):
        encoder = {**_encoder(random, 3), "projection": [(3, 4), (4,)]}
        here = {"wider": [(3, 5), (5,)], "transposed": [(4, 3), (4,)], "one weight less": [(3, 4)]}[kind]
        cases.append((encoder, {**encoder, "projection": here, "head": [(4, 2), (2,)]}))
    return cases


def _layers_of_other_names(random):
    encoder = _encoder(random)
    # The same shapes in the same order under other names.
    return [(encoder, {f"model/{name}": shapes for name, shapes in encoder.items()}), (encoder, {})]


def _few_epochs(random):
    return [(_names(random, number), epochs) for number, epochs in ((4, 3), (5, 2), (3, 3))]


def _many_epochs(random):
    return [(_names(random, number), epochs) for number, epochs in ((2, 5), (3, 7), (1, 3))]


def _step(random, rates, masked=()):
    shapes = {"token_embedding": (4, 2), "bilstm_1": (2, 3), "logits": (3,)}
    weights, gradients = (
        {name: random.normal(size=shape) for name, shape in shapes.items()} for _ in range(2)
    )
    masks = {}
    for name in masked:
        masks[name] = random.random(shapes[name]) < 0.6
        masks[name].flat[0] = False
    return weights, gradients, rates, masks


def _steps_all(random):
    rates = {"logits": 0.1, "bilstm_1": 0.1 / 2.6, "token_embedding": 0.1 / 2.6**2}
    return [_step(random, rates), _step(random, dict(reversed(rates.items())))]


def _steps_frozen(random):
    return [
        _step(random, {"logits": 0.3}),
        _step(random, {"logits": 0.2, "bilstm_1": 0.05}, ["bilstm_1"]),
        _step(random, {"logits": 0.2, "token_embedding": 0.01}, ["token_embedding", "bilstm_1"]),
    ]


def _labels(random):
    cases = []
    for classes in ("films tweets news products", "negative neutral positive", "b a"):
        names = classes.split()
        labels = [*names, *(names[i] for i in random.integers(0, len(names), 9))]
        python_random.Random(int(random.integers(99))).shuffle(labels)
        cases.append((labels, int(random.integers(5, 200))))
    return cases


def _accuracies(random, num_seeds):
    """Seeds that are lucky for both arms at once, and a gain that differs a little."""
    luck = random.uniform(0.5, 0.8, num_seeds)
    return luck + random.uniform(0.02, 0.12, num_seeds), luck


def _several_seeds(random):
    return [_accuracies(random, num_seeds) for num_seeds in (5, 8, 3)]


def _two_seeds(random):
    return [_accuracies(random, 2) for _ in range(2)]


def _draws(random):
    begins = (int(place) for place in random.integers(0, 7_500, 3))
    return [
        (begin, begin + 600, size, int(random.integers(99)))
        for begin, size in zip(begins, (5, 25, 60), strict=True)
    ]


def _draws_scarce(random):
    begins = (int(place) for place in random.integers(0, 7_500, 2))
    return [(begin, begin + 40, 38, int(random.integers(99))) for begin in begins]


_SAMPLE = "sample_labels(rows[args[0] : args[1]], held_out, *args[2:])"
CLOSE = 1e-9
EXERCISE = Exercise(
    checks=(
        Check(
            "q1",
            "rates-direction",
            1,
            "layer_rates(*args)",
            _two_layers,
            layer_rates,
            "The head, which is new, learns fastest; the embedding, which has read most, slowest.",
            "06_fine_tuning#rates",
            CLOSE,
        ),
        Check(
            "q1",
            "rates-each-layer",
            1,
            "layer_rates(*args)",
            _many_layers,
            layer_rates,
            "The factor is applied once for each layer on the way down from the head.",
            "06_fine_tuning#strategies-define",
            CLOSE,
        ),
        Check(
            "q2",
            "match-names",
            1,
            "match_layers(*args)",
            _layers_fitting,
            match_layers,
            "Layers are matched by name, in whatever order they stand; the others are new or left out.",
            "06_fine_tuning#load-model",
        ),
        Check(
            "q2",
            "match-all-or-nothing",
            1,
            "match_layers(*args)",
            _layers_not_fitting,
            match_layers,
            "If one weight of a common layer has another shape, or is missing, nothing at all is loaded.",
            "06_fine_tuning#load-reading",
        ),
        Check(
            "q2",
            "match-none",
            1,
            "match_layers(*args)",
            _layers_of_other_names,
            match_layers,
            "If no name is common nothing was pretrained, and that must not pass for a success.",
            "06_fine_tuning#load-reading",
        ),
        Check(
            "q3",
            "unfreeze-order",
            1,
            "unfreezing(*args)",
            _few_epochs,
            unfreezing,
            "The head trains from the first epoch on, and layers join it from above, one each epoch.",
            "06_fine_tuning#strategies",
        ),
        Check(
            "q3",
            "unfreeze-all",
            1,
            "unfreezing(*args)",
            _many_epochs,
            unfreezing,
            "Every epoch has an entry; once all layers train, they all go on training.",
            "06_fine_tuning#strategies-define",
        ),
        Check(
            "q4",
            "step-rates",
            1,
            "sgd_step(*args)",
            _steps_all,
            sgd_step,
            "Each weight moves against its gradient, by the rate of its own layer.",
            "06_fine_tuning#rates-by-hand",
            CLOSE,
        ),
        Check(
            "q4",
            "step-frozen",
            1,
            "sgd_step(*args)",
            _steps_frozen,
            sgd_step,
            "Frozen weights keep their values: a layer without a rate, and others where the mask is false.",
            "06_fine_tuning#strategies-frozen-check",
            CLOSE,
        ),
        Check(
            "q4",
            "step-untouched",
            1,
            "(sgd_step(*args), args[0], args[1])[1:]",
            lambda random: _steps_all(random) + _steps_frozen(random),
            lambda weights, gradients, rates, masks: (weights, gradients),
            "The dicts and arrays that were passed in must still hold their old values afterwards.",
            "06_fine_tuning#load-failure",
        ),
        Check(
            "q5",
            "head-shapes",
            1,
            "[new_head(*args)[name] for name in ('classes', 'kernel', 'bias')]",
            _labels,
            lambda *args: new_head(*args)[:3],
            "Two summaries of two directions come in, and one logit for each different label goes out.",
            "06_fine_tuning#load-reading",
        ),
        Check(
            "q5",
            "head-parameters",
            1,
            "[new_head(*args)[name] for name in ('parameters',)]",
            _labels,
            lambda *args: new_head(*args)[3:],
            "The kernel has one number for each input and class, the bias one for each class; both count.",
            "06_fine_tuning#strategies-frozen-check",
        ),
        Check(
            "q6",
            "gain-interval",
            2,
            "paired_gain(*args)",
            _several_seeds,
            paired_gain,
            "The interval is that of the differences by seed, with one degree of freedom fewer than there "
            "are seeds.",
            "06_fine_tuning#curve-interval",
            1e-5,
        ),
        Check(
            "q6",
            "gain-two-seeds",
            1,
            "paired_gain(*args)",
            _two_seeds,
            paired_gain,
            "With few seeds Student's quantile is far above 1.96.",
            "06_fine_tuning#curve-reading",
            1e-5,
        ),
        Check(
            "q7",
            "sample-classes",
            2,
            "sample_labels(rows[args[0] : args[1]], set(), *args[2:])",
            _draws,
            lambda *args: sample_labels(*args, with_test=False),
            "Each class gives the same number, drawn as described: label after label with one generator.",
            "06_fine_tuning#data-sample",
        ),
        Check(
            "q7",
            "sample-held-out",
            1,
            _SAMPLE,
            _draws,
            sample_labels,
            "Sentences of the test split are left out before anything is drawn.",
            "06_fine_tuning#minilm-data",
        ),
        Check(
            "q7",
            "sample-scarce",
            1,
            _SAMPLE,
            _draws_scarce,
            sample_labels,
            "No sentence is drawn twice, so a small class gives what it has and no more.",
            "06_fine_tuning#data-sample",
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "largest rate at the embedding",
            "q1",
            "def layer_rates(rate, names, factor):\n"
            "    return {name: rate / factor**depth for depth, name in enumerate(names)}\n",
            "rates-direction",
        ),
        WrongAnswer(
            "one smaller rate for all layers below the head",
            "q1",
            "def layer_rates(rate, names, factor):\n"
            "    return {name: rate if name == names[-1] else rate / factor for name in names}\n",
            "rates-each-layer",
        ),
        WrongAnswer(
            "layers that fit are loaded without the others",
            "q2",
            "def match_layers(pretrained, model):\n"
            "    loaded = {name for name in pretrained if model.get(name) == pretrained[name]}\n"
            "    if not loaded:\n"
            "        return None\n"
            '    report = {"loaded": sorted(loaded), "new": sorted(model.keys() - loaded)}\n'
            '    return {**report, "left out": sorted(pretrained.keys() - loaded)}\n',
            "match-all-or-nothing",
        ),
        WrongAnswer(
            "nothing in common passes for a success",
            "q2",
            "def match_layers(pretrained, model):\n"
            "    both = pretrained.keys() & model.keys()\n"
            "    if any(pretrained[name] != model[name] for name in both):\n"
            "        return None\n"
            '    report = {"loaded": sorted(both), "new": sorted(model.keys() - both)}\n'
            '    return {**report, "left out": sorted(pretrained.keys() - both)}\n',
            "match-none",
        ),
        WrongAnswer(
            "one layer at a time",
            "q3",
            "def unfreezing(names, num_epochs):\n"
            "    return [[names[-min(epoch, len(names))]] for epoch in range(1, num_epochs + 1)]\n",
            "unfreeze-order",
        ),
        WrongAnswer(
            "layers without a rate train at the largest",
            "q4",
            "def sgd_step(weights, gradients, rates, masks):\n"
            "    after = {}\n"
            "    for name, values in weights.items():\n"
            "        change = rates.get(name, max(rates.values())) * gradients[name]\n"
            "        after[name] = values - np.where(masks.get(name, True), change, 0.0)\n"
            "    return after\n",
            "step-frozen",
        ),
        WrongAnswer(
            "one rate for all layers",
            "q4",
            "def sgd_step(weights, gradients, rates, masks):\n"
            "    rate, after = max(rates.values()), {}\n"
            "    for name, values in weights.items():\n"
            "        change = rate * gradients[name] if name in rates else 0 * gradients[name]\n"
            "        after[name] = values - np.where(masks.get(name, True), change, 0.0)\n"
            "    return after\n",
            "step-rates",
        ),
        WrongAnswer(
            "weights changed in place",
            "q4",
            "def sgd_step(weights, gradients, rates, masks):\n"
            "    for name, rate in rates.items():\n"
            "        weights[name] -= np.where(masks.get(name, True), rate * gradients[name], 0.0)\n"
            "    return weights\n",
            "step-untouched",
        ),
        WrongAnswer(
            "one class for each text",
            "q5",
            "def new_head(labels, hidden_dim):\n"
            "    kernel, bias = (4 * hidden_dim, len(labels)), (len(labels),)\n"
            "    head = {'classes': sorted(labels), 'kernel': kernel, 'bias': bias}\n"
            "    return {**head, 'parameters': math.prod(kernel) + math.prod(bias)}\n",
            "head-shapes",
        ),
        WrongAnswer(
            "two unpaired samples",
            "q6",
            "def paired_gain(pretrained, nothing):\n"
            "    gain, n = pretrained.mean() - nothing.mean(), len(nothing)\n"
            "    spread = math.sqrt(pretrained.var(ddof=1) / n + nothing.var(ddof=1) / n)\n"
            "    reach = T_QUANTILE[n - 1] * spread\n"
            "    return float(gain), float(gain - reach), float(gain + reach)\n",
            "gain-interval",
        ),
        WrongAnswer(
            "normal distribution for two seeds",
            "q6",
            "def paired_gain(pretrained, nothing):\n"
            "    gains = pretrained - nothing\n"
            "    reach = 1.96 * gains.std(ddof=1) / math.sqrt(len(gains))\n"
            "    return float(gains.mean()), float(gains.mean() - reach), float(gains.mean() + reach)\n",
            "gain-two-seeds",
        ),
        WrongAnswer(
            "classes left to chance",
            "q7",
            "def sample_labels(rows, held_out, num_per_class, seed):\n"
            "    allowed = [i for i, row in enumerate(rows) if row.text not in held_out]\n"
            "    order = np.random.default_rng(seed).permutation(allowed)\n"
            "    return sorted(order[: 2 * num_per_class].tolist())\n",
            "sample-classes",
        ),
        WrongAnswer(
            "test sentences drawn, too",
            "q7",
            "def sample_labels(rows, held_out, num_per_class, seed):\n"
            "    random, sample = np.random.default_rng(seed), []\n"
            "    for label in sorted({row.label for row in rows}):\n"
            "        allowed = [i for i, row in enumerate(rows) if row.label == label]\n"
            "        sample += random.permutation(allowed)[:num_per_class].tolist()\n"
            "    return sorted(sample)\n",
            "sample-held-out",
        ),
        WrongAnswer(
            "drawn with replacement",
            "q7",
            "def sample_labels(rows, held_out, num_per_class, seed):\n"
            "    random, sample = np.random.default_rng(seed), []\n"
            "    for label in sorted({row.label for row in rows}):\n"
            "        of_label = [i for i, row in enumerate(rows) if row.label == label]\n"
            "        allowed = [i for i in of_label if rows[i].text not in held_out]\n"
            "        sample += random.choice(allowed, num_per_class).tolist()\n"
            "    return sorted(sample)\n",
            "sample-scarce",
        ),
    ),
    datasets=("rotten_tomatoes",),
    cell_seconds=40,
    total_seconds=180,
)
