"""The lexicon beside the learned models: the published file, VADER's scores and thresholds, any text."""

import hashlib
import os
import subprocess
import sys

import pytest

from course_lib.data.catalog import load_catalog
from course_lib.models import baselines
from course_lib.serving.lexicon import LEXICON, LexiconPredictor

predictor = LexiconPredictor()


def test_the_shipped_lexicon_is_the_catalogs_with_its_licence():
    (published,) = (
        file for file in load_catalog()["human_ratings"].files if file.name == "vader_lexicon.txt"
    )
    assert hashlib.sha256(LEXICON.read_bytes()).hexdigest() == published.sha256
    licence = LEXICON.with_name("LICENSE.txt").read_text(encoding="utf-8")
    assert "The MIT License" in licence and "Copyright (c) 2014 cjhutto" in licence


@pytest.mark.parametrize(
    "text, valence, label",
    [
        ("good", 1.9, "positive"),
        ("The plot is horrible", -2.5, "negative"),
        # Negation turns a valence round and takes a quarter off: the constant is -0.74.
        ("not good", -0.74 * 1.9, "negative"),
        ("The committee will meet on Thursday.", 0, "neutral"),
        ("", 0, "neutral"),
    ],
)
def test_scores_by_hand(text, valence, label):
    """A sum x of valences becomes x / sqrt(x² + 15), as in the authors' code, to four digits."""
    answer = predictor.predict(text)
    assert answer.score == pytest.approx(valence / (valence**2 + 15) ** 0.5, abs=5e-5)
    assert answer.label == label and answer.latency_ms >= 0


@pytest.mark.parametrize(
    "score, label",
    [
        (-0.06, "negative"),
        (-0.05, "negative"),
        (-0.04, "neutral"),
        (0.04, "neutral"),
        (0.05, "positive"),
        (0.06, "positive"),
    ],
)
def test_neutral_lies_between_the_thresholds(monkeypatch, score, label):
    class Analyzer:
        def polarity_scores(self, text):
            return {"compound": score}

    monkeypatch.setattr("course_lib.serving.lexicon._analyzer", Analyzer)
    assert predictor.predict("any text")[:2] == (label, score)


def test_it_is_the_baseline_of_the_notebooks():
    texts = ["A good film.", "It is NOT a bad film!!", "awful, but the end is great :)", "table"]
    assert [answer.score for answer in predictor.predict_batch(texts)] == list(
        baselines.lexicon_scores(texts)
    )


@pytest.mark.parametrize("text", ["\x00", "\ud800", "!" * 20_000, "not " * 5_000, "a" * 20_000, "好" * 2_000])
def test_any_text_gets_an_answer_soon(text):
    answer = predictor.predict(text)
    assert answer.label in predictor.labels and -1 <= answer.score <= 1
    assert answer.latency_ms < 2_000


def test_it_needs_no_cache_and_nothing_that_trains(tmp_path):
    code = """
import sys
for name in ("tensorflow", "keras", "pandas", "sklearn", "scipy", "pooch"):
    sys.modules[name] = None
from course_lib.serving.lexicon import LexiconPredictor
print(LexiconPredictor().predict("good").label)
"""
    environment = os.environ | {"COURSE_CACHE": str(tmp_path / "none")}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout == "positive\n", run.stderr
    assert not (tmp_path / "none").exists()
