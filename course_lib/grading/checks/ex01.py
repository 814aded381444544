"""Checks of exercise 01: cleaning, Unicode, unknown words, truncation, padding, copies, vocabulary size."""

import bisect
import functools
import re
import unicodedata
from html.parser import HTMLParser

import numpy as np

from course_lib.data import load_rotten_tomatoes
from course_lib.data.splits import duplicate_key
from course_lib.grading.checks import Check, Exercise, WrongAnswer
from course_lib.text import Vocabulary, pad
from course_lib.text import truncate as course_truncate

_WORDS = ["film", "plot", "story", "actor", "scene", "music", "script", "ending", "sequel", "comedy"]


class _Reader(HTMLParser):
    """What a browser would show: the text, with white space where a tag stood."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts = []

    def handle_data(self, data):
        self.parts.append(data)

    def handle_starttag(self, tag, attrs):
        self.parts.append(" ")

    def handle_endtag(self, tag):
        self.parts.append(" ")


def clean(text):
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return " ".join("".join(reader.parts).split())


def sameness(first, second):
    """By the decomposed forms, which are equal exactly if the composed ones are."""
    if first == second:
        return "identical"
    equal = {
        form: len({unicodedata.normalize(form, text) for text in (first, second)}) == 1 for form in _FORMS
    }
    return next((_FORMS[form] for form in _FORMS if equal[form]), "different")


_FORMS = {"NFD": "NFC", "NFKD": "NFKC"}


def oov_rate(train_texts, new_texts, max_words):
    vocabulary = Vocabulary.build(train_texts, max_size=max_words + 2)
    return float(np.mean([token not in vocabulary for tokens in new_texts for token in tokens]))


def truncate(ids, max_length, how):
    return course_truncate(ids, max_length, how)


def padding_share(lengths, bucket_lengths):
    """Builds the arrays and counts their zeros."""
    groups = {}
    for length in lengths:
        groups.setdefault(bisect.bisect_left(bucket_lengths, length), []).append([7] * length)
    arrays = [pad(texts, bucket_lengths[bucket]) for bucket, texts in groups.items()]
    return float(sum((array == 0).sum() for array in arrays) / sum(array.size for array in arrays))


def leaked(train_texts, test_texts):
    seen = set(map(duplicate_key, train_texts))
    return [position for position, text in enumerate(test_texts) if duplicate_key(text) in seen]


def smallest_vocabulary(train_texts, held_out_texts, max_oov):
    """Tries all sizes, the smallest first."""
    ranked = Vocabulary.build(text.split() for text in train_texts).tokens[2:]
    held_out = np.array([token for text in held_out_texts for token in text.split()])
    rank_of = {token: rank for rank, token in enumerate(ranked)}
    ranks = np.array([rank_of.get(token, len(ranked)) for token in held_out])
    rates = ((size, np.mean(ranks >= size)) for size in range(len(ranked) + 1))
    return next((size for size, rate in rates if rate <= max_oov), None)


@functools.cache
def _sentences():
    return [sentence.text for sentence in load_rotten_tomatoes() if sentence.text.isascii()]


def _some_sentences(random, num):
    return [_sentences()[index] for index in random.choice(len(_sentences()), num, replace=False)]


def _some_words(random, num):
    return [str(word) for word in random.choice(_WORDS, num, replace=False)]


def _markup(random):
    a, b, c = _some_words(random, 3)
    return [
        (f"<p>the {a}</p><p>the {b}</p>",),
        (f"  the {a}<br /><br />and the <i>{b}</i>\n\t&eacute;t&eacute; &amp; {c}!",),
        (f"i <3 the {a} ;-)",),
    ]


def _escaped_markup(random):
    a, b, c = _some_words(random, 3)
    return [
        (f"write &lt;b&gt; before the {a}, not &lt;i&gt;",),
        (f"the {a}&nbsp;&nbsp;has &lt;{b}&gt; in <b>its</b> title",),
        (f"&nbsp;the {b} of the {c}&nbsp;",),
    ]


def _composed(random):
    a, b = _some_words(random, 2)
    return [(f"na\u00efve {a}", f"nai\u0308ve {a}"), (f"caf\u00e9 {b}", f"cafe\u0301 {b}"), (a, a)]


def _folded(random):
    a, b = _some_words(random, 2)
    return [
        (f"a \ufb01ne {a}", f"a fine {a}"),
        (f"{a}\u00a0{b}", f"{a} {b}"),
        (f"\uff21 {a}", f"A {a}"),
        (f"na\u00efve {a}", f"naive {a}"),
        (f"{a}\u2019s {b}", f"{a}'s {b}"),
        (f"x\u00b2 e\u0301 {b}", f"x2 \u00e9 {b}"),
    ]


def _skewed_texts(random, num_texts, num_words):
    """Texts of lower-case words in which low numbers are frequent."""
    lengths = random.integers(3, 12, num_texts)
    ranks = [np.minimum(random.geometric(0.15, length), num_words) for length in lengths]
    return [[f"w{rank:02d}" for rank in row.tolist()] for row in ranks]


def _oov_texts(random):
    rare = [[f"new{index}"] * 3 for index in range(2)]
    return [(_skewed_texts(random, 6, 20), _skewed_texts(random, 8, 40) + rare, 1_000) for _ in range(3)]


def _oov_limited(random):
    tied = [["pear", "apple", "fig", "plum"], ["film", "film", "film"]]
    new = [["apple", "fig", "plum", "pear", "pear", "film"][: 4 + index] for index in range(3)]
    return [(tied, new, size) for size in (1, 2, 3)] + [
        (_skewed_texts(random, 10, 30), _skewed_texts(random, 8, 40), int(size))
        for size in random.integers(3, 9, 2)
    ]


def _ids(random, num):
    return random.integers(2, 1_000, num).tolist()


def _even_lengths(random):
    return [
        (_ids(random, 12), limit, how)
        for limit in (2, int(2 * random.integers(2, 5)))
        for how in ("head", "tail", "head_tail")
    ]


def _odd_lengths(random):
    return [(_ids(random, 12), int(limit), "head_tail") for limit in (3, 2 * random.integers(2, 5) + 1)]


def _edge_lengths(random):
    long_text = [(_ids(random, 5), 1, how) for how in ("head_tail", "tail", "head")]
    return long_text + [
        (_ids(random, num), limit, how)
        for num, limit in ((0, 4), (3, 4), (5, 5))
        for how in ("head", "tail", "head_tail")
    ]


def _lengths(random):
    cases = []
    for bucket_lengths in ([40], [8, 16, 24, 40], [10, 40]):
        lengths = random.integers(1, 40, 12).tolist()
        cases.append(([length for length in lengths if length not in bucket_lengths], bucket_lengths))
    return cases


def _full_buckets(random):
    small, large = (int(8 * factor) for factor in (random.integers(1, 4), random.integers(5, 8)))
    return [([small, large, small - 1, large - 2], [small, large]), ([large] * 3, [small, large])]


def _respelled(sentence, random):
    """The same sentence as somebody else would type it."""
    joined = re.sub(r" ([.,!?;:])", r"\1", sentence)
    others = (
        joined.capitalize(),
        joined.upper(),
        joined.replace("-", " ").title(),
        sentence.replace(" ", "  "),
        f'"{joined}"',
    )
    return others[random.integers(len(others))]


def _exact_copies(random):
    sentences = _some_sentences(random, 90)
    return [(sentences[:60], sentences[50:])]


def _respelled_copies(random):
    sentences = _some_sentences(random, 80)
    train = [_respelled(sentence, random) for sentence in sentences[:50]] + ["Not good, bad.", "a film"]
    changed = [sentence.split() for sentence in sentences[:3]]
    test = [*sentences[40:], *(" ".join([*words[1:], words[0]]) for words in changed), "bad , not good ."]
    return [(train, [test[index] for index in random.permutation(len(test))])]


def _splits_of_sentences(random):
    sentences = _some_sentences(random, 260)
    # Rates that no count of these tokens meets exactly, so that rounding cannot decide.
    return [(sentences[:200], sentences[200:], max_oov) for max_oov in (0.6003, 0.4507, 0.3511)]


def _unreachable(random):
    sentences = _some_sentences(random, 90)
    return [(sentences[:60], sentences[60:], 0.01), (sentences[:60], sentences[60:], 1.0)]


CLOSE = 1e-9
EXERCISE = Exercise(
    checks=(
        Check(
            "q1",
            "markup",
            1,
            "clean(*args)",
            _markup,
            clean,
            "A tag leaves a space, and all runs of white space must have become one space at the very end.",
            "01_preprocessing#clean-steps",
        ),
        Check(
            "q1",
            "escaped-markup",
            1,
            "clean(*args)",
            _escaped_markup,
            clean,
            "A text that writes about a tag (&lt;b&gt;) keeps it: tags go before entities are unescaped. An "
            "entity may also stand for white space.",
            "01_preprocessing#order-answer",
        ),
        Check(
            "q2",
            "composed",
            1,
            "sameness(*args)",
            _composed,
            sameness,
            "A letter with an accent, in one character or in two, is the same text in NFC already.",
            "01_preprocessing#raw-reading",
        ),
        Check(
            "q2",
            "folded",
            1,
            "sameness(*args)",
            _folded,
            sameness,
            "NFKC also folds ligatures, wide letters and special spaces, but no form removes an accent or "
            "straightens a quote.",
            "01_preprocessing#raw-reading",
        ),
        Check(
            "q3",
            "oov-rate",
            2,
            "oov_rate(*args)",
            _oov_texts,
            oov_rate,
            "The vocabulary is made from the training texts alone, and every new token counts, repeated ones "
            "as often as they occur.",
            "01_preprocessing#oov-reading",
            CLOSE,
        ),
        Check(
            "q3",
            "oov-limited",
            1,
            "oov_rate(*args)",
            _oov_limited,
            oov_rate,
            "Only the most frequent training words are known; ties are broken by spelling.",
            "01_preprocessing#vocabulary-plain",
            CLOSE,
        ),
        Check(
            "q4",
            "truncation-even",
            1,
            "truncate(*args)",
            _even_lengths,
            truncate,
            "Head keeps the beginning, tail the end, head_tail half from each. A tail of no token is empty, "
            "but ids[-0:] is everything.",
            "01_preprocessing#truncation-edges",
        ),
        Check(
            "q4",
            "truncation-odd",
            1,
            "truncate(*args)",
            _odd_lengths,
            truncate,
            "Of an odd length the head gets one token more than the tail.",
            "01_preprocessing#truncation-edges-code",
        ),
        Check(
            "q4",
            "truncation-edges",
            1,
            "truncate(*args)",
            _edge_lengths,
            truncate,
            "A text that fits stays as it is, no token twice; a length of 1 leaves one token.",
            "01_preprocessing#truncation-edges",
        ),
        Check(
            "q5",
            "padding-share",
            1,
            "padding_share(*args)",
            _lengths,
            padding_share,
            "The share is that of all time steps together: padded steps divided by all steps, padding "
            "included.",
            "01_preprocessing#buckets-tiny",
            CLOSE,
        ),
        Check(
            "q5",
            "full-buckets",
            1,
            "padding_share(*args)",
            _full_buckets,
            padding_share,
            "A text that is exactly as long as a bucket belongs in it.",
            "01_preprocessing#buckets-why",
            CLOSE,
        ),
        Check(
            "q6",
            "exact-copies",
            1,
            "leaked(*args)",
            _exact_copies,
            leaked,
            "The answer is the list of positions among the test texts, from 0.",
            "01_preprocessing#leak-exact",
        ),
        Check(
            "q6",
            "respelled-copies",
            2,
            "leaked(*args)",
            _respelled_copies,
            leaked,
            "Case, white space and punctuation do not make another text; the order of the letters does.",
            "01_preprocessing#leak-exact",
        ),
        Check(
            "q7",
            "vocabulary-size",
            3,
            "smallest_vocabulary(*args)",
            _splits_of_sentences,
            smallest_vocabulary,
            "The training texts alone rank the words, the held-out texts alone decide how many are enough, "
            "and every held-out token counts.",
            "01_preprocessing#oov-curves",
        ),
        Check(
            "q7",
            "vocabulary-unreachable",
            1,
            "smallest_vocabulary(*args)",
            _unreachable,
            smallest_vocabulary,
            "Really new text holds words that no training text has, so a small rate may be out of reach; a "
            "rate of 1 needs no word at all.",
            "01_preprocessing#oov-reading",
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "entities before tags",
            "q1",
            "def clean(text):\n    return collapse_whitespace(strip_html(unescape_entities(text)))\n",
            "escaped-markup",
        ),
        WrongAnswer(
            "NFKC tried before NFC",
            "q2",
            "def sameness(first, second):\n"
            "    if first == second:\n"
            '        return "identical"\n'
            '    for form in ("NFKC", "NFC"):\n'
            "        if unicodedata.normalize(form, first) == unicodedata.normalize(form, second):\n"
            "            return form\n"
            '    return "different"\n',
            "composed",
        ),
        WrongAnswer(
            "accents taken for a matter of the Unicode form",
            "q2",
            "def sameness(first, second):\n"
            "    def letters(form, text):\n"
            "        decomposed = unicodedata.normalize(form, text)\n"
            '        return "".join(c for c in decomposed if not unicodedata.combining(c))\n'
            "\n"
            "    if first == second:\n"
            '        return "identical"\n'
            '    if letters("NFD", first) == letters("NFD", second):\n'
            '        return "NFC"\n'
            '    return "NFKC" if letters("NFKD", first) == letters("NFKD", second) else "different"\n',
            "folded",
        ),
        WrongAnswer(
            "vocabulary made on training and new texts",
            "q3",
            "def oov_rate(train_texts, new_texts, max_words):\n"
            "    counts = Counter(token for tokens in train_texts + new_texts for token in tokens)\n"
            "    known = set(sorted(counts, key=lambda token: (-counts[token], token))[:max_words])\n"
            "    new_tokens = [token for tokens in new_texts for token in tokens]\n"
            "    return sum(token not in known for token in new_tokens) / len(new_tokens)\n",
            "oov-rate",
        ),
        WrongAnswer(
            "distinct words counted instead of running tokens",
            "q3",
            "def oov_rate(train_texts, new_texts, max_words):\n"
            "    counts = Counter(token for tokens in train_texts for token in tokens)\n"
            "    known = set(sorted(counts, key=lambda token: (-counts[token], token))[:max_words])\n"
            "    new_words = {token for tokens in new_texts for token in tokens}\n"
            "    return len(new_words - known) / len(new_words)\n",
            "oov-rate",
        ),
        WrongAnswer(
            "ties in the order of first occurrence",
            "q3",
            "def oov_rate(train_texts, new_texts, max_words):\n"
            "    counts = Counter(token for tokens in train_texts for token in tokens)\n"
            "    known = {token for token, _ in counts.most_common(max_words)}\n"
            "    new_tokens = [token for tokens in new_texts for token in tokens]\n"
            "    return sum(token not in known for token in new_tokens) / len(new_tokens)\n",
            "oov-limited",
        ),
        WrongAnswer(
            "a tail of nothing taken for everything",
            "q4",
            "def truncate(ids, max_length, how):\n"
            "    if len(ids) <= max_length:\n"
            "        return list(ids)\n"
            '    num_tail = {"head": 0, "tail": max_length, "head_tail": max_length // 2}[how]\n'
            "    return ids[: max_length - num_tail] + ids[-num_tail:]\n",
            "truncation-even",
        ),
        WrongAnswer(
            "short texts doubled",
            "q4",
            "def truncate(ids, max_length, how):\n"
            '    if how == "head":\n'
            "        return ids[:max_length]\n"
            '    if how == "tail":\n'
            "        return ids[-max_length:]\n"
            "    num_tail = max_length // 2\n"
            "    return ids[: max_length - num_tail] + ids[max(0, len(ids) - num_tail) :]\n",
            "truncation-edges",
        ),
        WrongAnswer(
            "mean of the shares of the texts",
            "q5",
            "def padding_share(lengths, bucket_lengths):\n"
            "    sizes = [min(size for size in bucket_lengths if size >= length) for length in lengths]\n"
            "    shares = [1 - length / size for length, size in zip(lengths, sizes, strict=True)]\n"
            "    return sum(shares) / len(shares)\n",
            "padding-share",
        ),
        WrongAnswer(
            "full bucket taken for too short",
            "q5",
            "def padding_share(lengths, bucket_lengths):\n"
            "    last = bucket_lengths[-1]\n"
            "    sizes = [next((size for size in bucket_lengths if size > n), last) for n in lengths]\n"
            "    return 1 - sum(lengths) / sum(sizes)\n",
            "full-buckets",
        ),
        WrongAnswer(
            "only equal strings counted as copies",
            "q6",
            "def leaked(train_texts, test_texts):\n"
            "    seen = set(train_texts)\n"
            "    return [position for position, text in enumerate(test_texts) if text in seen]\n",
            "respelled-copies",
        ),
        WrongAnswer(
            "words ranked by the held-out texts",
            "q7",
            "def smallest_vocabulary(train_texts, held_out_texts, max_oov):\n"
            "    train = {token for text in train_texts for token in text.split()}\n"
            "    held_out = Counter(token for text in held_out_texts for token in text.split())\n"
            "    ranked = sorted(train, key=lambda token: (-held_out[token], token))\n"
            "    unknown = total = held_out.total()\n"
            '    for size, token in enumerate(["", *ranked]):\n'
            "        unknown -= held_out[token]\n"
            "        if unknown <= max_oov * total:\n"
            "            return size\n"
            "    return None\n",
            "vocabulary-size",
        ),
        WrongAnswer(
            "coverage measured on the training texts",
            "q7",
            "def smallest_vocabulary(train_texts, held_out_texts, max_oov):\n"
            "    counts = Counter(token for text in train_texts for token in text.split())\n"
            "    ranked = sorted(counts, key=lambda token: (-counts[token], token))\n"
            "    unknown = total = counts.total()\n"
            '    for size, token in enumerate(["", *ranked]):\n'
            "        unknown -= counts[token]\n"
            "        if unknown <= max_oov * total:\n"
            "            return size\n"
            "    return None\n",
            "vocabulary-size",
        ),
        WrongAnswer(
            "all training words returned where none are enough",
            "q7",
            "def smallest_vocabulary(train_texts, held_out_texts, max_oov):\n"
            "    counts = Counter(token for text in train_texts for token in text.split())\n"
            "    ranked = sorted(counts, key=lambda token: (-counts[token], token))\n"
            "    held_out = Counter(token for text in held_out_texts for token in text.split())\n"
            "    unknown = total = held_out.total()\n"
            "    for size, token in enumerate(ranked):\n"
            "        if unknown <= max_oov * total:\n"
            "            return size\n"
            "        unknown -= held_out[token]\n"
            "    return len(ranked)\n",
            "vocabulary-unreachable",
        ),
    ),
    datasets=("rotten_tomatoes",),
)
