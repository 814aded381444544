"""Batches of sentence pairs, about equally many tokens in each."""

from collections.abc import Sequence

import keras
import numpy as np

from course_lib.errors import UsageError
from course_lib.text.batches import NUM_WORKERS
from course_lib.text.padding import pad
from course_lib.text.subwords import END_ID, START_ID


class PairBatches(keras.utils.PyDataset):
    """Source and target ids for teacher forcing; pairs of similar length share a batch.

    Pairs are ordered by target and source length, those of equal lengths at random, and cut into batches
    of at most `max_tokens` time steps, padding included. So a batch holds many short or few long sentences,
    costs about the same, and has little padding. The batches then come in random order. The second one of an
    epoch is served with a row or time step more where it has as many as the first, even beyond `max_tokens`.

    Args:
        sources, targets: ids of each sentence and its translation, without start and end.
        max_tokens: rows times the longest source or target of a batch, start included; at least one row.
        seed: shuffles pairs and batches, differently in each epoch; None keeps the order by length.

    Attributes:
        epoch: number of the epoch that is served; set it to resume a run with the same data order.
        batches: for each batch of this epoch the indices of its pairs.

    `batches[i]` is `(inputs, labels)`: inputs a dict of int32 `source_ids` (rows, source_time) and
    `target_ids` (rows, target_time), the target behind a start token; labels int32 (rows, target_time), the
    target before an end token, 0 at padding. Each label stands where the token before it is the input.

    Raises:
        UsageError: no pairs, not one target for each source, or no room for a token.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        seed: int | None = None,
    ):
        super().__init__(workers=NUM_WORKERS)
        if len(sources) != len(targets) or len(sources) == 0:
            raise UsageError(
                f"There are {len(sources)} sources and {len(targets)} targets: batches take at least one "
                "pair, and a target for each source."
            )
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}; a batch needs room for at least one token.")
        self.sources = sources
        self.targets = targets
        self.max_tokens = max_tokens
        self.seed = seed
        # An empty source becomes one unknown token, a target has its start token.
        self._source_lengths = np.array([max(len(ids), 1) for ids in sources])
        self._target_lengths = np.array([len(ids) + 1 for ids in targets])
        self.epoch = 0

    @property
    def epoch(self) -> int:
        return self._epoch

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch = number
        self.batches = self._plan(number)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        random = None if self.seed is None else np.random.default_rng([self.seed, epoch])
        order = np.arange(len(self.sources)) if random is None else random.permutation(len(self.sources))
        order = order[np.lexsort([self._source_lengths[order], self._target_lengths[order]])]
        batches, first, longest = [], 0, 0
        for position, pair in enumerate(order):
            longest = max(longest, self._source_lengths[pair], self._target_lengths[pair])
            if position > first and (position + 1 - first) * longest > self.max_tokens:
                batches.append(order[first:position])
                first = position
                longest = max(self._source_lengths[pair], self._target_lengths[pair])
        batches.append(order[first:])
        if random is not None:
            random.shuffle(batches)
        return batches

    def __len__(self) -> int:
        return len(self.batches)

    def _shape(self, index: int) -> np.ndarray:
        """Rows, source time and target time of a batch."""
        pairs = self.batches[index]
        return np.array(
            [len(pairs), self._source_lengths[pairs].max(), self._target_lengths[pairs].max()], dtype=int
        )

    def __getitem__(self, index: int):
        pairs, shape = self.batches[index], self._shape(index)
        if index == 1:
            # Keras takes the shape of all from the first two batches: what is to stay open must differ.
            shape = shape + (shape == self._shape(0))
        num_rows, source_time, target_time = shape
        sources = [self.sources[pair] for pair in pairs] + [[]] * (num_rows - len(pairs))
        targets = [self.targets[pair] for pair in pairs]
        labels = np.zeros((num_rows, target_time), dtype=np.int32)
        for row, ids in zip(labels, targets, strict=False):
            row[: len(ids) + 1] = [*ids, END_ID]
        target_ids = pad([[START_ID, *ids] for ids in targets] + [[]] * (num_rows - len(pairs)), target_time)
        return {"source_ids": pad(sources, source_time), "target_ids": target_ids}, labels

    def on_epoch_end(self) -> None:
        """Keras calls this after each epoch: the next one is shuffled anew."""
        self.epoch += 1

    @property
    def num_target_tokens(self) -> int:
        """Tokens that an epoch predicts, the ends included."""
        return int(self._target_lengths.sum())

    @property
    def padding_share(self) -> float:
        """Share of the source's and target's time steps of this epoch's batches that hold padding.

        What the second batch is served with beyond its own pairs does not count.
        """
        shapes = np.array([self._shape(index) for index in range(len(self))])
        num_steps = (shapes[:, 0] * (shapes[:, 1] + shapes[:, 2])).sum()
        return 1 - (self._source_lengths.sum() + self._target_lengths.sum()) / num_steps
