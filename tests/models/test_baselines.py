"""The baselines: lexicon and NBSVM against numbers worked out by hand, the linear ones on real reviews."""

import socket

import nltk.data
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from course_lib.data import load_imdb
from course_lib.errors import UsageError
from course_lib.models import baselines
from course_lib.models.baselines import NBSVM, lexicon_scores, nbsvm, tfidf_logistic_regression

# Four documents over the words (fine, dull, film), two positive and two negative.
FEATURES = sparse.csr_matrix(np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 1]], dtype=np.float32))
LABELS = np.array([1, 1, 0, 0])
# With one added to each count: positive (3, 1, 2) of 6, negative (1, 3, 3) of 7.
LOG_COUNT_RATIO = np.log([(3 / 6) / (1 / 7), (1 / 6) / (3 / 7), (2 / 6) / (3 / 7)])


def test_log_count_ratio_by_hand():
    np.testing.assert_allclose(LOG_COUNT_RATIO, [1.252763, -0.944462, -0.251314], atol=1e-6)
    np.testing.assert_allclose(NBSVM().fit(FEATURES, LABELS).log_count_ratio_, LOG_COUNT_RATIO, rtol=1e-6)


def test_smoothing_takes_effect():
    # With one half: positive (2.5, 0.5, 1.5) of 4.5, negative (0.5, 2.5, 2.5) of 5.5.
    expected = np.log([(2.5 / 4.5) / (0.5 / 5.5), (0.5 / 4.5) / (2.5 / 5.5), (1.5 / 4.5) / (2.5 / 5.5)])
    np.testing.assert_allclose(
        NBSVM(smoothing=0.5).fit(FEATURES, LABELS).log_count_ratio_, expected, rtol=1e-6
    )


def test_interpolated_weights_by_hand():
    svm = LinearSVC(C=1.0, random_state=0).fit(
        FEATURES.toarray() * LOG_COUNT_RATIO.astype(np.float32), LABELS
    )
    first, second, third = svm.coef_[0]
    mean = (abs(first) + abs(second) + abs(third)) / 3
    expected = [0.75 * mean + 0.25 * first, 0.75 * mean + 0.25 * second, 0.75 * mean + 0.25 * third]
    model = NBSVM().fit(FEATURES, LABELS)
    np.testing.assert_allclose(model.weights_, expected, rtol=1e-5)
    decision = [LOG_COUNT_RATIO[0] * expected[0] + svm.intercept_[0]]
    np.testing.assert_allclose(model.decision_function(FEATURES[1]), decision, rtol=1e-5)


def test_ends_of_the_interpolation():
    only_svm = NBSVM(interpolation=1.0).fit(FEATURES, LABELS)
    svm = LinearSVC(C=1.0, random_state=0).fit(
        FEATURES.toarray() * LOG_COUNT_RATIO.astype(np.float32), LABELS
    )
    np.testing.assert_allclose(only_svm.weights_, svm.coef_[0], rtol=1e-5)
    only_bayes = NBSVM(interpolation=0.0).fit(FEATURES, LABELS)
    assert len(set(only_bayes.weights_)) == 1
    np.testing.assert_allclose(only_bayes.weights_, np.abs(only_svm.weights_).mean(), rtol=1e-6)


def test_strength_takes_effect():
    weak, strong = (NBSVM(strength=c, interpolation=1.0).fit(FEATURES, LABELS).weights_ for c in (0.01, 1.0))
    assert np.abs(weak).sum() < 0.5 * np.abs(strong).sum()


def test_predict_is_the_sign_of_the_decision():
    model = NBSVM().fit(FEATURES, LABELS)
    unseen = sparse.csr_matrix(np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=np.float32))
    decisions = model.decision_function(unseen)
    assert decisions.shape == (4,)
    assert model.predict(unseen).tolist() == [int(value > 0) for value in decisions]
    assert model.predict(unseen)[:2].tolist() == [1, 0]
    assert model.predict(FEATURES).tolist() == LABELS.tolist()
    assert model.classes_.tolist() == [0, 1]


def test_two_fits_are_equal():
    assert (NBSVM().fit(FEATURES, LABELS).weights_ == NBSVM().fit(FEATURES, LABELS).weights_).all()


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [1, 2, 1, 2], [0, 1, 2, 0], ["a", "b", "a", "b"]])
def test_other_labels_are_refused(labels):
    with pytest.raises(UsageError, match="labels 0 and 1"):
        NBSVM().fit(FEATURES, labels)


def test_scikit_learn_can_clone_and_cross_validate():
    model = NBSVM(smoothing=0.5, interpolation=0.5, strength=2.0)
    copy = clone(model.fit(FEATURES, LABELS))
    assert copy.get_params() == {"smoothing": 0.5, "interpolation": 0.5, "strength": 2.0}
    assert not hasattr(copy, "weights_")
    texts = ["fine film", "a fine one", "fine"] * 4 + ["dull film", "a dull one", "dull"] * 4
    labels = [1] * 12 + [0] * 12
    for pipeline in (nbsvm(), tfidf_logistic_regression()):
        assert cross_val_score(clone(pipeline), texts, labels, cv=3).tolist() == [1, 1, 1]


def test_pipelines_use_the_tokens_of_the_course():
    texts = ["I don't <br />like it", "I DON’T like it"]
    for pipeline, values in ((nbsvm(), {0, 1}), (tfidf_logistic_regression(), None)):
        vectorizer = pipeline[0]
        counts = vectorizer.fit_transform(texts * 2).toarray()
        words = {"i", "do", "n't", "like", "it", "i do", "do n't", "n't like", "like it"}
        assert set(vectorizer.get_feature_names_out()) == words
        assert (counts[0] == counts[1]).all()
        if values:
            assert set(np.unique(vectorizer.transform(["like like like"]).toarray())) == values


def test_pipeline_arguments_take_effect():
    texts = ["a b", "a b", "a c"]
    assert set(tfidf_logistic_regression(max_ngram=1, min_count=1)[0].fit(texts).vocabulary_) == {
        "a",
        "b",
        "c",
    }
    for build in (nbsvm, tfidf_logistic_regression):
        assert set(build()[0].fit(texts).vocabulary_) == {"a", "b", "a b"}
    assert tfidf_logistic_regression(strength=3.0)[1].C == 3.0


def test_tfidf_by_hand():
    """One text: tf = 1 + ln(count), idf = ln((1 + 3) / (1 + document count)) + 1, then unit length."""
    vectorizer = tfidf_logistic_regression(max_ngram=1, min_count=1)[0]
    row = vectorizer.fit_transform(["fine fine film", "dull film", "film"]).toarray()[0]
    values = {"fine": (1 + np.log(2)) * (np.log(4 / 2) + 1), "film": 1 * (np.log(4 / 4) + 1), "dull": 0}
    expected = np.array([values[word] for word in vectorizer.get_feature_names_out()])
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), rtol=1e-6)


@pytest.mark.parametrize("build", [tfidf_logistic_regression, nbsvm])
def test_a_thousand_reviews_beat_the_majority_by_far(build):
    training, test = load_imdb("train")[:1000], load_imdb("test")[:400]
    labels = np.array([record.label for record in test])
    majority = max(labels.mean(), 1 - labels.mean())
    model = build().fit([record.text for record in training], [record.label for record in training])
    assert model.score([record.text for record in test], labels) > majority + 0.2


def test_lexicon_scores_by_hand():
    """Valence s to s / sqrt(s² + 15); a negation multiplies by -0.74, "very" adds 0.293."""

    def compound(valence):
        return valence / np.sqrt(valence**2 + 15)

    texts = ["good", "not good", "very good", "a table", ""]
    expected = [compound(1.9), compound(-0.74 * 1.9), compound(1.9 + 0.293), 0, 0]
    np.testing.assert_allclose(lexicon_scores(texts), expected, atol=5e-5)


def test_lexicon_scores_need_no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("something asks for the network")

    lexicon_scores(["the data are in the cache now"])
    baselines._lexicon_analyzer.cache_clear()
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(socket, "socket", refuse)
    assert lexicon_scores(["good"])[0] > 0
