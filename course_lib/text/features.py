"""What a tagger reads of a token: its word, its characters, its casing."""

from collections.abc import Iterable, Sequence

import numpy as np

from course_lib.errors import UsageError
from course_lib.text.padding import truncate
from course_lib.text.tagging import allowed_transitions
from course_lib.text.vocabulary import PAD_ID, Vocabulary

CASINGS = ("lower", "title", "upper", "mixed", "number", "mostly_digits", "has_digit", "other")
CASING_VOCABULARY = Vocabulary(CASINGS)


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

    Attributes:
        allowed: bool (num_tags + 1, num_tags + 1), see `allowed_transitions`.
    """

    def __init__(
        self,
        words: Vocabulary,
        characters: Vocabulary,
        tags: Sequence[str],
        scheme: str,
        max_chars: int = 20,
    ):
        self.words = words
        self.characters = characters
        self.tags = list(tags)
        self.scheme = scheme
        self.max_chars = max_chars
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
        return {name: [features[name] for features in encoded] for name in self.encode([])}

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
        """The tags of the ids."""
        return [self.tags[index] for index in ids]
