"""Batches of similar length: little padding, few static shapes."""

from collections.abc import Sequence

import keras
import numpy as np

from course_lib.errors import UsageError
from course_lib.text.padding import pad


class BucketedBatches(keras.utils.PyDataset):
    """Batches whose rows share a bucket: each has the shape (batch_size, bucket length), whatever the epoch.

    A sequence belongs to the shortest bucket that holds it. What is left over when a bucket is cut into
    whole batches moves up to the next bucket, so that only one batch of an epoch can be short; it is filled
    with rows of weight zero. Every example occurs exactly once an epoch.

    Args:
        sequences: lists of ids, none longer than the last bucket.
        labels: array of shape (num_examples, ...), or None for prediction.
        batch_size: rows in each batch.
        bucket_lengths: increasing lengths, as `choose_bucket_lengths` returns them.
        seed: shuffles examples and batches, differently in each epoch; None keeps the order.

    Attributes:
        epoch: number of the epoch that is served; set it to resume a run with the same data order.
        batches: for each batch of this epoch its bucket length and the indices of its examples.

    `batches[i]` is `(ids, labels, weights)`, or `(ids,)` without labels; ids int32 (batch_size, time),
    weights float32 (batch_size,). All examples weigh num_rows / num_examples of the epoch: Keras divides a
    loss by the number of all rows, and so its loss becomes the mean over the examples.

    Raises:
        UsageError: no sequences, batch size below 1, wrong bucket lengths, or not one label for each.
    """

    def __init__(
        self,
        sequences: Sequence[Sequence[int]],
        labels: np.ndarray | None = None,
        *,
        batch_size: int,
        bucket_lengths: Sequence[int],
        seed: int | None = None,
    ):
        super().__init__()
        self.sequences = sequences
        self.labels = None if labels is None else np.asarray(labels)
        self.batch_size = batch_size
        self.bucket_lengths = list(bucket_lengths)
        self.seed = seed
        if len(sequences) == 0 or batch_size < 1:
            raise UsageError("Batches need at least one sequence and a batch size of at least 1.")
        if self.labels is not None and len(self.labels) != len(sequences):
            raise UsageError(f"There are {len(sequences)} sequences but {len(self.labels)} labels.")
        lengths = np.array([max(len(ids), 1) for ids in sequences])
        increasing = all(np.diff([0, *self.bucket_lengths]) > 0)
        if not increasing or lengths.max() > max(self.bucket_lengths, default=0):
            raise UsageError(
                f"The bucket lengths {self.bucket_lengths} must be positive and increase, and the last must "
                f"hold the longest sequence ({lengths.max()} ids)."
            )
        self._bucket_of = np.searchsorted(self.bucket_lengths, lengths)
        self.epoch = 0

    @property
    def epoch(self) -> int:
        return self._epoch

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch = number
        self.batches = self._plan(number)

    def _plan(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        random = None if self.seed is None else np.random.default_rng([self.seed, epoch])
        batches, left_over = [], np.array([], dtype=int)
        for bucket, length in enumerate(self.bucket_lengths):
            members = np.flatnonzero(self._bucket_of == bucket)
            if random is not None:
                random.shuffle(members)
            members = np.concatenate([left_over, members])
            num_whole = len(members) // self.batch_size * self.batch_size
            batches += [(length, chunk) for chunk in members[:num_whole].reshape(-1, self.batch_size)]
            left_over = members[num_whole:]
        if len(left_over):
            # The remainder needs no longer a bucket than its own longest member.
            batches.append((self.bucket_lengths[self._bucket_of[left_over].max()], left_over))
        if random is not None:
            random.shuffle(batches)
        # Keras takes the shape of all from the first two batches: time stays open only if they differ in it.
        different = next((i for i, batch in enumerate(batches) if batch[0] != batches[0][0]), None)
        if different is not None:
            batches.insert(1, batches.pop(different))
        return batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int):
        length, members = self.batches[index]
        num_missing = self.batch_size - len(members)
        ids = pad([self.sequences[i] for i in members] + [[]] * num_missing, length)
        if self.labels is None:
            return (ids,)
        labels = self.labels[np.concatenate([members, np.repeat(members[:1], num_missing)])]
        weights = np.zeros(self.batch_size, dtype=np.float32)
        weights[: len(members)] = len(self) * self.batch_size / len(self.sequences)
        return ids, labels, weights

    def on_epoch_end(self) -> None:
        """Keras calls this after each epoch: the next one is shuffled anew."""
        self.epoch += 1

    @property
    def padding_share(self) -> float:
        """Share of the time steps of this epoch's batches that hold padding."""
        num_steps = sum(length * self.batch_size for length, _ in self.batches)
        num_tokens = sum(max(len(ids), 1) for ids in self.sequences)
        return 1 - num_tokens / num_steps
