"""VADER's lexicon and rules as a predictor: what a sentiment model that has learned stands beside.

The folder `vader` holds the lexicon, unchanged, and its licence: the demo needs neither cache nor download.
"""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from course_lib.data.human_ratings import LEXICON_FILE, THREE_CLASSES, VADER_THRESHOLD, vader_analyzer

if TYPE_CHECKING:
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

LEXICON = Path(__file__).parent / "vader" / LEXICON_FILE


class LexiconAnswer(NamedTuple):
    """The class, VADER's compound score from -1 (most negative) to 1, and the time in milliseconds."""

    label: str
    score: float
    latency_ms: float


class LexiconPredictor:
    """Classifies texts by the valences of their words under hand-written rules; nothing is trained.

    Source: Hutto & Gilbert (2014), "VADER", section 3; NLTK's implementation of the rules.
    """

    name = "VADER's lexicon and rules"
    labels = THREE_CLASSES

    def predict(self, text: str) -> LexiconAnswer:
        """The answer for one text; one without words of the lexicon is neutral."""
        analyzer = _analyzer()  # the first one takes a while to load
        began = time.perf_counter()
        score = analyzer.polarity_scores(text)["compound"]
        label = self.labels[1 + (score >= VADER_THRESHOLD) - (score <= -VADER_THRESHOLD)]
        return LexiconAnswer(label, score, 1000 * (time.perf_counter() - began))

    def predict_batch(self, texts: Sequence[str]) -> list[LexiconAnswer]:
        """The answers for several texts, in their order."""
        return [self.predict(text) for text in texts]


@functools.cache
def _analyzer() -> "SentimentIntensityAnalyzer":
    return vader_analyzer(LEXICON)
