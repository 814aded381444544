"""Free text to entities: offsets, probabilities, windows; with a network that knows a few names."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.serving.entities import BATCH_SIZE, OVERLAP, WINDOW, find_entities
from course_lib.text import Vocabulary, sentence_spans
from course_lib.text.features import TaggingEncoder
from course_lib.text.news import news_token_spans

NAMES = {
    "anna": "PER",
    "lee": "PER",
    "o'brien": "PER",
    "rome": "LOC",
    "u.s.": "LOC",
    "acme": "ORG",
    "corp.": "ORG",
}
BIO = ["O", *(f"{prefix}-{kind}" for kind in ("LOC", "ORG", "PER") for prefix in "BI")]
BIOES = ["O", *(f"{prefix}-{kind}" for kind in ("LOC", "ORG", "PER") for prefix in "BIES")]


def make(tags, scheme, context_length=1):
    words, characters = Vocabulary(list(NAMES)), Vocabulary(list("abc"))
    encoder = TaggingEncoder(words, characters, tags, scheme, context_length=context_length)

    def score_tokens(features):
        """Each known word gets 3 for every tag of its type, every other word 3 for O."""
        ids = features["token_ids"]
        logits = np.zeros((*ids.shape, len(tags)), dtype=np.float32)
        for row, step in np.ndindex(ids.shape):
            kind = NAMES.get(encoder.words.tokens[ids[row, step]])
            for index, tag in enumerate(tags):
                logits[row, step, index] = 3.0 if tag[2:] == (kind or "") else 0.0
        return logits

    # Going on within an entity is worth 1.
    transitions = np.zeros((len(tags) + 1,) * 2)
    for one, two in itertools.product(range(len(tags)), repeat=2):
        transitions[one, two] = tags[one][2:] == tags[two][2:] != "" and tags[two][0] in "IE"
    return encoder, score_tokens, transitions


BOTH = pytest.mark.parametrize("encoder, score_tokens, transitions", [make(BIO, "BIO"), make(BIOES, "BIOES")])

TEXT = (
    "ROME (Reuters) - Anna Lee didn't visit Rome's centre.\n\n"
    '"Acme Corp. pays," O\'Brien said in the U.S. on 1996-08-22. Lee left.'
)


@BOTH
def test_entities_by_hand(encoder, score_tokens, transitions):
    entities = find_entities(TEXT, score_tokens, encoder, transitions)
    assert [(entity.text, entity.type) for entity in entities] == [
        ("ROME", "LOC"),
        ("Anna Lee", "PER"),
        ("Rome", "LOC"),
        ("Acme Corp.", "ORG"),
        ("O'Brien", "PER"),
        ("U.S.", "LOC"),
        ("Lee", "PER"),
    ]
    for entity in entities:
        assert TEXT[entity.start : entity.end] == entity.text
        assert 0.5 < entity.probability <= 1


@BOTH
@pytest.mark.parametrize("text", ["", "   \n\n", "\x00", "...", "—", "\ud800"])
def test_text_without_words_has_no_entities(encoder, score_tokens, transitions, text):
    assert find_entities(text, score_tokens, encoder, transitions) == []


@pytest.mark.parametrize("tags, scheme", [(BIO, "BIO"), (BIOES, "BIOES")])
def test_probability_is_the_share_of_all_tag_sequences_that_hold_the_entity(tags, scheme):
    encoder, score_tokens, transitions = make(tags, scheme)
    text = "Anna Lee left"
    (entity,) = find_entities(text, score_tokens, encoder, transitions)
    logits = score_tokens({"token_ids": encoder.encode(text.split())["token_ids"][None]})[0]
    begin, last = ("B-PER", "I-PER") if scheme == "BIO" else ("B-PER", "E-PER")
    total = held = 0.0
    for path in itertools.product(range(len(tags)), repeat=3):
        steps = list(itertools.pairwise([-1, *path, -1]))
        if not all(encoder.allowed[step] for step in steps):
            continue
        weight = np.exp(sum(transitions[step] for step in steps) + logits[range(3), path].sum())
        total += weight
        if [tags[path[0]], tags[path[1]]] == [begin, last] and tags[path[2]] != "I-PER":
            held += weight
    assert entity.probability == pytest.approx(held / total, abs=1e-6)


def test_a_softmax_tagger_needs_no_transitions():
    encoder, score_tokens, _ = make(BIO, "BIO")
    (entity,) = find_entities("Rome burns", score_tokens, encoder)
    # LOC or no LOC for the first token, 2 tags of 3.0 of which only B- may begin; the second is no I-LOC.
    begins, others = np.exp(3), 1 + 2  # O, and B- of the two other types
    follow = {"O": np.exp(3), "B": 3, "I": 1}  # for the second token: O; three B-; the I- of the first's type
    after_b, after_o = sum(follow.values()), follow["O"] + follow["B"]
    total = begins * after_b + 1 * after_o + 2 * after_b
    assert others == 3
    assert entity.probability == pytest.approx(begins * after_o / total, rel=1e-6)


pieces = st.lists(
    st.sampled_from(
        [*NAMES, "Anna", "Rome", "-", "...", "said", "'s", "\n", "\n\n", "1.", "é", "😀", '"', "."]
    )
)


@settings(max_examples=60, deadline=None)
@given(words=pieces, separator=st.sampled_from([" ", "  ", ""]))
def test_offsets_are_exact_and_entities_do_not_overlap(words, separator):
    encoder, score_tokens, transitions = make(BIOES, "BIOES")
    text = separator.join(words)
    entities = find_entities(text, score_tokens, encoder, transitions)
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)
    assert all(one.end <= two.start for one, two in itertools.pairwise(entities))
    assert all(0 <= entity.probability <= 1 for entity in entities)


@pytest.mark.parametrize("context_length", [1, 40, 1000])
def test_long_sentences_go_through_windows_and_every_token_is_scored_once(context_length):
    """A sentence of 700 words; the network answers with what it sees around a token."""
    words = ["word"] * 700
    for place in (0, 94, 96, 98, 300, 699):
        words[place] = "Rome"
    text = " ".join(words) + ". Anna left. Rome burns."
    encoder, score_tokens, transitions = make(BIOES, "BIOES", context_length)
    shapes = []

    def watched(features):
        shapes.append(features["token_ids"].shape)
        assert {name: values.shape[:2] for name, values in features.items()} == dict.fromkeys(
            features, shapes[-1]
        )
        return score_tokens(features)

    entities = find_entities(text, watched, encoder, transitions)
    found = [(entity.start, entity.end) for entity in entities if entity.text == "Rome"]
    expected = [5 * place for place in (0, 94, 96, 98, 300, 699)]
    assert [start for start, _ in found][:6] == expected
    assert [entity.text for entity in entities][-2:] == ["Anna", "Rome"]
    assert max(time for _, time in shapes) <= max(WINDOW, context_length)
    assert max(rows for rows, _ in shapes) <= BATCH_SIZE


def test_a_token_has_its_neighbours_in_every_window():
    """The network sees OVERLAP tokens on both sides of each token that it is asked about."""
    encoder, _, _ = make(BIO, "BIO")
    text = " ".join(["Rome" if index % 7 == 0 else "word" for index in range(1000)])
    spans = news_token_spans(text)
    assert len(sentence_spans(text)) == 1 and len(spans) == 1000

    def score_by_neighbour(features):
        """LOC where OVERLAP tokens back there is Rome: wrong at a window's edge without context."""
        ids = features["token_ids"]
        back = np.pad(ids, ((0, 0), (OVERLAP, 0)))[:, : ids.shape[1]]
        logits = np.zeros((*ids.shape, len(BIO)))
        logits[..., 0] = 1
        logits[..., BIO.index("B-LOC")] = 2 * (back == encoder.words.encode(["rome"])[0])
        return logits

    starts = {entity.start for entity in find_entities(text, score_by_neighbour, encoder)}
    assert starts == {spans[index + OVERLAP][0] for index in range(0, 1000 - OVERLAP, 7)}


HUNDRED_THOUSAND = """
import re
import numpy as np
from course_lib.serving.entities import find_entities
from course_lib.text import Vocabulary
from course_lib.text.features import TaggingEncoder

encoder = TaggingEncoder(Vocabulary(["rome"]), Vocabulary(["a"]), ["O", "B-LOC", "I-LOC"], "BIO")
largest = 0

def score_tokens(features):
    global largest
    largest = max(largest, features["token_ids"].size)
    return 5.0 * np.eye(3)[(features["token_ids"] == 2).astype(int)]

text = "Anna Lee went to Rome and came back today . " * 5_000 + "word " * 50_000
num_entities = len(find_entities(text, score_tokens, encoder))
print(num_entities, largest, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_a_hundred_thousand_tokens_in_bounded_memory():
    """Half of them in one sentence. Peak memory of the process in KiB, the network's own left out."""
    output = subprocess.run(
        [sys.executable, "-c", HUNDRED_THOUSAND], capture_output=True, text=True, check=True
    ).stdout
    num_entities, largest_batch, peak = map(int, output.split())
    assert num_entities == 5_000
    assert largest_batch <= BATCH_SIZE * WINDOW
    assert peak < 500_000
