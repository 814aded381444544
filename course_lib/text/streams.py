"""One long stream of token ids, cut into windows for truncated back-propagation."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np

from course_lib.errors import UsageError
from course_lib.text.batches import NUM_WORKERS
from course_lib.text.vocabulary import Vocabulary

# Stands after each text of a stream; the vocabulary holds it like any other token.
END_OF_TEXT = "<eos>"


def token_stream(texts: Iterable[Sequence[str]], vocabulary: Vocabulary) -> np.ndarray:
    """The ids of all tokens in one row, each text followed by `END_OF_TEXT`: int32 (num_tokens,).

    Raises:
        UsageError: the vocabulary lacks `END_OF_TEXT`, or there is no text.
    """
    if END_OF_TEXT not in vocabulary:
        raise UsageError(f"The vocabulary lacks {END_OF_TEXT}: append it to each text before counting.")
    parts = [vocabulary.encode([*tokens, END_OF_TEXT]) for tokens in texts]
    if not parts:
        raise UsageError("A token stream needs at least one text.")
    return np.concatenate([np.array(part, dtype=np.int32) for part in parts])


class StreamBatches(keras.utils.PyDataset):
    """Windows of a stream in reading order: row i of a window goes on where row i of the one before ended.

    The stream is cut into `batch_size` rows of equal length; a model that keeps its state from window to
    window reads each row as one text, while gradients reach back through `num_steps` tokens only. Fewer
    tokens than would make one more window are left out at the end of the rows.

    Args:
        ids: the stream, int (num_tokens,), as `token_stream` returns it.
        batch_size: number of rows.
        num_steps: tokens of a row in each window.
        directions: `forward` predicts the next token; `backward` reads the reversed stream and so predicts
            the previous one.

    Attributes:
        epoch: kept for `train`; the windows are the same in each epoch.

    `batches[i]` is `(inputs, targets)`, two dicts from direction to int32 (batch_size, num_steps).

    Raises:
        UsageError: too short a stream, no rows or steps, or an unknown direction.

    Source: Williams & Peng 1990 for truncated back-propagation through time.
    """

    def __init__(
        self,
        ids: np.ndarray,
        *,
        batch_size: int,
        num_steps: int,
        directions: Sequence[str] = ("forward",),
    ):
        super().__init__(workers=NUM_WORKERS)
        check_directions(directions)
        if batch_size < 1 or num_steps < 1:
            raise UsageError(
                f"batch_size is {batch_size} and num_steps {num_steps}; both must be at least 1."
            )
        row_length = (len(ids) - 1) // batch_size
        if row_length < num_steps:
            raise UsageError(
                f"A stream of {len(ids):,} tokens is too short for {batch_size} rows of {num_steps} tokens "
                "and one more: use a longer stream, fewer rows or shorter windows."
            )
        self.batch_size, self.num_steps = batch_size, num_steps
        self.epoch = 0
        self._num_windows = row_length // num_steps
        used = batch_size * row_length
        self._rows = {}
        for direction in directions:
            stream = ids if direction == "forward" else ids[::-1]
            self._rows[direction] = (
                np.ascontiguousarray(stream[:used].reshape(batch_size, row_length), dtype=np.int32),
                np.ascontiguousarray(stream[1 : used + 1].reshape(batch_size, row_length), dtype=np.int32),
            )

    def __len__(self) -> int:
        return self._num_windows

    def __getitem__(self, index: int):
        window = slice(index * self.num_steps, (index + 1) * self.num_steps)
        inputs = {direction: rows[:, window] for direction, (rows, _) in self._rows.items()}
        return inputs, {direction: rows[:, window] for direction, (_, rows) in self._rows.items()}


def check_directions(directions: Sequence[str]) -> None:
    """Raises `UsageError` unless the directions are `forward`, `backward` or both."""
    if not directions or len(set(directions)) != len(directions) or set(directions) - {"forward", "backward"}:
        raise UsageError(f"The directions are {list(directions)}; they may be forward, backward or both.")
