"""The trained translator at work, without TensorFlow: text in, typed answer out."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from course_lib.serving.cards import (
    SOURCE_SUBWORDS,
    SOURCE_WORDS,
    TARGET_SUBWORDS,
    TARGET_WORDS,
    TRANSLATION_GRAPHS,
    read_model,
)
from course_lib.serving.network import Network, WordVectors
from course_lib.text.sentences import sentence_spans
from course_lib.text.tokenization import token_spans
from course_lib.text.vocabulary import PAD_ID

# The library behind them is loaded with the first translator: the other predictors do without it.
if TYPE_CHECKING:
    from course_lib.text.subwords import Subwords
    from course_lib.translation import SearchNetwork, Translation

BEAM_SIZE, ALPHA = 4, 1.0
# Sentences that are searched at once: bounds the memory of each thread.
_BATCH_SIZE = 32
# From so many lower-case words on, English has at least this many letters in a subword: with 5,000 subwords
# all but 0.1 % of held-out sentences have them, and 12 % of Spanish ones.
_FEWEST_WORDS, _ENGLISH_LETTERS = 4, 2.1


class SentenceTranslation(NamedTuple):
    """The sentence `text[start:end]`, and its translation or the problem with it."""

    start: int
    end: int
    translation: "Translation"


class TranslationAnswer(NamedTuple):
    """A translated text.

    Attributes:
        text: the translations of its sentences; without any, empty.
        message: one sentence that says why there is none; otherwise empty.
        sentences: all sentences of the text, in order.
        latency_ms: the time this took.
    """

    text: str
    message: str
    sentences: list[SentenceTranslation]
    latency_ms: float


class TranslationPredictor:
    """Translates English into Spanish, sentence by sentence.

    Args:
        network: the translator.
        source, target: the subwords that it was trained with.
    """

    tasks = ("translation",)

    def __init__(self, network: "SearchNetwork", source: "Subwords", target: "Subwords"):
        self._network, self._source, self._target = network, source, target

    @classmethod
    def load(cls, folder: str | Path, precision: str = "float32") -> "TranslationPredictor":
        """Reads a published model; `precision` is "float32" or "int8".

        Raises:
            UsageError: an unknown precision.
            CourseError: a file is missing, is not the one that the card describes, or serves another task.
        """
        from course_lib.text.subwords import Subwords

        folder = Path(folder)
        _, contents = read_model(folder, precision, cls.tasks)
        encoder, decoder = (contents[file] for file in TRANSLATION_GRAPHS[precision])
        network = search_network(
            Network(encoder, WordVectors.load(folder / SOURCE_WORDS)),
            Network(decoder, WordVectors.load(folder / TARGET_WORDS)),
        )
        return cls(network, Subwords.load(folder / SOURCE_SUBWORDS), Subwords.load(folder / TARGET_SUBWORDS))

    def predict(self, text: str, beam_size: int = BEAM_SIZE) -> TranslationAnswer:
        """The translation of one text, whatever it holds; without any, the answer says why.

        Args:
            text: English, of any number of sentences; each is translated by itself.
            beam_size: 1 is greedy search.

        Raises:
            UsageError: a beam size below 1.
        """
        began = time.perf_counter()
        spans, message = sentence_spans(text), ""
        if not spans:
            message = "There is nothing to translate: the text holds no words."
        elif not self._seems_english(text):
            spans, message = [], "There is no translation: the text does not seem to be English."
        translations = self.translate([text[start:end] for start, end in spans], beam_size)
        sentences = [
            SentenceTranslation(*span, translation)
            for span, translation in zip(spans, translations, strict=True)
        ]
        if sentences and not any(each.text for each in translations):
            message = translations[0].problem or "The model ends this text before its first word."
        joined = "" if message else _join(text, sentences)
        return TranslationAnswer(joined, message, sentences, 1000 * (time.perf_counter() - began))

    def predict_batch(self, texts: Sequence[str], beam_size: int = BEAM_SIZE) -> list[TranslationAnswer]:
        """The translations of several texts, in their order."""
        return [self.predict(text, beam_size) for text in texts]

    def translate(self, sentences: Sequence[str], beam_size: int = BEAM_SIZE) -> list["Translation"]:
        """The translations of texts that are one sentence each, in their order."""
        from course_lib.translation import translate

        return translate(
            sentences,
            self._source,
            self._target,
            self._network,
            beam_size=beam_size,
            alpha=ALPHA,
            batch_size=_BATCH_SIZE,
        )

    def _seems_english(self, text):
        """Whether its lower-case words do not fall into small pieces, or are too few to tell."""
        tokens = [text[start:end] for start, end in token_spans(text)]
        words = [token for token in tokens if token.isalpha() and token.islower()]
        num_pieces = sum(map(len, self._source.encode_all(words)))
        return len(words) < _FEWEST_WORDS or len("".join(words)) >= _ENGLISH_LETTERS * num_pieces


def search_network(encoder: Network, decoder: Network) -> "SearchNetwork":
    """The two graphs of `translator_to_onnx` as functions for greedy and beam search.

    Args:
        encoder: with the vectors of source tokens.
        decoder: with the vectors of target tokens.
    """
    from course_lib.translation import SearchNetwork

    def encode(source_ids: np.ndarray) -> tuple[dict, dict]:
        memory = encoder.run({"token_ids": source_ids})
        state = {name: memory.pop(name) for name in ("hidden", "cell")}
        return memory | {"source_mask": source_ids != PAD_ID}, state

    def step(token_ids: np.ndarray, memory: dict, state: dict) -> tuple[np.ndarray, np.ndarray, dict]:
        outputs = decoder.run({"token_ids": token_ids[:, None], **memory, **state})
        return outputs["logits"], outputs["attention"], {name: outputs[f"next_{name}"] for name in state}

    return SearchNetwork(encode, step)


def _join(text, sentences):
    """The translations with a line break where the text has one between sentences, and a space elsewhere."""
    parts, end = [], 0
    for sentence in sentences:
        if sentence.translation.text:
            if parts:
                parts.append("\n" if "\n" in text[end : sentence.start] else " ")
            parts.append(sentence.translation.text)
        end = sentence.end
    return "".join(parts)
