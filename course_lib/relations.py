"""Open relation extraction: (subject, relation phrase, object) between the entities of a sentence.

The relation phrase is found by a pattern over part-of-speech tags, its arguments are entities near it, and a
logistic regression over simple features tells how probable it is that the three belong together.

Source: Fader, Soderland and Etzioni 2011, "Identifying Relations for Open Information Extraction" (ReVerb).
"""

import bisect
import functools
import hashlib
import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.errors import CourseError, UsageError, unknown_name
from course_lib.files import REPOSITORY, write_atomically
from course_lib.text.news import news_token_spans
from course_lib.text.sentences import sentence_spans
from course_lib.text.tagging import EntitySpan, entity_spans

LABELS = REPOSITORY / "data" / "relations.jsonl"
FORMAT = "course_lib.relations/1"
MATCHINGS = ("exact", "head")

# Tokens of entities carry this tag instead of their own, so that no phrase reaches across one.
ENTITY = "ENTITY"
_VERB = "<MD|VB.*><RP>?<RB.*>?"
_WORD = "<NN.*|JJ.*|RB.*|PRP.*|DT|CD>"
_PREPOSITION = "<IN|RP|TO>"
# "paper" is V | V P | V W* P, neighbours merged; "long" takes further prepositions in, V (W* P)*.
PATTERNS = {
    "paper": f"RELATION: {{({_VERB}({_WORD}*{_PREPOSITION})?)+}}",
    "long": f"RELATION: {{({_VERB}({_WORD}*{_PREPOSITION})*)+}}",
}
# How many entities left and right of a phrase are tried as its subject and object.
NEAREST, WIDER = (1, 1), (2, 2)

_NEGATIONS = {"not", "n't", "never", "neither", "nor"}
_AUXILIARIES = {"be", "am", "is", "are", "was", "were", "been", "being", "'s", "'re", "'m"} | {
    "have", "has", "had", "having", "'ve", "'d", "do", "does", "did"
}  # fmt: skip
_SPEECH = {"said", "says", "say", "told", "added", "reported", "announced", "quoted", "asked", "saying"}
# Tagged as prepositions.
_CONJUNCTIONS = {"that", "because", "although", "though", "while", "if", "whether"}
# Of so many lower-case words or more, English has at least this share among the tagger's frequent ones: half
# of them on average, where Spanish, French, German and Italian have under a tenth.
_FEWEST_WORDS, _ENGLISH_SHARE = 8, 0.12


class Sentence(NamedTuple):
    """A sentence as the extractor reads it: a part-of-speech tag (Penn Treebank) for each token, entities."""

    tokens: tuple[str, ...]
    pos: tuple[str, ...]
    entities: tuple[EntitySpan, ...]

    @classmethod
    def of(cls, tagged) -> "Sentence":
        """From a record of CoNLL-2003 (`course_lib.data.TaggedSentence`) with its gold tags."""
        return cls(tagged.tokens, tagged.pos, tuple(entity_spans(tagged.entities)))


class Relation(NamedTuple):
    """A relation in one sentence.

    Attributes:
        subject, object: entities of the sentence.
        phrase: numbers of the tokens of the relation phrase, ascending, not always neighbours.
        verb: the token number of the phrase's main verb; for a phrase without a verb, of its last noun.
    """

    subject: EntitySpan
    phrase: tuple[int, ...]
    verb: int
    object: EntitySpan


class LabelledRelation(NamedTuple):
    """A relation that was labelled by hand; `kind` is "verb" or "noun"; notes as the guidelines list them."""

    relation: Relation
    kind: str
    notes: tuple[str, ...]


class LabelledSentence(NamedTuple):
    """All relations of the sentence with this number in its split; `part` is development, test or unseen."""

    number: int
    part: str
    relations: tuple[LabelledRelation, ...]


class TextRelation(NamedTuple):
    """A relation in a text: its three parts as words, and where its sentence stands."""

    subject: str
    phrase: str
    object: str
    confidence: float
    start: int
    end: int


class RelationAnswer(NamedTuple):
    """The relations of a text in order; without any, `message` says in a sentence why there are none."""

    relations: list[TextRelation]
    message: str


def relation_phrases(sentence: Sentence, pattern: str = "long") -> list[tuple[int, int]]:
    """The (start, end) token spans of the relation phrases, found by NLTK's chunker.

    Raises:
        UsageError: an unknown pattern.
    """
    if pattern not in PATTERNS:
        raise unknown_name("pattern", pattern, PATTERNS)
    tags = _pattern_tags(sentence)
    if not tags:
        return []
    spans, position = [], 0
    for child in _chunker(pattern).parse(list(enumerate(tags))):
        width = 1 if isinstance(child, tuple) else len(child)
        if not isinstance(child, tuple) and any(tag.startswith("VB") for _, tag in child):
            spans.append((position, position + width))
        position += width
    return spans


def candidates(sentence: Sentence, pattern: str = "long", reach: tuple[int, int] = WIDER) -> list[Relation]:
    """All relations that the pattern allows: each phrase with entities to its left and to its right.

    For an object behind the first one, the phrase is the verb with the preposition before that object: in
    `Kent beat Essex at Canterbury`, (Kent; beat at; Canterbury).

    Args:
        pattern: a name of `PATTERNS`.
        reach: how many entities to the left and to the right are tried, nearest first.

    Raises:
        UsageError: an unknown pattern.
    """
    found = []
    for start, end in relation_phrases(sentence, pattern):
        left = [entity for entity in sentence.entities if entity.end <= start][::-1][: reach[0]]
        right = [entity for entity in sentence.entities if entity.start >= end][: reach[1]]
        phrase = tuple(range(start, end))
        verb = main_word(phrase, sentence.pos)
        for subject, (rank, object_) in itertools.product(left, enumerate(right)):
            words = phrase if rank == 0 else _distant_phrase(sentence, phrase, verb, object_)
            found.append(Relation(subject, words, verb, object_))
    return found


def main_word(phrase: Sequence[int], pos: Sequence[str]) -> int:
    """The last verb of the phrase's first run of verbs (`plans to build … to sell`), else its last noun.

    Raises:
        UsageError: neither a verb nor a noun.
    """
    run = []
    for number in phrase:
        if pos[number].startswith(("VB", "MD", "TO", "RB", "RP")):
            run.append(number)
        elif any(pos[other].startswith("VB") for other in run):
            break
    verbs = [number for number in run if pos[number].startswith("VB")]
    nouns = [number for number in phrase if pos[number].startswith("NN")]
    if not (verbs or nouns):
        raise UsageError("A relation phrase needs a verb or a noun.")
    return (verbs or nouns)[-1]


def normalize_phrase(sentence: Sentence, phrase: Sequence[int]) -> str:
    """The phrase without auxiliaries, adverbs, adjectives, determiners, pronouns and numbers, words stemmed.

    Phrases that say the same in another form become equal: `has recently played for` and `plays for` are both
    `play for`.
    """
    verb = main_word(phrase, sentence.pos)
    kept = []
    for number in phrase:
        word, tag = sentence.tokens[number].lower(), sentence.pos[number]
        is_auxiliary = word in _AUXILIARIES and number != verb
        if tag.startswith(("VB", "NN", "IN", "TO", "RP")) and not is_auxiliary:
            kept.append(_stemmer().stem(word) if tag[0] in "VN" else word)
    return " ".join(kept)


def count_phrases(sentences: Iterable[Sentence]) -> dict[str, int]:
    """With how many different pairs of arguments each normalized phrase occurs (the lexical constraint).

    A phrase that takes many different arguments is a relation; one that occurs once is often a piece of its
    sentence. Arguments are the nearest entities, phrases those of the pattern "long".
    """
    pairs = defaultdict(set)
    for sentence in sentences:
        if len(sentence.entities) < 2:
            continue
        for relation in candidates(sentence, "long", NEAREST):
            names = tuple(
                " ".join(sentence.tokens[entity.start : entity.end]).lower()
                for entity in (relation.subject, relation.object)
            )
            pairs[normalize_phrase(sentence, relation.phrase)].add(names)
    return {phrase: len(names) for phrase, names in pairs.items()}


def features(sentence: Sentence, relation: Relation, phrase_counts: Mapping[str, int]) -> dict[str, float]:
    """What the confidence is computed from, by name; the names are the same for every relation."""
    tokens, pos = sentence.tokens, sentence.pos
    subject, phrase, verb, object_ = relation
    left, right = range(subject.end, phrase[0]), range(_last_before(phrase, object_) + 1, object_.start)
    inner = {n for entity in sentence.entities for n in range(entity.start, entity.end)}

    def holds(numbers, *tags):
        return any(pos[number].startswith(tags) and number not in inner for number in numbers)

    def entities_between(first, last):
        return sum(first <= entity.start and entity.end <= last for entity in sentence.entities)

    def describes(entity):
        # "the [Telia] deal", "[Telia]'s deal"; a score behind a name, "[Kent] 7-4", is tagged as a noun, too.
        following = entity.end
        return (
            following < len(tokens)
            and pos[following].startswith(("NN", "POS", "JJ"))
            and any(map(str.isalpha, tokens[following]))
        )

    after_object = (*pos, "")[object_.end]
    words = [tokens[number].lower() for number in phrase]
    before, word_before = ("", *pos)[subject.start], ("", *tokens)[subject.start].lower()
    verb_word = tokens[verb].lower()
    values = {
        "subject touches the phrase": len(left) == 0,
        "log distance of the subject": math.log1p(len(left)),
        "entities between subject and phrase": entities_between(subject.end, phrase[0]),
        "only names and commas between": bool(left)
        and all(n in inner or tokens[n] in {",", "and", "&"} for n in left),
        "verb between subject and phrase": holds(left, "VB", "MD"),
        "noun between subject and phrase": holds(left, "NN"),
        "preposition between subject and phrase": holds(left, "IN", "TO"),
        "comma between subject and phrase": any(tokens[n] == "," for n in left),
        "who or which before the phrase": bool(left) and pos[left[-1]].startswith("W"),
        "pronoun between subject and phrase": holds(left, "PRP"),
        "subject describes a noun or owns": describes(subject),
        "subject opens the sentence": all(pos[n] == "DT" for n in range(subject.start)),
        "subject stands behind a preposition": before in {"IN", "TO"} and word_before not in _CONJUNCTIONS,
        "object touches the phrase": len(right) == 0,
        "log distance of the object": math.log1p(len(right)),
        "entities between phrase and object": entities_between(phrase[0], object_.start),
        "only names between phrase and object": bool(right)
        and all(n in inner or tokens[n] in {",", "and", "&"} for n in right),
        "verb between phrase and object": holds(right, "VB", "MD"),
        "noun between phrase and object": holds(right, "NN"),
        "that or comma before the object": any(tokens[n] in {",", "that", ":", ";", "-"} for n in right),
        "preposition between phrase and object": holds(right, "IN", "TO"),
        "object describes a noun or owns": describes(object_),
        "verb follows the object": after_object.startswith(("VB", "MD")),
        "phrase ends in a preposition": pos[phrase[-1]].startswith(("IN", "TO", "RP")),
        "verb of speech": verb_word in _SPEECH,
        "participle or infinitive alone": pos[phrase[0]] in {"VBG", "VBN", "TO"},
        "participle behind an auxiliary": pos[verb] == "VBN" and any(word in _AUXILIARIES for word in words),
        "log length of the phrase": math.log(len(phrase)),
        "log pairs of the phrase in training": math.log1p(
            phrase_counts.get(normalize_phrase(sentence, phrase), 0)
        ),
        "subject is a person": subject.type == "PER",
        "subject is an organization": subject.type == "ORG",
        "object is a place": object_.type == "LOC",
        "object is of another kind": object_.type == "MISC",
        "log length of the sentence": math.log(len(tokens)),
    }
    return {name: float(value) for name, value in values.items()}


class Confidence(NamedTuple):
    """A logistic regression: the probability that a candidate is a relation.

    Attributes:
        names: of the features, in order.
        weights: of the features as they are (their standardization is multiplied in), float (num_features,).
        bias: added to the weighted sum.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    bias: float

    def probabilities(self, rows: Sequence[Mapping[str, float]]) -> np.ndarray:
        """For features as `features` makes them: float (num_rows,)."""
        matrix = np.array([[row[name] for name in self.names] for row in rows]).reshape(-1, len(self.names))
        return 1 / (1 + np.exp(-(matrix @ self.weights + self.bias)))


def fit_confidence(
    rows: Sequence[Mapping[str, float]], labels: Sequence[bool], strength: float = 1.0
) -> Confidence:
    """Fits the regression on standardized features.

    Args:
        rows: features of the candidates.
        labels: whether each one is right.
        strength: scikit-learn's C; a smaller one keeps the weights nearer to 0.

    Raises:
        UsageError: no two classes to tell apart.
    """
    from sklearn.linear_model import LogisticRegression

    if len(set(map(bool, labels))) < 2:
        raise UsageError("The confidence needs right and wrong candidates: label more sentences.")
    names = tuple(rows[0])
    matrix = np.array([[row[name] for name in names] for row in rows])
    means, scales = matrix.mean(axis=0), matrix.std(axis=0)
    scales[scales == 0] = 1
    fitted = LogisticRegression(C=strength, max_iter=1000).fit((matrix - means) / scales, labels)
    weights = fitted.coef_[0] / scales
    return Confidence(names, weights, float(fitted.intercept_[0] - weights @ means))


def is_negated(tokens: Sequence[str], phrase: Sequence[int]) -> bool:
    """Whether a word of the phrase negates it."""
    return any(tokens[number].lower() in _NEGATIONS for number in phrase)


def matching_key(tokens: Sequence[str], relation: Relation, matching: str) -> tuple:
    """What must be equal for two relations of one sentence to count as the same.

    "exact": both arguments and all words of the phrase. "head": the last tokens of both arguments, the main
    verb, and whether the phrase is negated.

    Raises:
        UsageError: an unknown matching rule.
    """
    if matching not in MATCHINGS:
        raise unknown_name("matching rule", matching, MATCHINGS)
    subject, phrase, verb, object_ = relation
    if matching == "exact":
        return subject[1:], phrase, object_[1:]
    return subject.end, verb, object_.end, is_negated(tokens, phrase)


def relation_counts(
    tokens: Sequence[str], gold: Iterable[Relation], predicted: Iterable[Relation], matching: str = "head"
) -> tuple[int, int, int]:
    """True positives, false positives and false negatives of one sentence; equal relations count once.

    Raises:
        UsageError: an unknown matching.
    """
    gold = {matching_key(tokens, relation, matching) for relation in gold}
    predicted = {matching_key(tokens, relation, matching) for relation in predicted}
    return len(gold & predicted), len(predicted - gold), len(gold - predicted)


def sentence_hash(tokens: Sequence[str]) -> str:
    """Tells whether labels belong to a sentence: 16 hexadecimal digits of the SHA-256 of its tokens."""
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()[:16]


def labelling_sample(sentences: Sequence, training: Sequence, number: int, seed: int = 10) -> list[int]:
    """Numbers of the sentences to be labelled, drawn without replacement from those that can hold a relation.

    Such a sentence ends with a full stop or a quotation mark, has two entities and a verb, is mostly neither
    in capitals (headlines) nor in numbers (score tables), and stands neither before in the split nor in the
    training split.

    Args:
        sentences, training: records of CoNLL-2003 (`load_conll2003`).
        number: how many.
        seed: of the draw.
    """
    seen, suitable = {record.tokens for record in training}, []
    for index, record in enumerate(sentences):
        if record.tokens not in seen and _is_suitable(record):
            suitable.append(index)
        seen.add(record.tokens)
    return np.random.default_rng(seed).permutation(suitable)[:number].tolist()


def load_relation_labels(
    sentences: Sequence, split: str = "valid", labelling: int = 1, path: str | Path = LABELS
) -> list[LabelledSentence]:
    """The relations labelled by hand, in the order in which the sentences were drawn.

    Args:
        sentences: that split of CoNLL-2003 (`load_conll2003(split)`).
        split: "valid" for the parts "development" and "test", "test" for the part "unseen".
        labelling: 1 for the labels that count, 2 for the second labelling of some of the sentences.
        path: the file of labels; data/relations_guidelines.md describes it.

    Raises:
        CourseError: the file is missing or damaged, or a sentence is not the one that was labelled.
    """
    path, labelled = Path(path), []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CourseError(f"The labels of relations cannot be read ({error}): restore {path}.") from error
    for line_number, line in enumerate(lines, 1):
        where = f"{path}, line {line_number}"
        try:
            record = json.loads(line)
            if record["labelling"] != labelling or record["split"] != split:
                continue
            number, digest = record["sentence"], record["sha256"]
            tagged = sentences[number]
            if sentence_hash(tagged.tokens) != digest:
                raise CourseError(
                    f"{where}: sentence {number} is not the one that was labelled: load the split {split!r} "
                    "of the version of conll2003 that the catalog pins."
                )
            spans = {span[1:]: span for span in entity_spans(tagged.entities)}
            relations = tuple(
                LabelledRelation(
                    Relation(
                        spans[tuple(item["subject"])],
                        tuple(item["phrase"]),
                        item["verb"],
                        spans[tuple(item["object"])],
                    ),
                    item["kind"],
                    tuple(item["notes"]),
                )
                for item in record["relations"]
            )
            labelled.append(LabelledSentence(number, record["part"], relations))
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise CourseError(f"{where} is damaged ({error!r}): restore the file.") from error
    return labelled


class RelationExtractor:
    """Reads relations out of a text.

    Args:
        find_entities: from a text to its entities (with `type`, `start` and `end`, character offsets).
        tagger: NLTK's `PerceptronTagger`, trained on the tags of CoNLL-2003.
        phrase_counts: as `count_phrases` makes them.
        confidence: as `fit_confidence` makes it.
        threshold: relations with a lower confidence are left out.
    """

    def __init__(
        self,
        find_entities: Callable[[str], Iterable],
        tagger,
        phrase_counts: Mapping[str, int],
        confidence: Confidence,
        threshold: float,
    ):
        self._find_entities, self._tagger = find_entities, tagger
        self._phrase_counts, self._confidence, self.threshold = dict(phrase_counts), confidence, threshold
        self._known = {word for word in tagger.tagdict if word.islower() and word.isalpha()}

    def extract(self, text: str) -> RelationAnswer:
        """The relations of a text, or a sentence that says why there are none."""
        words = [text[start:end] for start, end in news_token_spans(text)]
        if not any(map(str.isalpha, "".join(words))):
            return RelationAnswer([], "There are no relations: the text holds no words.")
        lower = [word for word in words if word.islower() and word.isalpha()]
        known = sum(word in self._known for word in lower)
        if len(lower) >= _FEWEST_WORDS and known < _ENGLISH_SHARE * len(lower):
            return RelationAnswer([], "There are no relations: the text does not seem to be English.")
        entities = sorted(self._find_entities(text), key=lambda entity: entity.start)
        relations, has_pair = [], False
        for start, end in sentence_spans(text):
            spans = [(start + first, start + last) for first, last in news_token_spans(text[start:end])]
            tokens = [text[first:last] for first, last in spans]
            inside = _entities_of(spans, [e for e in entities if start <= e.start and e.end <= end])
            has_pair = has_pair or len(inside) > 1
            for relation, confidence in self.relate(tokens, inside):
                relations.append(_in_text(text, spans, tokens, relation, confidence))
        if relations:
            return RelationAnswer(relations, "")
        if not has_pair:
            return RelationAnswer([], "There are no relations: no sentence holds two names.")
        return RelationAnswer([], f"No relation has a confidence of {self.threshold:.2f} or more.")

    def relate(self, tokens: Sequence[str], entities: Sequence[EntitySpan]) -> list[tuple[Relation, float]]:
        """The relations of one sentence and their confidences, those from the threshold on.

        Args:
            tokens: of the sentence.
            entities: its names, in order.
        """
        pos = tuple(tag for _, tag in self._tagger.tag(tokens))
        sentence = Sentence(tuple(tokens), pos, tuple(entities))
        found = candidates(sentence)
        rows = [features(sentence, relation, self._phrase_counts) for relation in found]
        rated = zip(found, self._confidence.probabilities(rows).tolist(), strict=True)
        return [(relation, confidence) for relation, confidence in rated if confidence >= self.threshold]

    def save(self, path: str | Path) -> None:
        """Writes everything but `find_entities` into one JSON file.

        Raises:
            CourseError: the file cannot be written.
        """
        document = {
            "format": FORMAT,
            "threshold": self.threshold,
            "bias": self._confidence.bias,
            "weights": dict(zip(self._confidence.names, self._confidence.weights.tolist(), strict=True)),
            "phrase_counts": {phrase: count for phrase, count in self._phrase_counts.items() if count > 1},
            "tagger": {
                "weights": self._tagger.model.weights,
                "tagdict": self._tagger.tagdict,
                "classes": sorted(self._tagger.classes),
            },
        }
        try:
            write_atomically(Path(path), json.dumps(document, separators=(",", ":")))
        except OSError as error:
            raise CourseError(f"The relation extractor cannot be written to {path} ({error}).") from error

    @classmethod
    def load(cls, path: str | Path, find_entities: Callable[[str], Iterable]) -> "RelationExtractor":
        """Reads what `save` wrote.

        Phrases that training held once count as never seen: a file of them all would be mostly those.

        Raises:
            CourseError: the file is missing or damaged.
        """
        from nltk.tag.perceptron import PerceptronTagger

        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError("another format")
            tagger = PerceptronTagger(load=False)
            tagger.model.weights = document["tagger"]["weights"]
            tagger.tagdict = document["tagger"]["tagdict"]
            tagger.classes = tagger.model.classes = set(document["tagger"]["classes"])
            weights = document["weights"]
            confidence = Confidence(tuple(weights), np.array(list(weights.values())), document["bias"])
            return cls(find_entities, tagger, document["phrase_counts"], confidence, document["threshold"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CourseError(
                f"The relation extractor {path} cannot be read ({error}): run notebook 10_relations again."
            ) from error


def _entities_of(spans, entities):
    """Entities by character offsets as spans of the tokens that stand at `spans`."""
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    found = []
    for entity in entities:
        first, last = bisect.bisect_right(starts, entity.start) - 1, bisect.bisect_left(ends, entity.end)
        found.append(EntitySpan(entity.type, first, last + 1))
    return found


def _in_text(text, spans, tokens, relation, confidence):
    subject, object_ = (
        text[spans[entity.start][0] : spans[entity.end - 1][1]]
        for entity in (relation.subject, relation.object)
    )
    phrase = " ".join(tokens[number] for number in relation.phrase)
    return TextRelation(subject, phrase, object_, confidence, spans[0][0], spans[-1][1])


def _pattern_tags(sentence: Sentence) -> list[str]:
    tags = list(sentence.pos)
    for _, start, end in sentence.entities:
        tags[start:end] = [ENTITY] * (end - start)
    return tags


def _distant_phrase(sentence, phrase, verb, object_):
    """The phrase up to its verb, and the preposition before an object that does not follow it directly."""
    words, number = [n for n in phrase if n <= verb], object_.start - 1
    while number > verb and re.fullmatch(r"NN.*|JJ.*|DT|CD|PRP\$", sentence.pos[number]):
        number -= 1
    if sentence.pos[number] in {"IN", "TO"} and number > phrase[-1]:
        return (*words, number)
    return phrase


def _last_before(phrase: Sequence[int], object_: EntitySpan) -> int:
    return max(number for number in phrase if number < object_.start)


def _is_suitable(record) -> bool:
    tokens, num_tokens = record.tokens, len(record.tokens)
    return (
        tokens[-1] in {".", '"'}
        and len(entity_spans(record.entities)) >= 2
        and any(tag.startswith("VB") for tag in record.pos)
        and sum(token.isupper() and len(token) > 2 for token in tokens) < num_tokens / 2
        and sum(any(map(str.isdigit, token)) for token in tokens) < num_tokens / 4
    )


@functools.cache
def _chunker(pattern: str):
    from nltk.chunk.regexp import RegexpParser

    return RegexpParser(PATTERNS[pattern])


@functools.cache
def _stemmer():
    from nltk.stem import PorterStemmer

    return PorterStemmer()
