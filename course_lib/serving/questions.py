"""The trained span reader at work, without TensorFlow: question and passage in, typed answer out."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from course_lib.question_answering import ReaderSettings, encode_with_spans, find_answer, passage_windows
from course_lib.serving.cards import ENCODER, GRAPHS, READING, WORDS, read_model
from course_lib.serving.network import Network, WordVectors
from course_lib.text.encoder import TextEncoder
from course_lib.text.vocabulary import UNKNOWN_ID


class QuestionAnswer(NamedTuple):
    """What a passage says to a question.

    Attributes:
        text: the answer, `passage[start:end]`; without one, empty.
        start, end: character offsets in the passage.
        message: one sentence that says why there is no answer; otherwise empty.
        log_odds: of the best words of the passage against "no answer", in nats; minus infinity if nothing
            was read.
        num_tokens: in the passage.
        unknown_share: of these tokens, the part that the vocabulary does not hold.
        num_windows: parts that a passage of this length is read in.
        latency_ms: the time this took.
    """

    text: str
    start: int
    end: int
    message: str
    log_odds: float
    num_tokens: int
    unknown_share: float
    num_windows: int
    latency_ms: float


class QuestionPredictor:
    """Answers a question by words of a passage, or says that the passage does not tell.

    Args:
        network: from `roles` and the vectors of `token_ids` to the pointers' scores (batch, time, 2).
        encoder: the one that the network was trained with.
        settings: windows, longest answer, and the log-odds that an answer must exceed.
    """

    tasks = ("question_answering",)

    def __init__(self, network: Network, encoder: TextEncoder, settings: ReaderSettings):
        self._network = lambda token_ids, roles: network({"token_ids": token_ids, "roles": roles})
        self._encode = functools.partial(encode_with_spans, encoder=encoder)
        self._settings = settings

    @classmethod
    def load(cls, folder: str | Path, precision: str = "float32") -> "QuestionPredictor":
        """Reads a published model; `precision` is "float32" or "int8".

        Raises:
            UsageError: an unknown precision.
            CourseError: a file is missing, is not the one that the card describes, or serves another task.
        """
        folder = Path(folder)
        _, contents = read_model(folder, precision, cls.tasks)
        network = Network(contents[GRAPHS[precision]], WordVectors.load(folder / WORDS))
        return cls(network, TextEncoder.load(folder / ENCODER), ReaderSettings.load(folder / READING))

    @property
    def threshold(self) -> float:
        """The log-odds that an answer must exceed."""
        return self._settings.threshold

    def predict(self, question: str, passage: str, threshold: float | None = None) -> QuestionAnswer:
        """The words of the passage that answer the question, whatever both hold; else the answer says why.

        The passage is read window by window, so that memory stays bounded; a question is cut to
        `course_lib.question_answering.MAX_QUESTION_LENGTH` tokens.

        Args:
            question, passage: English texts.
            threshold: log-odds to exceed instead of the model's own; minus infinity always gives the best
                words of a passage that can be read.
        """
        began = time.perf_counter()
        encode = functools.cache(self._encode)  # for this pair alone
        settings = self._settings if threshold is None else self._settings._replace(threshold=threshold)
        found = find_answer(question, passage, encode, self._network, **settings._asdict())
        ids, _ = encode(passage)
        return QuestionAnswer(
            found.text,
            found.start,
            found.end,
            found.problem or "",
            found.score,
            len(ids),
            ids.count(UNKNOWN_ID) / max(len(ids), 1),
            len(passage_windows(len(ids), settings.window, settings.stride)),
            1000 * (time.perf_counter() - began),
        )

    def predict_batch(
        self, pairs: Sequence[tuple[str, str]], threshold: float | None = None
    ) -> list[QuestionAnswer]:
        """The answers to several pairs of question and passage, in their order."""
        return [self.predict(question, passage, threshold) for question, passage in pairs]
