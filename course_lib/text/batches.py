"""Batches of similar length: little padding, few static shapes."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from course_lib.data.labels import check_numbers
from course_lib.errors import UsageError
from course_lib.text.padding import pad

# Stands in the place of a label where there is padding; losses leave it out.
IGNORED_LABEL = -1
# With a second worker Keras leaves out tf.data's autotuning, whose thread sleeps for 5, 10, 20 seconds and
# more and may be waited for at the end of a pass; the order of the batches stays the same. Other backends do
# without tf.data, and there Keras draws a batch to build the model, which more workers would not serve again.
NUM_WORKERS = 2 if keras.backend.backend() == "tensorflow" else 1


class BucketedBatches(keras.utils.PyDataset):
    """Batches whose rows share a bucket: each has the shape (batch_size, bucket length), whatever the epoch.

    A sequence belongs to the shortest bucket that holds it. What is left over when a bucket is cut into
    whole batches moves up to the next bucket, so that only one batch of an epoch can be short; it is filled
    with rows of weight zero. Every example occurs exactly once an epoch.

    Args:
        sequences: lists of ids, none longer than the last bucket; or a mapping from the name of each input to
            its sequences, of ids or of rows of ids, all of one example equally long.
        labels: array of shape (num_examples, ...), or None for prediction.
        token_labels: instead of `labels`, one list of labels for each sequence, one label for each token.
        batch_size: rows in each batch.
        bucket_lengths: increasing lengths, as `choose_bucket_lengths` returns them.
        seed: shuffles examples and batches, differently in each epoch; None keeps the order.

    Attributes:
        epoch: number of the epoch that is served; set it to resume a run with the same data order.
        batches: for each batch of this epoch its bucket length and the indices of its examples.

    `batches[i]` is `(ids, labels, weights)`, or `(ids,)` without labels; ids int32 (batch_size, time),
    weights float32 (batch_size,). All examples weigh num_rows / num_examples of the epoch: Keras divides a
    loss by the number of all rows, and so its loss becomes the mean over the examples.

    With several inputs, ids is a dict of arrays (batch_size, time, ...). Token labels are (batch_size, time),
    with `IGNORED_LABEL` at padding and in the filled rows, and the weights are then (batch_size, 1).

    Raises:
        UsageError: no sequences, batch size below 1, wrong bucket lengths, labels of both kinds, not one
            label for each, a label that is missing or no number (its row is named), or inputs of different
            lengths.
    """

    def __init__(
        self,
        sequences: Sequence[Sequence[int]] | Mapping[str, Sequence[Sequence]],
        labels: np.ndarray | None = None,
        *,
        token_labels: Sequence[Sequence[int]] | None = None,
        batch_size: int,
        bucket_lengths: Sequence[int],
        seed: int | None = None,
    ):
        super().__init__(workers=NUM_WORKERS)
        if labels is not None and token_labels is not None:
            raise UsageError("Batches have labels or token_labels, not both: leave one of them out.")
        self._inputs = sequences if isinstance(sequences, Mapping) else None
        self.sequences = sequences if self._inputs is None else next(iter(self._inputs.values()))
        self.labels = None if labels is None else np.asarray(labels)
        if self.labels is not None and self.labels.ndim == 1 and len(self.labels):
            check_numbers(labels, "label")
        self.token_labels = token_labels
        self.batch_size = batch_size
        self.bucket_lengths = list(bucket_lengths)
        self.seed = seed
        if len(self.sequences) == 0 or batch_size < 1:
            raise UsageError("Batches need at least one sequence and a batch size of at least 1.")
        if self.labels is not None and len(self.labels) != len(self.sequences):
            raise UsageError(f"There are {len(self.sequences)} sequences but {len(self.labels)} labels.")
        lengths = [len(ids) for ids in self.sequences]
        per_token = {
            **(self._inputs or {}),
            **({} if token_labels is None else {"token_labels": token_labels}),
        }
        for name, values in per_token.items():
            if [len(row) for row in values] != lengths:
                raise UsageError(f"{name} must hold as many values for each sequence as it has ids.")
        lengths = np.maximum(lengths, 1)
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
        if self._inputs is None:
            ids = self._pad(self.sequences, members, length)
        else:
            ids = {name: self._pad(values, members, length) for name, values in self._inputs.items()}
        if self.labels is None and self.token_labels is None:
            return (ids,)
        weights = np.zeros(self.batch_size, dtype=np.float32)
        weights[: len(members)] = len(self) * self.batch_size / len(self.sequences)
        if self.labels is not None:
            return ids, self.labels[np.concatenate([members, np.repeat(members[:1], num_missing)])], weights
        labels = np.full((self.batch_size, length), IGNORED_LABEL, dtype=np.int32)
        for row, index in zip(labels, members, strict=False):
            row[: len(self.token_labels[index])] = self.token_labels[index]
        # A column, so that Keras spreads a row's weight over its tokens.
        return ids, labels, weights[:, None]

    def _pad(self, sequences: Sequence[Sequence], members: np.ndarray, length: int) -> np.ndarray:
        return pad([sequences[i] for i in members] + [[]] * (self.batch_size - len(members)), length)

    def on_epoch_end(self) -> None:
        """Keras calls this after each epoch: the next one is shuffled anew."""
        self.epoch += 1

    @property
    def padding_share(self) -> float:
        """Share of the time steps of this epoch's batches that hold padding."""
        num_steps = sum(length * self.batch_size for length, _ in self.batches)
        num_tokens = sum(max(len(ids), 1) for ids in self.sequences)
        return 1 - num_tokens / num_steps


class ShardedBatches(keras.utils.PyDataset):
    """One process's rows of every batch; the shards of all processes, one below the other, are the batch.

    Args:
        batches: the same in all processes: same examples, seed and batch size.
        num_processes: how many share each batch.
        process_id: whose rows these are, from 0.

    Attributes:
        epoch, labels: those of `batches`, for `train`.

    `shards[i]` is what `batches[i]` is, each array cut to rows `process_id * share` and the `share` - 1 after
    it, share = batch_size / num_processes.

    Raises:
        UsageError: the batch size is not divisible by the number of processes.
    """

    def __init__(self, batches: BucketedBatches, num_processes: int, process_id: int):
        super().__init__(workers=NUM_WORKERS)
        share = rows_of_share(batches.batch_size, num_processes)
        self._batches = batches
        self._rows = slice(process_id * share, (process_id + 1) * share)
        self.labels = batches.labels

    @property
    def epoch(self) -> int:
        return self._batches.epoch

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._batches.epoch = number

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int):
        return keras.tree.map_structure(lambda array: array[self._rows], self._batches[index])

    def on_epoch_end(self) -> None:
        self._batches.on_epoch_end()


def rows_of_share(batch_size: int, num_processes: int) -> int:
    """The rows of a batch that each of several processes gets.

    Raises:
        UsageError: they cannot all get equally many.
    """
    if num_processes < 1 or batch_size % num_processes:
        raise UsageError(
            f"{num_processes} processes cannot share batches of {batch_size} rows equally: choose a number "
            f"of processes that divides {batch_size}."
        )
    return batch_size // num_processes
