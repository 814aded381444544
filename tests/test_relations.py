"""Patterns against spelled-out regular expressions, candidates and matching by hand, labels, bad input."""

import json
import re
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import relations
from course_lib.data import load_conll2003
from course_lib.errors import CourseError, UsageError
from course_lib.relations import (
    LABELS,
    NEAREST,
    Confidence,
    Relation,
    RelationExtractor,
    Sentence,
    candidates,
    count_phrases,
    features,
    fit_confidence,
    is_negated,
    labelling_sample,
    load_relation_labels,
    main_word,
    matching_key,
    normalize_phrase,
    relation_counts,
    relation_phrases,
    sentence_hash,
)
from course_lib.text.tagging import EntitySpan, entity_spans

FIELDS = {
    "split",
    "valid",
    "test",
    "sentence",
    "sha",
    "part",
    "development",
    "unseen",
    "labelling",
    "relations",
}
FIELDS |= {
    "subject",
    "phrase",
    "verb",
    "object",
    "kind",
    "noun",
    "notes",
    "gap",
    "first",
    "passive",
    "reported",
}
TAGS = [
    "MD",
    "VB",
    "VBD",
    "VBN",
    "RP",
    "RB",
    "RBR",
    "NN",
    "NNP",
    "JJ",
    "PRP$",
    "DT",
    "CD",
    "IN",
    "TO",
    "WP",
    ",",
    "PDT",
]


def sentence(line, *entities):
    """From `word/TAG` pairs and (type, start, end)."""
    tokens, pos = zip(*(pair.rsplit("/", 1) for pair in line.split()), strict=True)
    return Sentence(tokens, pos, tuple(EntitySpan(*entity) for entity in entities))


KENT = sentence(
    "Kent/NNP ,/, who/WP lost/VBD to/TO Essex/NNP ,/, have/VBP not/RB beaten/VBN Surrey/NNP at/IN home/NN "
    "in/IN Canterbury/NNP ./.",
    ("ORG", 0, 1),
    ("ORG", 5, 6),
    ("ORG", 10, 11),
    ("LOC", 14, 15),
)
KENT_, ESSEX, SURREY, CANTERBURY = KENT.entities


@pytest.fixture(scope="module")
def valid():
    return load_conll2003("valid")


def letters(tags, entities):
    """The pattern's alphabet, tag by tag, written out apart from the package."""
    kinds = {"MD": "m", "RP": "r", "IN": "p", "TO": "p", "DT": "w", "CD": "w"}
    spelled = []
    for tag in tags:
        prefix = {"VB": "v", "RB": "a", "NN": "w", "JJ": "w", "PR": "w"}.get(tag[:2], ".")
        spelled.append(kinds.get(tag, prefix))
    for _, start, end in entities:
        spelled[start:end] = "E" * (end - start)
    return "".join(spelled)


@pytest.mark.parametrize(
    ("pattern", "expression"),
    [
        ("paper", r"(?:[mv]r?a?(?:[wa]*[pr])?)+"),
        ("long", r"(?:[mv]r?a?(?:[wa]*[pr])*)+"),
    ],
)
@given(st.lists(st.sampled_from(TAGS), min_size=1, max_size=14), st.integers(0, 13))
@settings(max_examples=150, deadline=None)
def test_chunker_finds_what_the_regular_expression_finds(pattern, expression, tags, place):
    entities = (EntitySpan("PER", place, place + 1),) if place < len(tags) else ()
    found = relation_phrases(Sentence(("x",) * len(tags), tuple(tags), entities), pattern)
    spelled = letters(tags, entities)
    assert found == [match.span() for match in re.finditer(expression, spelled) if "v" in match.group()]


def test_patterns_on_a_sentence():
    walk = sentence(
        "Ruiz/NNP walked/VBD quickly/RB through/IN the/DT gates/NNS of/IN Telia/NNP",
        ("PER", 0, 1),
        ("ORG", 7, 8),
    )
    assert relation_phrases(walk, "paper") == [(1, 4)]
    assert relation_phrases(walk, "long") == [(1, 7)]
    assert relation_phrases(sentence("It/PRP must/MD ./.")) == []
    assert relation_phrases(Sentence((), (), ())) == []
    with pytest.raises(UsageError, match="Did you mean 'long'"):
        relation_phrases(walk, "lon")


def test_nearest_candidates():
    assert candidates(KENT, reach=NEAREST) == [
        Relation(KENT_, (3, 4), 3, ESSEX),
        Relation(ESSEX, (7, 8, 9), 9, SURREY),
    ]


def test_wider_candidates_reach_the_second_names():
    found = candidates(KENT)
    assert Relation(KENT_, (7, 8, 9), 9, SURREY) in found
    # The object behind the first one is reached through the preposition before it.
    assert Relation(KENT_, (7, 8, 9, 13), 9, CANTERBURY) in found
    assert len(found) == 2 + 4


def test_no_candidates_without_two_entities():
    assert candidates(KENT._replace(entities=(KENT_,))) == []
    assert candidates(KENT._replace(entities=())) == []


def test_main_word():
    line = sentence("plans/VBZ to/TO build/VB a/DT mill/NN to/TO sell/VB in/IN Oslo/NNP")
    assert main_word(range(8), line.pos) == 2
    assert main_word((3, 4), line.pos) == 4
    both = sentence("will/MD both/DT take/VB part/NN in/IN")
    assert main_word(range(5), both.pos) == 2
    with pytest.raises(UsageError, match="verb or a noun"):
        main_word((0,), ("IN",))


def test_normalized_phrases():
    forms = ["has/VBZ recently/RB played/VBN for/IN", "plays/VBZ for/IN", "is/VBZ playing/VBG for/IN"]
    assert {normalize_phrase(s, range(len(s.tokens))) for s in map(sentence, forms)} == {"play for"}
    copula = sentence("is/VBZ the/DT new/JJ capital/NN of/IN")
    assert normalize_phrase(copula, range(5)) == "is capit of"


def test_phrases_are_counted_by_pairs_of_arguments():
    def beat(winner, loser):
        return sentence(f"{winner}/NNP beat/VBD {loser}/NNP", ("ORG", 0, 1), ("ORG", 2, 3))

    matches = [beat("Kent", "Essex"), beat("KENT", "essex"), beat("Essex", "Kent"), beat("Kent", "Surrey")]
    assert count_phrases([*matches, KENT]) == {"beat": 3, "lost to": 1, "beaten": 1}


def test_features_of_the_right_and_the_wrong_subject():
    counts = {"beaten": 4}
    right = features(KENT, Relation(KENT_, (7, 8, 9), 9, SURREY), counts)
    wrong = features(KENT, Relation(ESSEX, (7, 8, 9), 9, SURREY), counts)
    assert right["verb between subject and phrase"] == 1 and wrong["verb between subject and phrase"] == 0
    assert right["entities between subject and phrase"] == 1
    assert right["subject opens the sentence"] == 1 and wrong["subject opens the sentence"] == 0
    assert wrong["subject stands behind a preposition"] == 1
    assert right["log pairs of the phrase in training"] == pytest.approx(np.log(5))
    far = features(KENT, Relation(KENT_, (7, 8, 9, 13), 9, CANTERBURY), counts)
    assert far["object touches the phrase"] == 1 and far["entities between phrase and object"] == 1
    assert right.keys() == wrong.keys() == far.keys()


@pytest.mark.parametrize(("after", "describes"), [("deal/NN", 1), ("'s/POS", 1), ("7-4/NN", 0), ("on/IN", 0)])
def test_an_entity_before_a_noun_is_no_object(after, describes):
    line = sentence(f"Kent/NNP signed/VBD Telia/NNP {after}", ("ORG", 0, 1), ("ORG", 2, 3))
    (relation,) = candidates(line)
    assert features(line, relation, {})["object describes a noun or owns"] == describes


def test_confidence_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    matrix = random.normal(size=(60, 3)) * [1, 10, 0] + [0, 5, 2]  # the last one is constant
    labels = matrix[:, 0] + 0.1 * matrix[:, 1] + random.normal(size=60) > 0.5
    rows = [dict(zip("abc", row, strict=True)) for row in matrix.tolist()]
    fitted = fit_confidence(rows, labels, strength=0.3)
    scaler = StandardScaler().fit(matrix)
    reference = LogisticRegression(C=0.3, max_iter=1000).fit(scaler.transform(matrix), labels)
    expected = reference.predict_proba(scaler.transform(matrix))[:, 1]
    np.testing.assert_allclose(fitted.probabilities(rows), expected, atol=1e-6)
    assert fitted.probabilities([]).shape == (0,)
    with pytest.raises(UsageError, match="label more"):
        fit_confidence(rows, [True] * 60)


def test_matching_by_hand():
    gold = [Relation(KENT_, (7, 8, 9), 9, SURREY), Relation(KENT_, (3, 4), 3, ESSEX)]
    without_not = Relation(KENT_, (9,), 9, SURREY)
    shorter = Relation(KENT_, (8, 9), 9, SURREY)
    assert is_negated(KENT.tokens, (7, 8, 9)) and not is_negated(KENT.tokens, (9,))
    assert relation_counts(KENT.tokens, gold, [without_not], "head") == (0, 1, 2)
    assert relation_counts(KENT.tokens, gold, [shorter, shorter], "head") == (1, 0, 1)
    assert relation_counts(KENT.tokens, gold, [shorter], "exact") == (0, 1, 2)
    assert relation_counts(KENT.tokens, gold, gold, "exact") == (2, 0, 0)
    swapped = Relation(SURREY, (7, 8, 9), 9, KENT_)
    assert relation_counts(KENT.tokens, gold, [swapped], "head") == (0, 1, 2)
    longer_name = Relation(EntitySpan("PER", 9, 11), (3,), 3, ESSEX)
    same_head = Relation(EntitySpan("ORG", 10, 11), (3,), 3, ESSEX)
    assert matching_key(KENT.tokens, longer_name, "head") == matching_key(KENT.tokens, same_head, "head")
    with pytest.raises(UsageError, match="matching rule"):
        matching_key(KENT.tokens, swapped, "loose")


def test_labels_are_of_the_sentences_that_are_drawn(valid):
    train = load_conll2003("train")
    labelled = load_relation_labels(valid)
    assert [item.number for item in labelled] == labelling_sample(valid, train, 300)
    assert [item.part for item in labelled] == ["development"] * 140 + ["test"] * 160
    test = load_conll2003("test")
    unseen = load_relation_labels(test, split="test")
    assert [item.number for item in unseen] == labelling_sample(test, train, 60)
    again = load_relation_labels(valid, labelling=2)
    assert len(again) == 30 and {item.number for item in again} < {item.number for item in labelled}


def test_labels_follow_the_guidelines(valid):
    for split, records in (("valid", valid), ("test", load_conll2003("test"))):
        for item in load_relation_labels(records, split):
            record = records[item.number]
            inside = {n for _, start, end in entity_spans(record.entities) for n in range(start, end)}
            for relation, kind, notes in item.relations:
                assert relation.subject != relation.object
                assert list(relation.phrase) == sorted(set(relation.phrase))
                assert relation.verb in relation.phrase and not inside & set(relation.phrase)
                assert kind in {"verb", "noun"}
                assert set(notes) <= {"gap", "object first", "passive", "reported", "negated"}
                tags = [record.pos[number] for number in relation.phrase]
                if kind == "verb":
                    assert any(tag.startswith(("VB", "NNS")) for tag in tags), (item.number, tags)


def test_labels_hold_no_text():
    for line in LABELS.read_text(encoding="utf-8").splitlines():
        words = set(re.findall(r"[A-Za-z]{3,}", re.sub(r'"sha256":"\w+"', "", line)))
        assert words <= FIELDS


def test_drawing_leaves_out_tables_headlines_and_repetitions():
    def record(words, pos="NNP VBD NNP .", entities="B-ORG O B-ORG O"):
        class Record(NamedTuple):
            tokens: tuple
            pos: tuple
            entities: tuple

        return Record(tuple(words.split()), tuple(pos.split()), tuple(entities.split()))

    good = record("Kent beat Essex .")
    others = [
        record("KENT BEAT ESSEX ."),
        record("Kent 1 Essex 2 .", "NNP VBD NNP CD .", "B-ORG O B-ORG O O"),
        record("Kent beat Essex now", "NNP VBD NNP RB"),
        record("Kent beat them .", "NNP VBD PRP .", "B-ORG O O O"),
        record("Kent and Essex .", "NNP CC NNP ."),
        record("Surrey beat Essex ."),
    ]
    assert labelling_sample([*others, good, good], [others[-1]], 9) == [len(others)]


def damaged_labels(tmp_path, change):
    record = json.loads(LABELS.read_text(encoding="utf-8").splitlines()[0])
    change(record)
    path = tmp_path / "relations.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return path


def test_labels_of_another_version_are_refused(valid, tmp_path):
    path = damaged_labels(tmp_path, lambda record: record.update(sha256=sentence_hash(("another",))))
    with pytest.raises(CourseError, match="is not the one that was labelled"):
        load_relation_labels(valid, path=path)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("part"),
        lambda record: record.update(sentence=10**6),
        lambda record: record["relations"].append({"subject": [0, 99]}),
    ],
)
def test_damaged_labels_are_refused(valid, tmp_path, change):
    with pytest.raises(CourseError, match="line 1 is damaged"):
        load_relation_labels(valid, path=damaged_labels(tmp_path, change))
    with pytest.raises(CourseError, match="cannot be read"):
        load_relation_labels(valid, path=tmp_path / "missing.jsonl")


def test_labels_that_are_no_text_or_too_deep_are_refused(valid, tmp_path):
    path = tmp_path / "relations.jsonl"
    for content, message in ((b"\xff", "cannot be read"), (b"[" * 100_000, "line 1 is damaged")):
        path.write_bytes(content)
        with pytest.raises(CourseError, match=message):
            load_relation_labels(valid, path=path)


class Found(NamedTuple):
    type: str
    start: int
    end: int


def find_capitals(text):
    """Runs of capitalized words: enough of a tagger for tests."""
    return [Found("PER", *match.span()) for match in re.finditer(r"[A-Z]\w+(?: [A-Z]\w+)*", text)]


@pytest.fixture(scope="module")
def extractor():
    from nltk.tag.perceptron import PerceptronTagger

    train = load_conll2003("train")[:1_500]
    tagger = PerceptronTagger(load=False)
    tagger.train([list(zip(record.tokens, record.pos, strict=True)) for record in train], nr_iter=2)
    names = tuple(features(KENT, candidates(KENT)[0], {}))
    weights = np.zeros(len(names))
    weights[names.index("entities between subject and phrase")] = -8
    weights[names.index("entities between phrase and object")] = -8
    return RelationExtractor(
        find_capitals, tagger, {"beat": 3, "once": 1}, Confidence(names, weights, 2.0), 0.5
    )


def test_extraction_from_text(extractor):
    text = "Nothing happened. Helen Clark beat John Howard."
    (relation,) = extractor.extract(text).relations
    assert relation[:3] == ("Helen Clark", "beat", "John Howard")
    assert text[relation.start : relation.end] == "Helen Clark beat John Howard."
    assert relation.confidence == pytest.approx(1 / (1 + np.exp(-2)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no words"),
        (" \n\t ", "no words"),
        ("12 — !! …", "no words"),
        (
            "El presidente Aznar se reunió ayer con Jacques Chirac en París para hablar de la pesca.",
            "English",
        ),
        ("Helen Clark slept. John Howard slept.", "two names"),
        ("Helen Clark and John Howard.", "confidence of 0.50"),
    ],
)
def test_without_relations_a_sentence_says_why(extractor, text, message):
    answer = extractor.extract(text)
    assert answer.relations == [] and message in answer.message


def test_a_sentence_of_400_words(extractor):
    text = "Helen Clark beat " + "and beat John Howard in Sydney " * 66 + "."
    assert len(text.split()) == 400
    answer = extractor.extract(text)
    assert answer.relations and answer.message == ""


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_text_gets_relations_or_a_reason(extractor, text):
    answer = extractor.extract(text)
    assert bool(answer.relations) != bool(answer.message)


def test_saved_extractors_answer_alike(extractor, tmp_path):
    extractor.save(tmp_path / "relations.json")
    loaded = RelationExtractor.load(tmp_path / "relations.json", find_capitals)
    text = "Helen Clark beat John Howard. He left. John Howard did not beat Kim Beazley in Sydney."
    assert loaded.extract(text) == extractor.extract(text)
    for content in (b'{"format": "other"}', b"\xff", b"[" * 100_000):
        (tmp_path / "relations.json").write_bytes(content)
        with pytest.raises(CourseError, match="run notebook 10_relations again"):
            RelationExtractor.load(tmp_path / "relations.json", find_capitals)


def test_the_module_needs_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, course_lib.relations; print(*{'tensorflow', 'sklearn', 'pandas'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "" and relations.__doc__
