"""A lexicon and linear bag-of-words classifiers: what every neural model has to stand beside."""

import functools
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from course_lib.data.fetch import fetch
from course_lib.data.human_ratings import LEXICON_FILE, vader_analyzer
from course_lib.errors import UsageError
from course_lib.text import clean, tokenize


def lexicon_scores(texts: Sequence[str]) -> np.ndarray:
    """VADER's compound score of each raw text, from -1 (most negative) to 1, shape (num_texts,).

    The valences of the words that stand in the lexicon are summed under hand-written rules for negation,
    intensifiers, capitals and punctuation; nothing is trained. NLTK's rules, the course's verified lexicon.

    Raises:
        CourseError: the lexicon cannot be fetched.

    Source: Hutto & Gilbert (2014), "VADER", section 3; the published thresholds are ±`VADER_THRESHOLD`.
    """
    analyzer = _lexicon_analyzer()
    return np.array([analyzer.polarity_scores(text)["compound"] for text in texts], dtype=np.float64)


@functools.cache
def _lexicon_analyzer():
    return vader_analyzer(fetch("human_ratings") / LEXICON_FILE)


def tfidf_logistic_regression(max_ngram: int = 2, min_count: int = 2, strength: float = 10.0) -> Pipeline:
    """Logistic regression on TF-IDF weighted n-grams of the course's tokens; takes lists of raw texts.

    Args:
        max_ngram: 1 for words alone, 2 for words and pairs.
        min_count: n-grams that occur in fewer texts are left out.
        strength: inverse regularization strength, scikit-learn's `C`.
    """
    vectorizer = TfidfVectorizer(
        preprocessor=clean,
        tokenizer=tokenize,
        token_pattern=None,
        ngram_range=(1, max_ngram),
        min_df=min_count,
        sublinear_tf=True,
        dtype=np.float32,
    )
    return make_pipeline(vectorizer, LogisticRegression(C=strength, max_iter=1000))


def nbsvm() -> Pipeline:
    """NBSVM on the presence of words and pairs of words; takes lists of raw texts and labels 0 and 1."""
    vectorizer = CountVectorizer(
        preprocessor=clean,
        tokenizer=tokenize,
        token_pattern=None,
        ngram_range=(1, 2),
        min_df=2,
        binary=True,
        dtype=np.float32,
    )
    return make_pipeline(vectorizer, NBSVM())


class NBSVM(ClassifierMixin, BaseEstimator):
    """A linear support vector machine on features scaled by their Naive Bayes log-count ratio; two classes.

    Args:
        smoothing: added to each count, the paper's α.
        interpolation: the paper's β: 1 keeps the SVM's weights, 0 replaces them by their mean magnitude.
        strength: scikit-learn's `C`.

    Source: Wang & Manning 2012, "Baselines and Bigrams", section 2.3, with the paper's settings as defaults.
    """

    def __init__(self, smoothing: float = 1.0, interpolation: float = 0.25, strength: float = 1.0):
        self.smoothing = smoothing
        self.interpolation = interpolation
        self.strength = strength

    def fit(self, features: sparse.csr_matrix, labels) -> "NBSVM":
        """Fits on binary features (num_texts, num_features) and labels 0 or 1.

        Raises:
            UsageError: there are other labels, or only one.
        """
        labels = np.asarray(labels)
        if set(np.unique(labels)) != {0, 1}:
            raise UsageError(f"NBSVM takes the labels 0 and 1, both; got {np.unique(labels).tolist()}.")
        self.classes_ = np.array([0, 1])
        positive = self.smoothing + np.asarray(features[labels == 1].sum(axis=0)).ravel()
        negative = self.smoothing + np.asarray(features[labels == 0].sum(axis=0)).ravel()
        ratio = (positive / positive.sum()) / (negative / negative.sum())
        self.log_count_ratio_ = np.log(ratio).astype(np.float32)
        svm = LinearSVC(C=self.strength, random_state=0)
        svm.fit(features.multiply(self.log_count_ratio_).tocsr(), labels)
        weights = svm.coef_[0]
        mean_magnitude = np.abs(weights).mean()
        self.weights_ = (1 - self.interpolation) * mean_magnitude + self.interpolation * weights
        self.bias_ = svm.intercept_[0]
        return self

    def decision_function(self, features: sparse.csr_matrix) -> np.ndarray:
        """Signed distances (num_texts,); positive means label 1."""
        check_is_fitted(self)
        return features @ (self.log_count_ratio_ * self.weights_) + self.bias_

    def predict(self, features: sparse.csr_matrix) -> np.ndarray:
        """Labels 0 or 1, shape (num_texts,)."""
        return (self.decision_function(features) > 0).astype(int)
