"""Trains a tiny classifier with all that a resume has to restore; test_resume.py runs it as a process.

usage: resumable_run.py CHECKPOINT_DIR RESULT [MARKER]

With MARKER the run stops in the middle of epoch 3, writes that file and waits to be killed.
"""

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np

from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.text.batches import BucketedBatches
from course_lib.training import compile_classifier, train


class WaitToBeKilled(keras.callbacks.Callback):
    def __init__(self, marker):
        super().__init__()
        self.marker = marker

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 2 and batch == 5:
            self.marker.write_text("in the middle of epoch 3", encoding="utf-8")
            time.sleep(600)


def random_batches(num_texts, seed):
    random = np.random.default_rng(seed)
    sequences = [
        random.integers(2, 50, size=size).tolist() for size in random.integers(1, 25, size=num_texts)
    ]
    labels = random.integers(0, 2, size=num_texts)
    # Validation batches are shuffled, too: the order of a sum shows in its last bits.
    return BucketedBatches(sequences, labels, batch_size=8, bucket_lengths=[8, 16, 25], seed=seed)


def main(checkpoint_dir, result, marker=None):
    keras.utils.set_random_seed(1)
    encoder = build_encoder(50, embedding_dim=8, hidden_dim=6, dropout=0.2)
    model = build_classifier(encoder, 2, dropout=0.3)
    schedule = keras.optimizers.schedules.CosineDecay(0.05, decay_steps=80)
    compile_classifier(model, keras.optimizers.Adam(schedule))
    history = train(
        model,
        random_batches(90, seed=1),
        random_batches(40, seed=2),
        epochs=8,
        patience=3,
        checkpoint_dir=checkpoint_dir,
        callbacks=[] if marker is None else [WaitToBeKilled(Path(marker))],
        verbose=0,
    )
    arrays = {"history": np.array(json.dumps(history))}
    variables = {"model": model.variables, "optimizer": model.optimizer.variables}
    for kind, those in variables.items():
        for index, variable in enumerate(those):
            arrays[f"{kind}/{index:05d}"] = keras.ops.convert_to_numpy(variable)
    np.savez(result, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
