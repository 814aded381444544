"""Checks of exercise 09: tags and entities, a CRF by hand, a gazetteer."""

import functools
import itertools

import numpy as np

from course_lib.data import load_conll2003
from course_lib.decoding import forward_backward
from course_lib.evaluation.entities import entity_counts, f1_of_counts
from course_lib.grading.checks import Check, Exercise, WrongAnswer
from course_lib.text.tagging import allowed_transitions, entity_spans, spans_to_tags

TYPES = ("PER", "LOC", "ORG")
SHARES = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
# Parts of the training and development sentences in which F1 over entities, token accuracy and the training
# sentences themselves do not choose the same share, and the best F1 is clear of the others.
PARTS = (
    (1800, 2400, 650, 950),
    (550, 1150, 200, 500),
    (600, 1200, 250, 550),
    (2050, 2650, 250, 550),
    (1500, 2100, 350, 650),
    (1700, 2300, 100, 400),
    (1950, 2550, 200, 500),
    (2050, 2650, 500, 800),
    (100, 700, 150, 450),
    (250, 850, 200, 500),
)


def accuracy_of_nothing(tags):
    return float(np.mean([tag == "O" for sentence in tags for tag in sentence]))


def read_bio(tags):
    return [tuple(span) for span in entity_spans(tags)]


def write_bioes(spans, num_tokens):
    return spans_to_tags(spans, num_tokens, "BIOES")


def entity_f1(gold, predicted):
    counts = np.zeros(3)
    for pair in zip(gold, predicted, strict=True):
        num_tokens = max((end for spans in pair for _, _, end in spans), default=0)
        true, found = ([spans_to_tags(spans, num_tokens, "BIO")] for spans in pair)
        counts += entity_counts(true, found)[0]
    return float(f1_of_counts(counts))


def path_score(path, logits, transitions):
    between = sum(transitions[pair] for pair in itertools.pairwise([-1, *path, -1]))  # -1: start, end
    return between + sum(logits[step, tag] for step, tag in enumerate(path))


def all_paths(logits):
    return itertools.product(range(logits.shape[1]), repeat=len(logits))


def log_partition_by_listing(logits, transitions):
    return float(np.logaddexp.reduce([path_score(path, logits, transitions) for path in all_paths(logits)]))


def log_partition(logits, transitions):
    return float(forward_backward(logits[None], transitions)[2][0])


def best_legal_path(logits, allowed):
    """By listing all sequences."""
    forbidden = np.where(allowed, 0.0, -np.inf)
    return list(max(all_paths(logits), key=lambda path: path_score(path, logits, forbidden)))


@functools.cache
def _sentences(split, number):
    return load_conll2003(split)[:number]


@functools.cache
def _choice(train_start, train_end, dev_start, dev_end):
    """The share and its F1 among `SHARES`; the lists of words are made here in another way."""
    train = _sentences("train", 3_000)[train_start:train_end]
    dev = _sentences("valid", 1_000)[dev_start:dev_end]
    kinds = {}
    for sentence in train:
        for kind, start, end in entity_spans(sentence.entities):
            kinds.setdefault(sentence.tokens[start:end], []).append(kind)
    longest = max(map(len, kinds))
    occurrences = dict.fromkeys(kinds, 0)
    for sentence in train:
        for size in range(1, longest + 1):
            for words in zip(*(sentence.tokens[place:] for place in range(size)), strict=False):
                if words in occurrences:
                    occurrences[words] += 1
    types = {name: max(found, key=found.count) for name, found in kinds.items()}
    shares = {name: kinds[name].count(kind) / occurrences[name] for name, kind in types.items()}
    scores = []
    for least in SHARES:
        kept = {name for name, share in shares.items() if share >= least}
        found = [_tags(sentence.tokens, kept, types) for sentence in dev]
        counts = entity_counts([sentence.entities for sentence in dev], found)
        scores.append(float(f1_of_counts(counts.sum(axis=0))))
    best = max(scores)
    return SHARES[scores.index(best)], best


def _tags(tokens, names, types):
    spans, start = [], 0
    while start < len(tokens):
        size = next((n for n in range(len(tokens) - start, 0, -1) if tokens[start : start + n] in names), 0)
        if size:
            spans.append((types[tokens[start : start + size]], start, start + size))
        start += max(size, 1)
    return spans_to_tags(spans, len(tokens), "BIO")


def chosen_share(*part):
    return _choice(*part)[0]


def chosen_f1(*part):
    return _choice(*part)[1]


def _kind(random):
    return str(random.choice(TYPES))


def _spans(random, num_spans, gaps=(0, 3)):
    """Entities of 1 to 4 tokens with `gaps` tokens between them."""
    spans, position = [], 0
    for _ in range(num_spans):
        start = position + int(random.integers(*gaps))
        position = start + int(random.integers(1, 5))
        spans.append((_kind(random), start, position))
    return spans


def _tagged(random, sizes):
    """BIO tags of sentences with so many tokens, an entity or two in the longer ones."""
    sentences = []
    for size in sizes:
        spans = [span for span in _spans(random, 2, (1, 4)) if span[2] <= size]
        sentences.append(spans_to_tags(spans, size, "BIO"))
    return sentences


def _uneven_sentences(random):
    return [([["B-PER"], *_tagged(random, sizes)],) for sizes in ([12, 7], [20, 3, 9], [15])]


def _neighbours(random):
    first, second = random.choice(TYPES, 2, replace=False)
    touching = [f"B-{first}", f"B-{first}", f"I-{first}", "O", f"B-{second}", f"I-{second}", f"B-{first}"]
    cases = [(touching,)]
    for _ in range(3):
        spans = _spans(random, 5, (0, 2))
        cases.append((spans_to_tags(spans, spans[-1][2], "BIO"),))
    return cases


def _strays(random):
    first, second = random.choice(TYPES, 2, replace=False)
    fixed = [f"I-{first}", "O", f"B-{second}", f"I-{first}", f"I-{first}", "O", f"I-{second}", f"I-{first}"]
    tags = ["O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in (first, second))]
    return [(fixed,), *(([str(tag) for tag in random.choice(tags, 14)],) for _ in range(3))]


def _spans_to_write(random):
    cases = [([(_kind(random), 0, 1), (_kind(random), 1, 3), (_kind(random), 3, 7)], 9)]
    for _ in range(3):
        spans = _spans(random, 4)
        cases.append((spans, spans[-1][2] + int(random.integers(0, 3))))
    return cases


def _slips(random, spans):
    """The same entities with the slips of a tagger: another type, another end, one missing."""
    found = []
    for place, (kind, start, end) in enumerate(spans):
        slip = (place + int(random.integers(0, 2))) % 4
        if slip == 0:
            found.append((TYPES[TYPES.index(kind) - 1], start, end))
        elif slip == 1 and end - start > 1:
            found.append((kind, start, end - 1))
        elif slip != 2:
            found.append((kind, start, end))
    return found


def _predictions(random):
    cases = []
    for _ in range(3):
        gold = [_spans(random, number, (0, 3)) for number in (7, 1, 3)] + [[("PER", 0, 2)], [("PER", 0, 2)]]
        predicted = [_slips(random, spans) for spans in gold[:3]] + [[("PER", 0, 2)], [("PER", 0, 1)]]
        cases.append((gold, predicted))
    return cases


def _no_right_ones(random):
    spans = _spans(random, 3)
    return [([spans, []], [[], []]), ([[], []], [[], []]), ([[]], [spans])]


def _small_crfs(random):
    return [
        (random.normal(0, 2, (num_tokens, 3)), random.normal(0, 2, (4, 4))) for num_tokens in (1, 2, 4, 5)
    ]


def _long_crfs(random):
    cases = []
    for level in (4.0, -4.0):
        cases.append((random.normal(level, 1, (350, 3)).round(3), random.normal(0, 1, (4, 4)).round(3)))
    return cases


def _legal(random, tags, scheme, num_tokens):
    allowed = allowed_transitions(tags, scheme)
    return [(random.normal(0, 1.5, (num_tokens, len(tags))), allowed) for _ in range(10)]


def _bio_paths(random):
    return _legal(random, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "BIO", 4)


def _bioes_paths(random):
    return _legal(random, ["O", "B-PER", "I-PER", "E-PER", "S-PER"], "BIOES", 4)


def _parts(random):
    return [PARTS[place] for place in random.choice(len(PARTS), 2, replace=False)]


CLOSE = 1e-6
EXERCISE = Exercise(
    datasets=("conll2003",),
    checks=(
        Check(
            "q1",
            "share-of-o",
            2,
            "accuracy_of_nothing(*args)",
            _uneven_sentences,
            accuracy_of_nothing,
            "Every token counts once: a mean of the sentences' own shares gives a token of a short sentence "
            "more weight than one of a long sentence.",
            "09_named_entities#data-counts",
            CLOSE,
        ),
        Check(
            "q2",
            "spans-neighbours",
            2,
            "read_bio(*args)",
            _neighbours,
            read_bio,
            "Two entities may touch, also two of one type, and one may end with the sentence; `end` is the "
            "position behind the last token.",
            "09_named_entities#reading-by-hand",
        ),
        Check(
            "q2",
            "spans-stray",
            1,
            "read_bio(*args)",
            _strays,
            read_bio,
            "An I- that continues nothing, or follows another type, begins an entity of its own.",
            "09_named_entities#stray",
        ),
        Check(
            "q3",
            "bioes",
            2,
            "write_bioes(*args)",
            _spans_to_write,
            write_bioes,
            "The last token of an entity is marked E, and a single token is S alone: it is neither B nor E.",
            "09_named_entities#bioes-by-hand",
        ),
        Check(
            "q4",
            "f1-entities",
            2,
            "entity_f1(*args)",
            _predictions,
            entity_f1,
            "Right, true and predicted entities are counted over the whole data set; an entity is right only "
            "in its own sentence, with its type and both ends.",
            "09_named_entities#predict-accuracy",
            CLOSE,
        ),
        Check(
            "q4",
            "f1-nothing",
            1,
            "entity_f1(*args)",
            _no_right_ones,
            entity_f1,
            "Where no entity is right, the F1 is 0, also if there is none to be found.",
            "09_named_entities#f1-by-hand",
            CLOSE,
        ),
        Check(
            "q5",
            "log-z",
            2,
            "log_partition(*args)",
            _small_crfs,
            log_partition_by_listing,
            "Log Z sums over all sequences, from the start's scores in the last row to the end's in the last "
            "column; `A[j, k]` leads from tag j to tag k.",
            "09_named_entities#forward-loop",
            CLOSE,
        ),
        Check(
            "q5",
            "log-z-long",
            1,
            "log_partition(*args)",
            _long_crfs,
            log_partition,
            "In a long sentence the sums themselves are too large or too small for a float: stay in "
            "logarithms, and take the largest exponent out before you add.",
            "09_named_entities#crf-paths-answer",
            CLOSE,
        ),
        Check(
            "q6",
            "legal-path",
            2,
            "best_legal_path(*args)",
            _bio_paths,
            best_legal_path,
            "The best sequence is not made of the best tags: a later token may change an earlier one's tag, "
            "so keep the best way to every tag and walk back from the end.",
            "09_named_entities#viterbi-by-hand",
        ),
        Check(
            "q6",
            "legal-ends",
            1,
            "best_legal_path(*args)",
            _bioes_paths,
            best_legal_path,
            "Start and end have transitions, too: in BIOES a sentence neither begins with I- or E- nor ends "
            "with B- or I-.",
            "09_named_entities#constraints-table",
        ),
        Check(
            "q7",
            "share-chosen",
            3,
            "choose_share(train_sentences[args[0]:args[1]], dev_sentences[args[2]:args[3]], "
            "[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])[0]",
            _parts,
            chosen_share,
            "The gazetteer comes from `train`, the choice from `dev`, by the F1 over all its entities rather "
            "than by token accuracy; of equal candidates the lowest counts.",
            "09_named_entities#baselines-table",
        ),
        Check(
            "q7",
            "share-f1",
            1,
            "choose_share(train_sentences[args[0]:args[1]], dev_sentences[args[2]:args[3]], "
            "[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])[1]",
            _parts,
            chosen_f1,
            "The second value is the F1 of the chosen candidate over all entities of `dev`.",
            "09_named_entities#baselines-table",
            CLOSE,
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "mean of the sentences' shares",
            "q1",
            "def accuracy_of_nothing(tags):\n"
            '    return float(np.mean([sentence.count("O") / len(sentence) for sentence in tags]))\n',
            "share-of-o",
        ),
        WrongAnswer(
            "adjacent entities of one type merged",
            "q2",
            "def read_bio(tags):\n"
            "    found, position = [], 0\n"
            "    for kind, group in itertools.groupby(tags, key=lambda tag: tag[2:]):\n"
            "        end = position + len(list(group))\n"
            "        if kind:\n"
            "            found.append((kind, position, end))\n"
            "        position = end\n"
            "    return found\n",
            "spans-neighbours",
        ),
        WrongAnswer(
            "I- without B- dropped",
            "q2",
            "def read_bio(tags):\n"
            "    found = []\n"
            "    for start, tag in enumerate(tags):\n"
            '        if tag[0] == "B":\n'
            "            end = start + 1\n"
            '            while end < len(tags) and tags[end] == "I" + tag[1:]:\n'
            "                end += 1\n"
            "            found.append((tag[2:], start, end))\n"
            "    return found\n",
            "spans-stray",
        ),
        WrongAnswer(
            "entity at the end of the sentence lost",
            "q2",
            "def read_bio(tags):\n"
            "    found, start = [], None\n"
            "    for position, tag in enumerate(tags):\n"
            '        goes_on = start is not None and tag == "I-" + tags[start][2:]\n'
            "        if start is not None and not goes_on:\n"
            "            found.append((tags[start][2:], start, position))\n"
            "            start = None\n"
            '        if tag != "O" and not goes_on:\n'
            "            start = position\n"
            "    return found\n",
            "spans-neighbours",
        ),
        WrongAnswer(
            "single token begins an entity that never ends",
            "q3",
            "def write_bioes(spans, num_tokens):\n"
            '    tags = ["O"] * num_tokens\n'
            "    for kind, start, end in spans:\n"
            '        tags[start:end] = [f"I-{kind}"] * (end - start)\n'
            '        tags[end - 1] = f"E-{kind}"\n'
            '        tags[start] = f"B-{kind}"\n'
            "    return tags\n",
            "bioes",
        ),
        WrongAnswer(
            "F1 of each sentence, then the mean",
            "q4",
            "def entity_f1(gold, predicted):\n"
            "    values = []\n"
            "    for true, found in zip(gold, predicted, strict=True):\n"
            "        right, total = len(set(true) & set(found)), len(true) + len(found)\n"
            "        values.append(2 * right / total if total else 0.0)\n"
            "    return float(np.mean(values))\n",
            "f1-entities",
        ),
        WrongAnswer(
            "tokens counted instead of entities",
            "q4",
            "def entity_f1(gold, predicted):\n"
            "    def tokens(sentences):\n"
            "        return {\n"
            "            (number, kind, position)\n"
            "            for number, spans in enumerate(sentences)\n"
            "            for kind, start, end in spans\n"
            "            for position in range(start, end)\n"
            "        }\n\n"
            "    true, found = tokens(gold), tokens(predicted)\n"
            "    total = len(true) + len(found)\n"
            "    return 2 * len(true & found) / total if total else 0.0\n",
            "f1-entities",
        ),
        WrongAnswer(
            "start and end without scores",
            "q5",
            "def log_partition(logits, A):\n"
            "    alpha = logits[0]\n"
            "    for row in logits[1:]:\n"
            "        alpha = row + np.logaddexp.reduce(alpha[:, None] + A[:-1, :-1], axis=0)\n"
            "    return float(np.logaddexp.reduce(alpha))\n",
            "log-z",
        ),
        WrongAnswer(
            "sums not kept in logarithms",
            "q5",
            "def log_partition(logits, A):\n"
            "    sums = np.exp(A[-1, :-1] + logits[0])\n"
            "    for row in logits[1:]:\n"
            "        sums = np.exp(row) * (sums @ np.exp(A[:-1, :-1]))\n"
            "    return float(np.log(sums @ np.exp(A[:-1, -1])))\n",
            "log-z-long",
        ),
        WrongAnswer(
            "best tag of each token",
            "q6",
            "def best_legal_path(logits, allowed):\n    return [int(tag) for tag in logits.argmax(axis=1)]\n",
            "legal-path",
        ),
        WrongAnswer(
            "best allowed tag, from left to right",
            "q6",
            "def best_legal_path(logits, allowed):\n"
            "    path = [-1]\n"
            "    for row in logits:\n"
            "        path.append(int(np.where(allowed[path[-1], :-1], row, -np.inf).argmax()))\n"
            "    return path[1:]\n",
            "legal-path",
        ),
        WrongAnswer(
            "end of the sentence free",
            "q6",
            "def best_legal_path(logits, allowed):\n"
            "    A = np.where(allowed, 0.0, -1e4)\n"
            "    best, came_from = A[-1, :-1] + logits[0], []\n"
            "    for row in logits[1:]:\n"
            "        candidates = best[:, None] + A[:-1, :-1]\n"
            "        came_from.append(candidates.argmax(axis=0))\n"
            "        best = candidates.max(axis=0) + row\n"
            "    path = [int(best.argmax())]\n"
            "    for origins in reversed(came_from):\n"
            "        path.append(int(origins[path[-1]]))\n"
            "    return path[::-1]\n",
            "legal-ends",
        ),
        WrongAnswer(
            "chosen on the training sentences",
            "q7",
            "def choose_share(train, dev, candidates):\n"
            "    gazetteer, scores = build_gazetteer(train), []\n"
            "    for candidate in candidates:\n"
            "        types = {name: kind for name, (kind, s) in gazetteer.items() if s >= candidate}\n"
            "        predicted = [look_up(sentence.tokens, types) for sentence in train]\n"
            "        counts = entity_counts([sentence.entities for sentence in train], predicted)\n"
            "        scores.append(float(f1_of_counts(counts.sum(axis=0))))\n"
            "    best = int(np.argmax(scores))\n"
            "    return candidates[best], scores[best]\n",
            "share-chosen",
        ),
        WrongAnswer(
            "chosen by token accuracy",
            "q7",
            "def choose_share(train, dev, candidates):\n"
            "    gazetteer, scores, accuracies = build_gazetteer(train), [], []\n"
            "    gold = [sentence.entities for sentence in dev]\n"
            "    for candidate in candidates:\n"
            "        types = {name: kind for name, (kind, s) in gazetteer.items() if s >= candidate}\n"
            "        predicted = [look_up(sentence.tokens, types) for sentence in dev]\n"
            "        scores.append(float(f1_of_counts(entity_counts(gold, predicted).sum(axis=0))))\n"
            "        pairs = zip(itertools.chain(*gold), itertools.chain(*predicted), strict=True)\n"
            "        accuracies.append(np.mean([true == found for true, found in pairs]))\n"
            "    best = int(np.argmax(accuracies))\n"
            "    return candidates[best], scores[best]\n",
            "share-chosen",
        ),
    ),
)
