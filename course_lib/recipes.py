"""What `course train` trains: the course's models, with the settings of their notebooks."""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from course_lib.data import hold_out, load_conll2003, load_imdb
from course_lib.data.conll2003 import ENTITY_TYPES
from course_lib.decoding import viterbi
from course_lib.distributed import Cluster, agree, joined
from course_lib.embeddings import align, load_glove
from course_lib.errors import UsageError, unknown_name
from course_lib.evaluation.entities import entity_counts, f1_of_counts
from course_lib.files import write_atomically
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.models.structure import copy_of, save_model
from course_lib.models.tagger import build_tagger
from course_lib.session import PROFILES
from course_lib.text import TextEncoder, Vocabulary, choose_bucket_lengths
from course_lib.text.batches import BucketedBatches, ShardedBatches, rows_of_share
from course_lib.text.features import TaggingEncoder
from course_lib.text.tagging import bio_to_bioes
from course_lib.training import (
    compile_classifier,
    compile_tagger,
    cosine_schedule,
    predict,
    predict_tokens,
    train,
)

# The notebooks' own default.
SEED = 0


@dataclass(frozen=True)
class Prepared:
    """A task's data and model.

    Attributes:
        batches, validation_batches: what is trained on, and what is evaluated after each epoch.
        build: makes the model, with the same start values at each call.
        compile: compiles it for so many steps.
        encoder: text to ids.
        test: what the test split says of a compiled model, by name.
    """

    batches: BucketedBatches
    validation_batches: BucketedBatches
    build: Callable[[], keras.Model]
    compile: Callable[[keras.Model, int], None]
    encoder: TextEncoder | TaggingEncoder
    test: Callable[[keras.Model], dict[str, float]]


@dataclass(frozen=True)
class Recipe:
    """How a task is trained.

    Attributes:
        batch_size: rows of a batch, of all processes together.
        epochs: by profile.
        prepare: from the profile and the batch size to data and model.
    """

    batch_size: int
    epochs: dict[str, int]
    prepare: Callable[[str, int], Prepared]


def train_task(
    name: str,
    profile: str,
    *,
    out: Path,
    epochs: int | None = None,
    batch_size: int | None = None,
    cluster: Cluster | None = None,
    recipes: dict[str, Recipe] | None = None,
) -> dict[str, Any] | None:
    """Trains a task, or goes on with it, and tests it on the test split.

    Args:
        name: `reviews` or `entities`.
        profile: `smoke`, `fast` or `full`: how much data and how many epochs.
        out: folder for checkpoints, `model.keras`, `encoder.json` and `result.json`; a run that was cut off
            goes on from its last checkpoint there.
        epochs: in all; by default as many as the profile has.
        batch_size: rows of a batch, of all processes together; by default as in the notebook, whatever the
            device is. Larger ones suit a GPU, but the learning rates were chosen for the default.
        cluster: trains with the other processes of it, in the worker of `supervise`.
        recipes: by default `RECIPES`.

    Returns:
        What `result.json` holds: the history, what the test split says, and how it came about. None in all
        processes but process 0, which alone writes.

    Raises:
        UsageError: an unknown task or profile, no epoch, no row in a batch, or processes that cannot share a
            batch equally or do not do the same.
        CourseError: data cannot be fetched, or whatever `train` raises.
    """
    recipes = RECIPES if recipes is None else recipes
    if name not in recipes:
        raise unknown_name("task to train", name, recipes)
    if profile not in PROFILES:
        raise unknown_name("profile", profile, PROFILES)
    recipe = recipes[name]
    epochs = recipe.epochs[profile] if epochs is None else epochs
    if epochs < 1:
        raise UsageError(f"The number of epochs is {epochs}; it must be at least 1.")
    batch_size = recipe.batch_size if batch_size is None else batch_size
    if batch_size < 1:
        raise UsageError(f"The batch size is {batch_size}; it must be at least 1.")
    num_processes, writes = 1, True
    if cluster is not None:
        num_processes, writes = cluster.num_processes, cluster.process_id == 0
        rows_of_share(batch_size, num_processes)
    begin = time.perf_counter()
    with contextlib.nullcontext() if cluster is None else joined(cluster):
        prepared = recipe.prepare(profile, batch_size)
        parts = [prepared.batches, prepared.validation_batches]
        checkpoints = out / "checkpoints"
        if cluster is not None:
            agree(_facts((name, profile, epochs, batch_size), parts, checkpoints))
            parts = [ShardedBatches(part, num_processes, cluster.process_id) for part in parts]
        num_steps = epochs * len(prepared.batches)
        trained = prepared.build()
        prepared.compile(trained, num_steps)
        history = train(
            trained,
            *parts,
            epochs=epochs,
            checkpoint_dir=checkpoints,
            save_checkpoints=writes,
            verbose=2 if writes else 0,
        )
    if not writes:
        return None
    # Of this process alone, also where the trained one is everybody's.
    model = copy_of(trained)
    prepared.compile(model, num_steps)
    result = {
        "task": name,
        "profile": profile,
        "epochs": epochs,
        "batch_size": batch_size,
        "processes": num_processes,
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "cores": os.cpu_count(),
        "seconds": round(time.perf_counter() - begin, 1),
        "history": history,
        "test": prepared.test(model),
    }
    prepared.encoder.save(out / "encoder.json")
    save_model(model, out / "model.keras")
    write_atomically(out / "result.json", json.dumps(result, indent=2) + "\n")
    return result


def _facts(settings, parts, checkpoints):
    """What has to be the same in all processes."""
    data = hashlib.sha256()
    for part in parts:
        for ids in part.sequences:
            data.update(np.asarray(ids, dtype=np.int64).tobytes())
    found = b"".join(
        path.name.encode() + hashlib.sha256(path.read_bytes()).digest()
        for path in sorted(checkpoints.glob("checkpoint-*.npz"))
    )
    versions = f"{keras.__version__} {'.'.join(map(str, sys.version_info[:2]))}"
    return {
        "task, profile, epochs or batch size": repr(settings).encode(),
        "versions of Keras or Python": versions.encode(),
        "data": data.digest(),
        "checkpoints": found,
    }


def _prepare_reviews(profile: str, batch_size: int) -> Prepared:
    """IMDB as notebook 04 trains it; at `full` without the word vectors that it trains by itself."""

    def pick(**by_profile):
        return by_profile[profile]

    kept, validation = hold_out(load_imdb("train"), 2_000, seed=SEED)
    kept = kept[: pick(smoke=400, fast=12_000, full=17_901)]
    validation = validation[: pick(smoke=200, fast=2_000, full=2_000)]
    test = load_imdb("test")[: pick(smoke=200, fast=5_000, full=5_000)]
    encoder = TextEncoder.fit(
        [review.text for review in kept], max_length=pick(smoke=60, fast=200, full=400), max_size=20_000
    )
    ids, validation_ids, test_ids = (
        [encoder.encode(review.text) for review in part] for part in (kept, validation, test)
    )
    labels, validation_labels, test_labels = (
        np.array([review.label for review in part]) for part in (kept, validation, test)
    )
    bucket_lengths = choose_bucket_lengths([len(row) for row in ids], 6)
    sizes = {"bucket_lengths": bucket_lengths, "batch_size": batch_size}
    matrix = align(load_glove(), encoder.vocabulary, seed=SEED).matrix

    def build():
        keras.utils.set_random_seed(SEED)
        size, dim = matrix.shape
        network = build_encoder(size, embedding_dim=dim, hidden_dim=64, embedding_matrix=matrix, dropout=0.25)
        return build_classifier(network, num_classes=2, pooling="max", dropout=0.5)

    def compile_for(model, num_steps):
        epsilon = pick(smoke=1e-5, fast=1e-7, full=1e-5)
        schedule = cosine_schedule(peak=4e-3, num_steps=num_steps)
        compile_classifier(model, keras.optimizers.Adam(schedule, epsilon=epsilon))

    def tested(model):
        logits = predict(model, test_ids, **sizes)
        return {"accuracy": float((logits.argmax(axis=1) == test_labels).mean())}

    return Prepared(
        BucketedBatches(ids, labels, **sizes, seed=SEED),
        BucketedBatches(validation_ids, validation_labels, **sizes),
        build,
        compile_for,
        encoder,
        tested,
    )


def _prepare_entities(profile: str, batch_size: int) -> Prepared:
    """CoNLL-2003 as notebook 09 trains its BiLSTM-CRF, without averaged weights and documents' evidence."""

    def pick(**by_profile):
        return by_profile[profile]

    sentences = load_conll2003("train")[: pick(smoke=200, fast=14_041, full=14_041)]
    development = load_conll2003("valid")[: pick(smoke=100, fast=3_250, full=3_250)]
    test = load_conll2003("test")[: pick(smoke=100, fast=3_453, full=3_453)]
    glove = load_glove()
    own_words = Vocabulary.build([token.lower() for token in s.tokens] for s in sentences)
    published = glove.index_to_key[: pick(smoke=20_000, fast=400_000, full=400_000)]
    words = Vocabulary([*own_words.tokens[2:], *(word for word in published if word not in own_words)])
    characters = Vocabulary.build((token for s in sentences for token in s.tokens), min_count=3)
    tags = ["O", *(f"{prefix}-{kind}" for kind in ENTITY_TYPES for prefix in "BIES")]
    encoder = TaggingEncoder(words, characters, tags, "BIOES")
    matrix = align(glove, words, seed=SEED).matrix
    bucket_lengths = choose_bucket_lengths([len(s.tokens) for s in sentences], pick(smoke=2, fast=8, full=8))
    longest = max(len(s.tokens) for s in [*development, *test])
    bucket_lengths += [longest] * (longest > bucket_lengths[-1])
    sizes = {"bucket_lengths": bucket_lengths, "batch_size": batch_size}
    larger = pick(smoke={}, fast={}, full={"hidden_dim": 150, "num_char_filters": 60, "word_dropout": 0.02})

    def batches_of(part, seed=None):
        features = encoder.encode_sentences(s.tokens for s in part)
        labels = [encoder.encode_tags(bio_to_bioes(s.entities)) for s in part]
        return BucketedBatches(features, token_labels=labels, **sizes, seed=seed)

    def build():
        keras.utils.set_random_seed(SEED)
        return build_tagger(
            len(words),
            len(tags),
            output="crf",
            embedding_matrix=matrix,
            trainable_embeddings=False,
            casing=True,
            num_characters=len(characters),
            allowed=encoder.allowed,
            dropout=0.25,
            **larger,
        )

    def compile_for(model, num_steps):
        rate = keras.optimizers.schedules.PolynomialDecay(4e-3, num_steps, end_learning_rate=4e-4)
        compile_tagger(model, keras.optimizers.Nadam(rate, clipnorm=5.0))

    def tested(model):
        logits = predict_tokens(model, encoder.encode_sentences(s.tokens for s in test), **sizes)
        scores = keras.ops.convert_to_numpy(model.layers[-1].scores())
        found = [encoder.decode_tags(viterbi(rows[None], scores)[0][0]) for rows in logits]
        counts = entity_counts([bio_to_bioes(s.entities) for s in test], found)
        return {"f1": float(f1_of_counts(counts.sum(axis=0)))}

    return Prepared(batches_of(sentences, SEED), batches_of(development), build, compile_for, encoder, tested)


# Batches and epochs as in the notebooks.
RECIPES = {
    "reviews": Recipe(64, {"smoke": 1, "fast": 3, "full": 5}, _prepare_reviews),
    "entities": Recipe(32, {"smoke": 1, "fast": 4, "full": 18}, _prepare_entities),
}
