"""The plain records that the loaders return."""

from typing import NamedTuple


class LabelledText(NamedTuple):
    """A text and its class, for example a review with 0 for negative and 1 for positive."""

    text: str
    label: int


class TaggedSentence(NamedTuple):
    """A tokenized sentence; `pos`, `chunks` and `entities` hold one tag for each token.

    `document` numbers the documents of a split from 0, so that splits can be made by document.
    """

    tokens: tuple[str, ...]
    pos: tuple[str, ...]
    chunks: tuple[str, ...]
    entities: tuple[str, ...]
    document: int


class SummarizedText(NamedTuple):
    """A text and the summary that a person wrote for it."""

    text: str
    summary: str


class RatedText(NamedTuple):
    """A sentence with the mean rating of its readers, from -4 (very negative) to 4 (very positive).

    `domain` is films, products, news or tweets; sentences of one `document` belong into one split; `raters`
    are the single ratings, whole numbers, 15 or more.
    """

    text: str
    rating: float
    domain: str
    document: str
    raters: tuple[int, ...]


class YesNoQuestion(NamedTuple):
    """A question and a passage that answers it; `label` is 1 for yes and 0 for no.

    `title` is the name of the article that the passage comes from.
    """

    question: str
    passage: str
    title: str
    label: int


class ReadingQuestion(NamedTuple):
    """A question on a passage and what people answered; `answers` is empty if the passage does not tell.

    `spans` holds (start, end) character offsets: `passage[start:end]` is an answer, word for word. Answers in
    other words than the passage's have none, so that there may be fewer spans than answers.
    """

    question: str
    passage: str
    answers: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
