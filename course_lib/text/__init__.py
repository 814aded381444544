"""From raw text to padded ids: cleaning, tokens, vocabulary, truncation. Needs no TensorFlow.

`course_lib.text.batches` holds the batches for training; it needs Keras and is imported by its own name.
"""

from course_lib.text.cleaning import (
    CLEANING_STEPS,
    DEFAULT_STEPS,
    clean,
    collapse_whitespace,
    lowercase,
    normalize_unicode,
    remove_control_characters,
    repair_windows_1252,
    straighten_quotes,
    strip_accents,
    strip_html,
    unescape_entities,
)
from course_lib.text.encoder import TextEncoder
from course_lib.text.padding import TRUNCATIONS, choose_bucket_lengths, pad, truncate
from course_lib.text.sentences import sentence_spans
from course_lib.text.tokenization import token_spans, tokenize
from course_lib.text.vocabulary import PAD, PAD_ID, UNKNOWN, UNKNOWN_ID, Vocabulary

__all__ = [
    "CLEANING_STEPS",
    "DEFAULT_STEPS",
    "PAD",
    "PAD_ID",
    "TRUNCATIONS",
    "UNKNOWN",
    "UNKNOWN_ID",
    "TextEncoder",
    "Vocabulary",
    "choose_bucket_lengths",
    "clean",
    "collapse_whitespace",
    "lowercase",
    "normalize_unicode",
    "pad",
    "remove_control_characters",
    "repair_windows_1252",
    "sentence_spans",
    "straighten_quotes",
    "strip_accents",
    "strip_html",
    "token_spans",
    "tokenize",
    "truncate",
    "unescape_entities",
]
