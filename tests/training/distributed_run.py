"""Trains a tiny classifier, alone or with other processes; test_distributed.py runs it as processes.

usage: distributed_run.py OUT EPOCHS [COORDINATOR NUM_PROCESSES PROCESS_ID WAIT]

A process that finds the file OUT/stop-ID stops in the middle of epoch 3, writes OUT/stopped and waits to be
killed.
"""

import sys
import time
from pathlib import Path

from course_lib.distributed import Cluster, is_worker, supervise
from course_lib.errors import CourseError

BATCH_SIZE = 8


def main(out, epochs, *cluster):
    out = Path(out)
    cluster = Cluster(cluster[0], *map(int, cluster[1:])) if cluster else None
    if cluster is not None and not is_worker():
        return supervise([sys.executable, *sys.argv], cluster, out)
    train(out, int(epochs), cluster)
    return 0


def train(out, epochs, cluster):
    # Keras would import it for its seed alone, which takes longer than all that is tested.
    sys.modules["tensorflow"] = None
    import keras
    import numpy as np

    from course_lib.models.classifier import build_classifier
    from course_lib.recipes import Prepared, Recipe, train_task
    from course_lib.text import TextEncoder
    from course_lib.text.batches import BucketedBatches
    from course_lib.training import compile_classifier

    number = 0 if cluster is None else cluster.process_id

    class Batches(BucketedBatches):
        def __getitem__(self, index):
            if (out / f"stop-{number}").exists() and self.seed is not None and (self.epoch, index) == (2, 3):
                (out / "stopped").write_text("in the middle of epoch 3", encoding="utf-8")
                time.sleep(600)
            return super().__getitem__(index)

    def random_batches(num_texts, seed, shuffled, batch_size):
        random = np.random.default_rng(seed)
        sequences = [random.integers(2, 50, size=size).tolist() for size in random.integers(1, 7, num_texts)]
        labels = np.array([sum(ids) % 2 for ids in sequences])
        seed = seed if shuffled else None
        return Batches(sequences, labels, batch_size=batch_size, bucket_lengths=[6], seed=seed)

    def build():
        keras.utils.set_random_seed(1)
        token_ids = keras.Input((None,), dtype="int32")
        vectors = keras.layers.Embedding(50, 4, mask_zero=True)(token_ids)
        return build_classifier(keras.Model(token_ids, vectors), 2, pooling="mean", dropout=0.3)

    def compile_for(model, num_steps):
        schedule = keras.optimizers.schedules.CosineDecay(0.05, decay_steps=num_steps)
        compile_classifier(model, keras.optimizers.Adam(schedule))

    def prepare(profile, batch_size):
        # 50 and 21 are no multiples of the batch size: the last batches are filled up.
        parts = random_batches(50, 1, True, batch_size), random_batches(21, 2, False, batch_size)
        encoder = TextEncoder.fit(["a fine film"], max_length=6)
        return Prepared(
            *parts, build, compile_for, encoder, lambda model: {"parameters": model.count_params()}
        )

    recipes = {"tiny": Recipe(BATCH_SIZE, {"smoke": 3}, prepare)}
    train_task("tiny", "smoke", out=out, epochs=epochs, cluster=cluster, recipes=recipes)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except CourseError as error:
        print(f"course: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
