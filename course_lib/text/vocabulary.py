"""The vocabulary: which token has which id."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from course_lib.errors import UsageError

PAD, UNKNOWN = "[PAD]", "[UNK]"
PAD_ID, UNKNOWN_ID = 0, 1


class Vocabulary:
    """An ordered list of tokens; the position is the id. Id 0 is padding, id 1 means every unknown token.

    Args:
        tokens: the tokens without the two special ones, most frequent first.

    Raises:
        UsageError: a token is not a string, occurs twice or is one of the special tokens.
    """

    def __init__(self, tokens: Sequence[str]):
        if not all(isinstance(token, str) for token in tokens):
            raise UsageError("The tokens of a vocabulary must all be strings.")
        self.tokens = [PAD, UNKNOWN, *tokens]
        # The special tokens are left out: a text that spells "[PAD]" must not turn into padding.
        self._ids = {token: index for index, token in enumerate(tokens, start=2)}
        if len(self._ids) != len(tokens) or PAD in self._ids or UNKNOWN in self._ids:
            raise UsageError(f"A vocabulary needs distinct tokens and adds {PAD} and {UNKNOWN} itself.")

    @classmethod
    def build(
        cls, texts: Iterable[Iterable[str]], max_size: int | None = None, min_count: int = 1
    ) -> "Vocabulary":
        """Counts the tokens of tokenized texts and keeps the most frequent ones.

        Args:
            texts: one iterable of tokens per text; training texts only.
            max_size: at most this many entries, the two special ones included.
            min_count: tokens that occur less often are left out.
        """
        counts = Counter()
        for tokens in texts:
            counts.update(tokens)
        return cls.from_counts(counts, max_size, min_count)

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int], max_size: int | None = None, min_count: int = 1
    ) -> "Vocabulary":
        """The same from counts that are there already: how often each token occurs."""
        # Ties are broken by spelling, so that the order of the texts does not matter.
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        ranked = [token for token in ranked if counts[token] >= min_count and token not in (PAD, UNKNOWN)]
        return cls(ranked if max_size is None else ranked[: max(0, max_size - 2)])

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """The ids of the tokens; unknown ones become `UNKNOWN_ID`."""
        ids = self._ids
        return [ids.get(token, UNKNOWN_ID) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The tokens of the ids; padding is left out.

        Raises:
            UsageError: an id that stands for no token.
        """
        return look_up(self.tokens, [index for index in ids if index != PAD_ID], "token")


def look_up(items: Sequence[str], ids: Iterable[int], kind: str) -> list[str]:
    """The item with each id; `kind` says in the message what they are.

    Raises:
        UsageError: an id outside of the items; Python would count -1 from the end.
    """
    ids = list(ids)
    wrong = next((index for index in ids if not 0 <= index < len(items)), None)
    if wrong is not None:
        raise UsageError(f"The id {wrong} stands for no {kind}: ids run from 0 to {len(items) - 1}.")
    return [items[index] for index in ids]
