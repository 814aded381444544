"""The course's trained models at work: text in, typed answer out. Needs ONNX Runtime, no TensorFlow.

A predictor is loaded from a folder that `course publish` wrote; several threads may call it at once.
"""

import functools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.decoding import segment_probabilities, viterbi
from course_lib.relations import Relation, RelationExtractor, TextRelation
from course_lib.serving.cards import ENCODER, GRAPHS, RELATIONS, TRANSITIONS, WORDS, read_model
from course_lib.serving.entities import (
    Entity,
    decode_entities,
    entities_of_sentences,
    entity_segment,
    score_document,
    sentence_token_spans,
    tag_transitions,
)
from course_lib.serving.network import Network, WordVectors
from course_lib.serving.questions import QuestionPredictor
from course_lib.serving.translation import TranslationPredictor
from course_lib.summarization import SummarySentence, network_scores, summarize
from course_lib.text import TextEncoder, pad, token_spans
from course_lib.text.cleaning import TAG
from course_lib.text.features import TaggingEncoder
from course_lib.text.tagging import EntitySpan, entity_spans
from course_lib.text.vocabulary import UNKNOWN_ID

# Tokens, padding included, that the network reads at once: bounds the memory of each thread.
_BATCH_TOKENS = 4_096
# An explanation reads this many tokens at most: 141 times a text of 141 words, 50 times one of 400.
_EXPLAINED_TOKENS = 20_000


class SentimentAnswer(NamedTuple):
    """What a text says of its writer's opinion.

    Attributes:
        label: the most probable class; None for a text without words, whose classes are equally probable.
        probabilities: of each class, by label.
        num_tokens: in the text, also those that truncation leaves out.
        unknown_share: of these tokens, the part that the vocabulary does not hold.
        truncated: the text is longer than what the network reads.
        latency_ms: the time this took; in a batch, the mean over its texts.
    """

    label: str | None
    probabilities: dict[str, float]
    num_tokens: int
    unknown_share: float
    truncated: bool
    latency_ms: float

    @property
    def margin(self) -> float:
        """The probability of the best class minus that of the second best, from 0 to 1."""
        second, best = sorted(self.probabilities.values())[-2:]
        return best - second

    @property
    def entropy(self) -> float:
        """Shannon's entropy as a share of the greatest: 0 one class alone, 1 all classes equally probable."""
        values = np.array([value for value in self.probabilities.values() if value > 0])
        # Rounding must not make a certain answer's entropy negative.
        return max(0.0, float(-(values @ np.log(values)) / np.log(len(self.probabilities))))


class WordSupport(NamedTuple):
    """How much the words `text[start:end]` support the answer: its probability with them minus without."""

    text: str
    start: int
    end: int
    support: float


class EntityAnswer(NamedTuple):
    """The entities of a text in order; the other fields as in `SentimentAnswer`."""

    entities: list[Entity]
    num_tokens: int
    unknown_share: float
    latency_ms: float


class ExplainedEntity(NamedTuple):
    """An entity, and how probable it is that the same words are an entity of another type, best first."""

    entity: Entity
    alternatives: list[tuple[str, float]]


class SummaryAnswer(NamedTuple):
    """The chosen sentences, all sentences of the text, both in its order, and the time in milliseconds."""

    sentences: list[SummarySentence]
    all_sentences: list[SummarySentence]
    latency_ms: float


class TimedRelations(NamedTuple):
    """The relations of a text in order, else a `message` that says why there are none; the time in ms."""

    relations: list[TextRelation]
    message: str
    latency_ms: float


class SentimentPredictor:
    """Classifies texts.

    Args:
        network: from `token_ids` to logits (batch, num_classes).
        encoder: the one that the network was trained with.
        labels: of the classes, in the order of their numbers.
    """

    tasks = ("sentiment", "reviews")

    def __init__(self, network: Network, encoder: TextEncoder, labels: Sequence[str]):
        self._network, self._encoder, self.labels = network, encoder, tuple(labels)

    @classmethod
    def load(cls, folder: str | Path, precision: str = "float32") -> "SentimentPredictor":
        """Reads a published model of one of the `tasks`; `precision` is "float32" or "int8".

        Raises:
            UsageError: an unknown precision.
            CourseError: a file is missing, is not the one that the card describes, or serves another task.
        """
        card, network = _load_network(folder, precision, cls.tasks)
        return cls(network, TextEncoder.load(Path(folder) / ENCODER), card["labels"])

    def predict(self, text: str) -> SentimentAnswer:
        """The answer for one text."""
        return self.predict_batch([text])[0]

    def predict_batch(self, texts: Sequence[str]) -> list[SentimentAnswer]:
        """The answers for several texts, in their order."""
        began = time.perf_counter()
        tokens = [self._encoder.tokenize(text) for text in texts]
        probabilities = self._probabilities(tokens)
        latency = 1000 * (time.perf_counter() - began) / max(len(texts), 1)
        return [self._answer(*pair, latency) for pair in zip(tokens, probabilities.tolist(), strict=True)]

    def explain(self, text: str) -> list[WordSupport]:
        """How much each word supports the answer: the text is classified once more without it (occlusion).

        Words are the text's tokens with a letter or digit, but for HTML tags and comments. In a long text
        neighbouring words are left out together, so that the work is bounded. A text without words gives an
        empty list.

        Source: Zeiler and Fergus 2014, section 4.2; Li, Monroe and Jurafsky 2016 for words.
        """
        spans = list(_word_spans(text))
        answer = self.predict(text)
        if not spans or answer.label is None:
            return []
        num_variants = max(1, _EXPLAINED_TOKENS // min(answer.num_tokens, self._encoder.max_length))
        parts = np.array_split(np.array(spans), min(len(spans), num_variants))
        spans = [(int(part[0, 0]), int(part[-1, 1])) for part in parts]
        without = self._probabilities(
            [self._encoder.tokenize(text[:start] + " " + text[end:]) for start, end in spans]
        )
        column = self.labels.index(answer.label)
        support = (answer.probabilities[answer.label] - without[:, column]).tolist()
        return [
            WordSupport(text[start:end], start, end, change)
            for (start, end), change in zip(spans, support, strict=True)
        ]

    def _probabilities(self, tokens):
        """Of tokenized texts, (num_texts, num_classes); those of like length are read together."""
        ids = [self._encoder.encode_tokens(each) for each in tokens]
        order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        logits, first = np.empty((len(ids), len(self.labels))), 0
        while first < len(order):
            num_rows = max(1, _BATCH_TOKENS // len(ids[order[first]]))
            batch = order[first : first + num_rows]
            logits[batch] = self._network({"token_ids": pad([ids[index] for index in batch])})
            first += num_rows
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def _answer(self, tokens, probabilities, latency):
        label = self.labels[int(np.argmax(probabilities))]
        if not tokens:
            label, probabilities = None, [1 / len(self.labels)] * len(self.labels)
        unknown = self._encoder.vocabulary.encode(tokens).count(UNKNOWN_ID)
        return SentimentAnswer(
            label,
            dict(zip(self.labels, probabilities, strict=True)),
            len(tokens),
            unknown / max(len(tokens), 1),
            len(tokens) > self._encoder.max_length,
            latency,
        )


class EntityPredictor:
    """Finds the names of persons, places, organizations and others.

    Args:
        network: from a tagger's features to logits (batch, time, num_tags).
        encoder: the one that the network was trained with.
        transitions: scores (num_tags + 1, num_tags + 1) of the network's CRF; None for a softmax tagger.
    """

    tasks = ("entities",)

    def __init__(self, network: Network, encoder: TaggingEncoder, transitions: np.ndarray | None = None):
        self._network, self._encoder = network, encoder
        self._transitions = tag_transitions(encoder, transitions)
        self.types = tuple(sorted({tag[2:] for tag in encoder.tags} - {""}))

    @classmethod
    def load(cls, folder: str | Path, precision: str = "float32") -> "EntityPredictor":
        """Reads a published model; arguments and errors as in `SentimentPredictor.load`."""
        card, network = _load_network(folder, precision, cls.tasks)
        folder = Path(folder)
        transitions = None
        if TRANSITIONS in card["files"]:
            transitions = np.array(json.loads((folder / TRANSITIONS).read_text(encoding="utf-8")))
        return cls(network, TaggingEncoder.load(folder / ENCODER), transitions)

    def predict(self, text: str) -> EntityAnswer:
        """The entities of one text, as `find_entities` finds them; none in a text without words."""
        began = time.perf_counter()
        sentences = sentence_token_spans(text)
        entities = entities_of_sentences(text, sentences, self._network, self._encoder, self._transitions)
        words = [text[start:end].lower() for spans in sentences for start, end in spans]
        unknown = self._encoder.words.encode(words).count(UNKNOWN_ID)
        latency = 1000 * (time.perf_counter() - began)
        return EntityAnswer(entities, len(words), unknown / max(len(words), 1), latency)

    def predict_batch(self, texts: Sequence[str]) -> list[EntityAnswer]:
        """The answers for several texts, in their order; each text is a document of its own."""
        return [self.predict(text) for text in texts]

    def explain(self, text: str) -> list[ExplainedEntity]:
        """The entities of one text with the probabilities of all other types for the same words."""
        sentences = sentence_token_spans(text)
        all_logits = self._document_logits([[text[slice(*span)] for span in spans] for spans in sentences])
        explained = []
        for spans, logits in zip(sentences, all_logits, strict=True):
            for entity in decode_entities(text, spans, logits, self._transitions, self._encoder):
                first = next(index for index, span in enumerate(spans) if span[0] == entity.start)
                last = next(index for index, span in enumerate(spans) if span[1] == entity.end)
                explained.append(ExplainedEntity(entity, self._alternatives(entity, first, last + 1, logits)))
        return explained

    def tag_document(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """The best tags of a document that is split into sentences and tokens already."""
        tags = []
        for logits in self._document_logits(sentences):
            best, _ = viterbi(logits[None], self._transitions)
            tags.append(self._encoder.decode_tags(best[0]))
        return tags

    def _document_logits(self, sentences):
        """What `find_entities` decodes: one array (num_tokens, num_tags) for each sentence."""
        return score_document(sentences, self._network, self._encoder, self._transitions)

    def _alternatives(self, entity, first, end, logits):
        others = [EntitySpan(kind, first, end) for kind in self.types if kind != entity.type]
        segments = {span.type: entity_segment(span, self._encoder) for span in others}
        spelled = {kind: segment for kind, segment in segments.items() if segment is not None}
        probabilities = segment_probabilities(logits, self._transitions, list(spelled.values())).tolist()
        found = dict.fromkeys(segments, 0.0) | dict(zip(spelled, probabilities, strict=True))
        return sorted(found.items(), key=lambda pair: -pair[1])


class SummaryPredictor:
    """Chooses the sentences that speak for a text.

    Args:
        network: from `features` to scores (batch, num_sentences).
        encoder: the one that the network was trained with; its vocabulary tells how rare a word is.
    """

    tasks = ("summary",)

    def __init__(self, network: Network, encoder: TextEncoder):
        self._encoder = encoder
        self._score = functools.partial(
            network_scores,
            encoder=encoder,
            network=lambda token_ids, features: network({"features": features}),
        )

    @classmethod
    def load(cls, folder: str | Path, precision: str = "float32") -> "SummaryPredictor":
        """Reads a published model; arguments and errors as in `SentimentPredictor.load`."""
        _, network = _load_network(folder, precision, cls.tasks)
        return cls(network, TextEncoder.load(Path(folder) / ENCODER))

    def predict(self, text: str, num_sentences: int = 3) -> SummaryAnswer:
        """At most `num_sentences` sentences of the text; all of them with their scores beside.

        A text of one sentence comes back whole, with the score 0; one without words gives no sentences.

        Raises:
            UsageError: fewer than one sentence is asked for.
        """
        began = time.perf_counter()
        summary = summarize(text, self._score, num_sentences=num_sentences)
        return SummaryAnswer(*summary, 1000 * (time.perf_counter() - began))

    def predict_batch(self, texts: Sequence[str], num_sentences: int = 3) -> list[SummaryAnswer]:
        """The summaries of several texts, in their order."""
        return [self.predict(text, num_sentences) for text in texts]


class RelationPredictor:
    """Finds (subject, relation phrase, object) between the entities of a sentence.

    Args:
        entities: the predictor of the arguments.
        extractor: as notebook 10 saves it, finding its entities with that predictor.
    """

    tasks = ("relations",)

    def __init__(self, entities: EntityPredictor, extractor: RelationExtractor):
        self._entities, self._extractor = entities, extractor

    @classmethod
    def load(cls, folder: str | Path, precision: str = "float32") -> "RelationPredictor":
        """Reads a published model and, from the folder `entities` beside it, the entities in that precision.

        Arguments and errors as in `SentimentPredictor.load`, for both folders.
        """
        folder = Path(folder)
        read_model(folder, precision, cls.tasks)
        return cls.of_file(folder / RELATIONS, EntityPredictor.load(folder.parent / "entities", precision))

    @classmethod
    def of_file(cls, path: str | Path, entities: EntityPredictor) -> "RelationPredictor":
        """Reads what `RelationExtractor.save` wrote.

        Raises:
            CourseError: the file is missing or damaged.
        """
        extractor = RelationExtractor.load(path, lambda text: entities.predict(text).entities)
        return cls(entities, extractor)

    @property
    def threshold(self) -> float:
        """The lowest confidence of a relation that is answered."""
        return self._extractor.threshold

    def predict(self, text: str) -> TimedRelations:
        """The relations of one text; without any, the answer says why."""
        began = time.perf_counter()
        relations, message = self._extractor.extract(text)
        return TimedRelations(relations, message, 1000 * (time.perf_counter() - began))

    def predict_batch(self, texts: Sequence[str]) -> list[TimedRelations]:
        """The answers for several texts, in their order; each text is a document of its own."""
        return [self.predict(text) for text in texts]

    def relate_document(self, sentences: Sequence[Sequence[str]]) -> list[list[Relation]]:
        """The relations of a document that is split into sentences and tokens already."""
        tagged = zip(sentences, self._entities.tag_document(sentences), strict=True)
        return [
            [relation for relation, _ in self._extractor.relate(tokens, entity_spans(tags))]
            for tokens, tags in tagged
        ]


# By the task on a model's card.
PREDICTORS = {
    task: kind
    for kind in (
        SentimentPredictor,
        EntityPredictor,
        SummaryPredictor,
        RelationPredictor,
        TranslationPredictor,
        QuestionPredictor,
    )
    for task in kind.tasks
}


def _load_network(folder, precision, tasks):
    """The card, and the network with the word vectors that it reads."""
    card, contents = read_model(folder, precision, tasks)
    words = WordVectors.load(Path(folder) / WORDS) if WORDS in contents else None
    return card, Network(contents[GRAPHS[precision]], words)


def _word_spans(text: str) -> Iterator[tuple[int, int]]:
    tags = iter([*(match.span() for match in TAG.finditer(text)), (len(text), len(text))])
    tag = next(tags)
    for start, end in token_spans(text):
        while tag[1] <= start:
            tag = next(tags)
        if end <= tag[0] and any(map(str.isalnum, text[start:end])):
            yield start, end
