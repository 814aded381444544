"""Training speed: our classifier and tagger beside the plain Keras way, PyTorch and the machine's bound."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from keras import ops

from course_lib.bench.measure import Figure, rates, ratios, rotate
from course_lib.bench.sizes import Sizes
from course_lib.compression.cost import lstm_cost
from course_lib.data import TaggedSentence, load_conll2003, load_imdb
from course_lib.errors import CourseError
from course_lib.layers.crf import CRFLoss
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.models.tagger import build_tagger
from course_lib.process import MALLOC_ENVIRONMENT
from course_lib.runner.gates import Bound
from course_lib.text import TextEncoder, Vocabulary, choose_bucket_lengths, pad
from course_lib.text.batches import IGNORED_LABEL, BucketedBatches
from course_lib.text.features import TaggingEncoder
from course_lib.text.tagging import bio_to_bioes
from course_lib.training import compile_classifier, compile_tagger

EMBEDDING_DIM = 50
REVIEW_BATCH, SENTENCE_BATCH = 64, 32
# As many as the notebooks use.
_NUM_BUCKETS = 8
# The backward pass multiplies twice for each product of the forward pass: for the input and for the weights.
_PASSES = 3
_NUM_PRODUCTS = 20


def imdb(sizes: Sizes) -> list[Figure]:
    """The classifier: as the course trains it, as Keras's guides do, and in PyTorch where that is installed.

    All train the same network with Adam in batches of 64. The plain way pads all reviews to the longest and
    leaves everything else to Keras, tf.data's autotuning with its wait at the end of a pass included
    (`text.batches.NUM_WORKERS`); PyTorch gets the course's own batches.
    """
    ids, labels, vocabulary_size = encoded_reviews(sizes)
    batches = bucketed(ids, labels)
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # Of the plain way: GlobalMaxPooling1D lets padding in.
        warnings.filterwarnings("ignore", message=".*does not support masking")
        contestants = {
            "ours": trainer(vocabulary_size, sizes.hidden_dim, batches),
            "plain": _plain_trainer(ids, labels, vocabulary_size, sizes),
        }
        if find_spec("torch"):
            peer = torch_trainer(vocabulary_size, sizes.hidden_dim, batches)
            contestants["PyTorch"] = stack.enter_context(peer)
        seconds = rotate(contestants, sizes.rounds)
    note = rates(len(ids), "reviews", seconds)
    figures = [
        Figure(
            "imdb",
            "training speed, ours / plain Keras",
            ratios(seconds["plain"], seconds["ours"]),
            goal=Bound(min=1.5),
            note=note,
        )
    ]
    if "PyTorch" in seconds:
        figures.append(
            Figure(
                "imdb",
                "training speed, ours / PyTorch nn.LSTM",
                ratios(seconds["PyTorch"], seconds["ours"]),
                goal=Bound(min=1.2),
                note=note,
            )
        )
    return figures


def conll(sizes: Sizes) -> list[Figure]:
    """The tagger on sentences: the same BiLSTM-CRF, fed by length or padded to the longest sentence.

    Both train with Adam in batches of 32, the padded way with Keras's own wait at the end of a pass. The
    longest sentence is that of the whole training split, also where only a part of it is trained on.
    """
    corpus = load_conll2003("train")
    sentences, longest = corpus[: sizes.sentences], max(len(sentence.tokens) for sentence in corpus)
    encoder = tagging_encoder(sentences)
    features = encoder.encode_sentences(sentence.tokens for sentence in sentences)
    labels = [encoder.encode_tags(bio_to_bioes(sentence.entities)) for sentence in sentences]
    batches = BucketedBatches(
        features,
        token_labels=labels,
        batch_size=SENTENCE_BATCH,
        bucket_lengths=choose_bucket_lengths(list(map(len, labels)), _NUM_BUCKETS),
        seed=0,
    )
    ours, plain = tagger(encoder, sizes), _with_keras_lstm(tagger(encoder, sizes))
    compile_tagger(ours, keras.optimizers.Adam())
    plain.compile(optimizer="adam", loss=CRFLoss(plain.layers[-1]))
    arrays = {name: pad(rows, longest) for name, rows in features.items()}
    targets = keras.utils.pad_sequences(labels, longest, padding="post", value=IGNORED_LABEL)
    contestants = {
        "ours": lambda: ours.fit(batches, shuffle=False, verbose=0),
        "plain": lambda: plain.fit(arrays, targets, batch_size=SENTENCE_BATCH, verbose=0),
    }
    seconds = rotate(contestants, sizes.rounds)
    return [
        Figure(
            "conll",
            "training speed, ours / plain Keras",
            ratios(seconds["plain"], seconds["ours"]),
            goal=Bound(min=4),
            note=rates(len(sentences), "sentences", seconds),
        )
    ]


def bound(sizes: Sizes) -> list[Figure]:
    """The classifier's matrix products for real tokens, as a share of what the machine multiplies at best.

    Products are counted as `lstm_cost` does, three times for a training step; padding, gates, embeddings, the
    optimizer and Keras itself take time that counts and multiply nothing that does.
    """
    ids, labels, vocabulary_size = encoded_reviews(sizes)
    tokens = sum(map(len, ids))
    forward = lstm_cost(EMBEDDING_DIM, sizes.bound_dim, batch=1, time=tokens, bidirectional=True).flops
    training, products = _PASSES * forward, _NUM_PRODUCTS * 2 * sizes.product_dim**3
    contestants = {
        "training": trainer(vocabulary_size, sizes.bound_dim, bucketed(ids, labels)),
        "products": _multiplier(sizes.product_dim),
    }
    seconds = rotate(contestants, sizes.rounds)
    speeds = {
        name: flops / statistics.median(seconds[name]) / 1e9
        for name, flops in (("training", training), ("products", products))
    }
    share = [100 * part * training / products for part in ratios(seconds["products"], seconds["training"])]
    return [
        Figure(
            "bound",
            f"training at hidden size {sizes.bound_dim}, share of the matrix-product rate",
            tuple(share),
            unit="%",
            goal=Bound(min=50),
            note=", ".join(f"{name} {speed:.1f} GFLOP/s" for name, speed in speeds.items()),
        )
    ]


def encoded_reviews(sizes: Sizes) -> tuple[list[list[int]], np.ndarray, int]:
    """Token ids of the first reviews, their labels, and the size of their vocabulary."""
    reviews = load_imdb("train")[: sizes.reviews]
    encoder = TextEncoder.fit([review.text for review in reviews], max_length=sizes.max_length)
    ids = [encoder.encode(review.text) for review in reviews]
    return ids, np.array([review.label for review in reviews]), len(encoder.vocabulary)


def bucketed(ids: list[list[int]], labels: np.ndarray) -> BucketedBatches:
    """The course's batches of reviews."""
    bucket_lengths = choose_bucket_lengths(list(map(len, ids)), _NUM_BUCKETS)
    return BucketedBatches(ids, labels, batch_size=REVIEW_BATCH, bucket_lengths=bucket_lengths, seed=0)


def trainer(vocabulary_size: int, hidden_dim: int, batches: BucketedBatches) -> Callable[[], object]:
    """A function that trains the course's classifier for one epoch."""
    encoder = build_encoder(vocabulary_size, embedding_dim=EMBEDDING_DIM, hidden_dim=hidden_dim)
    model = build_classifier(encoder, num_classes=2)
    compile_classifier(model, keras.optimizers.Adam())
    return lambda: model.fit(batches, shuffle=False, verbose=0)


@contextlib.contextmanager
def torch_trainer(
    vocabulary_size: int, hidden_dim: int, batches: BucketedBatches
) -> Iterator[Callable[[], float]]:
    """A function that trains the same classifier in PyTorch for one epoch and returns its mean loss.

    Raises:
        CourseError: PyTorch does not run.
    """
    script = Path(__file__).with_name("torch_peer.py")
    sizes = {"vocabulary_size": vocabulary_size, "embedding_dim": EMBEDDING_DIM, "hidden_dim": hidden_dim}
    arrays = {
        f"{name}/{index}": array
        for index in range(len(batches))
        for name, array in zip(("ids", "labels", "weights"), batches[index], strict=True)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "batches.npz")
        np.savez(path, **sizes, **arrays)
        with subprocess.Popen(
            # Without -P this folder would come before all others where Python looks for modules.
            [sys.executable, "-P", script, path],
            env={**os.environ, **MALLOC_ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:

            def answer() -> str:
                line = process.stdout.readline()
                if not line:
                    raise CourseError("PyTorch is installed but does not run: mend it, or uninstall torch.")
                return line

            def train() -> float:
                # If it has died, the answer says so.
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write("\n")
                    process.stdin.flush()
                return float(answer())

            answer()
            try:
                yield train
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()


def _plain_trainer(ids, labels, vocabulary_size, sizes):
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(vocabulary_size, EMBEDDING_DIM, mask_zero=True),
            keras.layers.Bidirectional(keras.layers.LSTM(sizes.hidden_dim, return_sequences=True)),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    padded = keras.utils.pad_sequences(ids)
    return lambda: model.fit(padded, labels, batch_size=REVIEW_BATCH, verbose=0)


def tagging_encoder(sentences: Sequence[TaggedSentence]) -> TaggingEncoder:
    """Words, characters and tags of some sentences."""
    words = Vocabulary.build([token.lower() for token in sentence.tokens] for sentence in sentences)
    characters = Vocabulary.build(token for sentence in sentences for token in sentence.tokens)
    tags = sorted({tag for sentence in sentences for tag in bio_to_bioes(sentence.entities)})
    return TaggingEncoder(words, characters, tags, "BIOES")


def tagger(encoder: TaggingEncoder, sizes: Sizes) -> keras.Model:
    """A BiLSTM-CRF like that of notebook 09: words, characters, casing."""
    return build_tagger(
        len(encoder.words),
        len(encoder.tags),
        output="crf",
        embedding_dim=EMBEDDING_DIM,
        trainable_embeddings=False,
        hidden_dim=sizes.tagger_dim,
        num_characters=len(encoder.characters),
        casing=True,
        allowed=encoder.allowed,
        dropout=0.25,
    )


def _with_keras_lstm(model):
    """A copy, with new weights, whose BiLSTM loops over the time steps as Keras does."""

    def copied(layer):
        if not isinstance(layer, keras.layers.Bidirectional):
            return layer.from_config(layer.get_config())
        lstm = keras.layers.LSTM.from_config(layer.forward_layer.get_config())
        return keras.layers.Bidirectional(lstm, name=layer.name)

    return keras.models.clone_model(model, clone_function=copied)


def _multiplier(dim):
    """A function that multiplies square float32 matrices in two chains at once, so that all cores work."""
    random = np.random.default_rng(0)
    # Scaled so that products of products stay near 1: overflow and tiny numbers take their own time.
    left, right = (
        ops.convert_to_tensor(random.normal(0, dim**-0.5, (dim, dim)).astype("float32")) for _ in "lr"
    )

    def chain(first):
        product = first
        for _ in range(_NUM_PRODUCTS // 2):
            product = ops.matmul(product, right)
        # Nothing may still be waiting to be computed.
        return ops.convert_to_numpy(product)

    def multiply():
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(chain, (left, right)))

    return multiply
