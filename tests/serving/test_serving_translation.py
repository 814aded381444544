"""Text in, translation out: as with the Keras model, for any text, in bounded time; languages."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import WORDS

from course_lib.data import load_tatoeba_en_es
from course_lib.errors import UsageError
from course_lib.models.translator import search_network
from course_lib.serving.translation import TranslationPredictor
from course_lib.text.subwords import Subwords
from course_lib.translation import longest_target, translate

TEXT = "the film was not good. Anna visits Rome! a dull plot is a dull film."
LONG = "very " * 399 + "good."


@pytest.fixture(scope="module", params=["float32", "int8"])
def predictor(published, request):
    return TranslationPredictor.load(published / "translation", request.param)


@pytest.fixture(scope="module")
def exact(published):
    return TranslationPredictor.load(published / "translation")


@pytest.mark.parametrize("beam_size", [1, 4])
def test_translations_are_those_of_the_keras_model(exact, rounded, artifacts, beam_size):
    network = search_network(rounded["translation"])
    texts = [*artifacts.texts[:12], *TEXT.split(". ")]
    expected = translate(texts, *artifacts.encoders["translation"], network, beam_size=beam_size)
    found = exact.translate(texts, beam_size)
    assert len({each.text for each in expected}) > 5
    for one, two in zip(expected, found, strict=True):
        assert (one.text, one.problem, one.target_tokens) == (two.text, two.problem, two.target_tokens)
        np.testing.assert_allclose(one.attention, two.attention, atol=1e-4)


def test_a_text_is_translated_sentence_by_sentence(exact):
    answer = exact.predict(TEXT)
    sentences = [TEXT[sentence.start : sentence.end] for sentence in answer.sentences]
    assert sentences == ["the film was not good.", "Anna visits Rome!", "a dull plot is a dull film."]
    for sentence, (_, _, translation) in zip(sentences, answer.sentences, strict=True):
        (alone,) = exact.translate([sentence])
        assert alone.text == translation.text and alone.problem is translation.problem is None
        assert alone.log_probability == pytest.approx(translation.log_probability, abs=1e-3)
    texts = [sentence.translation.text for sentence in answer.sentences]
    assert answer.text == " ".join(filter(None, texts)) and answer.message == ""
    broken = exact.predict(TEXT.replace("! ", "!\n\n")).text
    assert broken == "\n".join([" ".join(filter(None, texts[:2])), texts[2]]) and all(texts[1:])
    assert answer.latency_ms > 0


def test_attention_has_a_row_that_sums_to_one_for_each_subword(predictor):
    for sentence in predictor.predict(TEXT).sentences:
        translation = sentence.translation
        shape = (len(translation.target_tokens), len(translation.source_tokens))
        assert translation.attention.shape == shape
        np.testing.assert_allclose(translation.attention.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "There is nothing to translate: the text holds no words."),
        (" \u200b\n\t ", "There is nothing to translate: the text holds no words."),
        ("?! … —", "There is nothing to translate: the text holds no words."),
        ("日本語の文章", "The model has learnt none of these characters: it translates from English."),
        (
            "wir gehen heute mit den kindern in den park",
            "There is no translation: the text does not seem to be English.",
        ),
    ],
)
def test_without_a_translation_there_is_a_reason(predictor, text, message):
    answer = predictor.predict(text)
    assert (answer.text, answer.message) == ("", message)


def test_a_sentence_of_400_words_is_refused_and_its_neighbours_are_translated(predictor):
    alone = predictor.predict(LONG)
    assert alone.text == "" and alone.message == alone.sentences[0].translation.problem
    assert alone.message.startswith("The sentence has 401 subwords and the model takes 100")
    answer = predictor.predict(f"{TEXT} {LONG} {TEXT}")
    problems = [sentence.translation.problem for sentence in answer.sentences]
    assert [problem is None for problem in problems] == [True] * 3 + [False] + [True] * 3
    assert answer.message == "" and answer.text


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_search_over_400_words_ends(exact, beam_size):
    (found,) = translate(
        [LONG], exact._source, exact._target, exact._network, beam_size=beam_size, max_source_length=500
    )
    assert found.problem is None and len(found.source_tokens) == 401
    assert len(found.target_tokens) <= longest_target(401)


def test_20_000_characters_are_answered_in_time(exact):
    words = " ".join(WORDS[:13])
    for text in (f"{words}. " * 500, words * 500, "good" * 5_000, "x. " * 6_667):
        began = time.process_time()
        answer = exact.predict(text[:20_000])
        assert bool(answer.text) != bool(answer.message)
        assert time.process_time() - began < 10


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_any_text_gets_a_translation_or_a_reason(exact, text):
    answer = exact.predict(text, beam_size=1)
    assert bool(answer.text) != bool(answer.message)
    for sentence in answer.sentences:
        assert bool(sentence.translation.problem) != bool(sentence.translation.source_tokens)


def test_a_batch_gives_what_single_texts_give(exact):
    texts = [TEXT, "", "good film"]
    answers = exact.predict_batch(texts, 1)
    assert [answer.text for answer in answers] == [exact.predict(text, 1).text for text in texts]
    with pytest.raises(UsageError, match="beam_size"):
        exact.predict(TEXT, 0)


def test_english_is_told_from_other_languages():
    """On sentences that the subwords were not learned from; names and other short texts are let through."""
    pairs = load_tatoeba_en_es()
    source = Subwords.train([pair.source for pair in pairs[::2]], 5_000)
    predictor = TranslationPredictor(None, source, None)
    held_out = pairs[1::40]
    assert np.mean([predictor._seems_english(pair.source) for pair in held_out]) > 0.998
    long = [pair.references[0] for pair in held_out if len(pair.references[0].split()) > 7]
    assert np.mean([predictor._seems_english(text) for text in long]) < 0.2
    for text in (
        "Das Wetter ist heute schön und wir gehen mit den Kindern in den Park.",
        "Je ne sais pas où elle habite, mais je crois que sa maison est près de la mer.",
        "Non so dove abita, ma credo che la sua casa sia vicino al mare.",
    ):
        assert not predictor._seems_english(text)
    for text in ("Tom Jackson", "Bodega Bay, Albuquerque", "hola", "", "日本"):
        assert predictor._seems_english(text)


def test_nothing_of_the_translator_is_loaded_before_it_is_asked_for(published):
    code = f"""
import sys
from course_lib.serving.predictors import SentimentPredictor, TranslationPredictor
SentimentPredictor.load({str(published / "sentiment")!r}).predict("good")
print("tokenizers" in sys.modules)
TranslationPredictor.load({str(published / "translation")!r}).predict("the film was good")
print("tokenizers" in sys.modules, *({{"tensorflow", "keras", "onnx"}} & set(sys.modules)))
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "True"]
