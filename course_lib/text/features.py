"""What a tagger reads of a token: its word, its characters, its casing."""

import numbers
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.errors import UsageError
from course_lib.text.padding import truncate
from course_lib.text.storage import read_document, string_list, write_document
from course_lib.text.tagging import allowed_transitions
from course_lib.text.vocabulary import PAD_ID, Vocabulary, look_up

CASINGS = ("lower", "title", "upper", "mixed", "number", "mostly_digits", "has_digit", "other")
CASING_VOCABULARY = Vocabulary(CASINGS)
_FORMAT, _KIND = "course_lib.TaggingEncoder/1", "tagging encoder"


def casing(token: str) -> str:
    """The shape of a token, one of `CASINGS`: `title` Rome, `mixed` McDonald, `number` 6-4, `other` ..."""
    num_digits = sum(character.isdigit() for character in token)
    if num_digits:
        if all(character.isdigit() or character in ".,:/+-" for character in token):
            return "number"
        return "mostly_digits" if 2 * num_digits > len(token) else "has_digit"
    if token.islower():
        return "lower"
    if token.isupper():
        return "upper"
    if token[:1].isupper() and token[1:] == token[1:].lower():
        return "title"
    return "mixed" if token.lower() != token.upper() else "other"


class TaggingEncoder:
    """Tokens to a tagger's features and tags to ids, the same in training, notebooks and app.

    Args:
        words: vocabulary of lower-cased words.
        characters: vocabulary of characters.
        tags: all tags, in the order of their ids.
        scheme: `BIO` or `BIOES`.
        max_chars: a longer token keeps half of these characters from its start and half from its end.
        context_length: the tagger is trained to read neighbouring sentences together up to so many tokens
            (`group_sentences`); 1 stands for one sentence at a time.

    Attributes:
        allowed: bool (num_tags + 1, num_tags + 1), see `allowed_transitions`.

    Raises:
        UsageError: an unknown scheme, no tags, one that is none of the scheme or occurs twice, or a length
            that is not a whole number of at least 1.
    """

    def __init__(
        self,
        words: Vocabulary,
        characters: Vocabulary,
        tags: Sequence[str],
        scheme: str,
        max_chars: int = 20,
        context_length: int = 1,
    ):
        for name, value in (("max_chars", max_chars), ("context_length", context_length)):
            if not isinstance(value, numbers.Integral) or value < 1:
                raise UsageError(f"{name} is {value!r}; it must be a whole number, at least 1.")
        self.words = words
        self.characters = characters
        self.tags = list(tags)
        self.scheme = scheme
        self.max_chars = int(max_chars)
        self.context_length = int(context_length)
        if len(set(self.tags)) != len(self.tags) or not self.tags:
            raise UsageError("A tagging encoder needs at least one tag, and each of them once.")
        self.allowed = allowed_transitions(self.tags, scheme)
        self._tag_ids = {tag: index for index, tag in enumerate(self.tags)}

    def encode(self, tokens: Sequence[str]) -> dict[str, np.ndarray]:
        """One sentence's int32 features: token and casing ids (time,), char ids (time, max_chars)."""
        char_ids = np.full((len(tokens), self.max_chars), PAD_ID, dtype=np.int32)
        for row, token in zip(char_ids, tokens, strict=True):
            ids = truncate(self.characters.encode(token), self.max_chars)
            row[: len(ids)] = ids
        return {
            "token_ids": np.array(self.words.encode(token.lower() for token in tokens), dtype=np.int32),
            "char_ids": char_ids,
            "casing_ids": np.array(CASING_VOCABULARY.encode(map(casing, tokens)), dtype=np.int32),
        }

    def encode_sentences(self, sentences: Iterable[Sequence[str]]) -> dict[str, list[np.ndarray]]:
        """Several sentences' features as `BucketedBatches` takes them: name → one array for each sentence."""
        encoded = [self.encode(tokens) for tokens in sentences]
        names = encoded[0] if encoded else self.encode([])
        return {name: [features[name] for features in encoded] for name in names}

    def encode_tags(self, tags: Iterable[str]) -> np.ndarray:
        """The ids of the tags, int32 (time,).

        Raises:
            UsageError: a tag is not among `tags`.
        """
        try:
            return np.array([self._tag_ids[tag] for tag in tags], dtype=np.int32)
        except KeyError as error:
            raise UsageError(f"Unknown tag {error.args[0]!r}. Known: {', '.join(self.tags)}.") from None

    def decode_tags(self, ids: Iterable[int]) -> list[str]:
        """The tags of the ids.

        Raises:
            UsageError: an id that stands for no tag, such as the -1 at padding.
        """
        return look_up(self.tags, ids, "tag")

    def save(self, path: str | Path) -> None:
        """Writes the encoder as JSON with a checksum; the old file stays until the new one is whole.

        Raises:
            CourseError: the file cannot be written.
        """
        content = {
            "format": _FORMAT,
            "words": self.words.tokens[2:],
            "characters": self.characters.tokens[2:],
            "tags": self.tags,
            "scheme": self.scheme,
            "max_chars": self.max_chars,
            "context_length": self.context_length,
        }
        write_document(path, content, _KIND, TaggingEncoder.load)

    @classmethod
    def load(cls, path: str | Path) -> "TaggingEncoder":
        """Reads an encoder that `save` wrote.

        Raises:
            CourseError: the file is missing, unreadable, damaged, or of another format.
        """
        return read_document(path, _FORMAT, _KIND, cls._from_content)

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> "TaggingEncoder":
        words, characters = (
            Vocabulary(string_list(content.pop(name), name)) for name in ("words", "characters")
        )
        return cls(words, characters, string_list(content.pop("tags"), "tags"), **content)
