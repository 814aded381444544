"""`TextEncoder`: raw text to token ids, the same in training, notebooks and app."""

import numbers
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.errors import UsageError, unknown_name
from course_lib.text.cleaning import CLEANING_STEPS, DEFAULT_STEPS, clean
from course_lib.text.padding import TRUNCATIONS, pad, truncate
from course_lib.text.storage import read_document, string_list, write_document
from course_lib.text.tokenization import tokenize
from course_lib.text.vocabulary import UNKNOWN_ID, Vocabulary

_FORMAT, _KIND = "course_lib.TextEncoder/1", "text encoder"


class TextEncoder:
    """Cleans, tokenizes, looks up and truncates; pure Python and NumPy.

    Args:
        vocabulary: which token has which id.
        max_length: sequences are cut to this many ids.
        truncation: `head`, `tail` or `head_tail`.
        steps: names of the cleaning steps, in order.

    Raises:
        UsageError: `max_length` is no whole number of at least 1, or an unknown truncation or cleaning step.

    Example:
        >>> encoder = TextEncoder.fit(["A fine film.", "A dull film."], max_length=4)
        >>> encoder.decode(encoder.encode("A very fine film."))
        ['a', '[UNK]', 'film', '.']
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        truncation: str = "head_tail",
        steps: Sequence[str] = DEFAULT_STEPS,
    ):
        if not isinstance(max_length, numbers.Integral) or max_length < 1:
            raise UsageError(f"max_length is {max_length!r}; it must be a whole number, at least 1.")
        if truncation not in TRUNCATIONS:
            raise unknown_name("truncation", truncation, TRUNCATIONS)
        for step in steps:
            if step not in CLEANING_STEPS:
                raise unknown_name("cleaning step", step, CLEANING_STEPS)
        self.vocabulary = vocabulary
        self.max_length = int(max_length)
        self.truncation = truncation
        self.steps = tuple(steps)

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        max_length: int,
        max_size: int | None = 20_000,
        min_count: int = 1,
        truncation: str = "head_tail",
        steps: Sequence[str] = DEFAULT_STEPS,
    ) -> "TextEncoder":
        """Builds the vocabulary from training texts and returns the encoder around it; errors as above."""
        vocabulary = Vocabulary.build((tokenize(clean(text, steps)) for text in texts), max_size, min_count)
        return cls(vocabulary, max_length, truncation, steps)

    def tokenize(self, text: str) -> list[str]:
        """The cleaned text's tokens, before look-up and truncation."""
        return tokenize(clean(text, self.steps))

    def encode(self, text: str) -> list[int]:
        """One text as 1 to `max_length` ids; a text without any token becomes one unknown token."""
        return self.encode_tokens(self.tokenize(text))

    def encode_tokens(self, tokens: Iterable[str]) -> list[int]:
        """The same for the tokens that `tokenize` returned."""
        ids = self.vocabulary.encode(tokens)
        return truncate(ids, self.max_length, self.truncation) or [UNKNOWN_ID]

    def encode_batch(self, texts: Sequence[str], length: int | None = None) -> np.ndarray:
        """Several texts as a right-padded int32 array of shape (batch, time)."""
        return pad([self.encode(text) for text in texts], length)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The tokens of the ids; padding is left out."""
        return self.vocabulary.decode(ids)

    def save(self, path: str | Path) -> None:
        """Writes the encoder as JSON with a checksum; the old file stays until the new one is whole.

        Raises:
            CourseError: the file cannot be written.
        """
        content = {
            "format": _FORMAT,
            "max_length": self.max_length,
            "truncation": self.truncation,
            "steps": list(self.steps),
            "tokens": self.vocabulary.tokens[2:],
        }
        write_document(path, content, _KIND, TextEncoder.load)

    @classmethod
    def load(cls, path: str | Path) -> "TextEncoder":
        """Reads an encoder that `save` wrote.

        Raises:
            CourseError: the file is missing, unreadable, damaged, or of another format.
        """
        return read_document(path, _FORMAT, _KIND, cls._from_content)

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> "TextEncoder":
        return cls(Vocabulary(string_list(content.pop("tokens"), "tokens")), **content)
