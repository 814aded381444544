"""Before training: tokens, ids and their memory, word vectors."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors
from nltk.tokenize import NLTKWordTokenizer

from course_lib.bench.measure import Figure, rates, ratios, rotate
from course_lib.bench.sizes import Sizes
from course_lib.data import load_glove_6b_50d, load_imdb
from course_lib.embeddings import as_keyed_vectors
from course_lib.runner.gates import Bound
from course_lib.text import UNKNOWN, TextEncoder, tokenize

# What the goal for memory speaks of.
_NUM_WEIGHED = 25_000


def tokenization(sizes: Sizes) -> list[Figure]:
    """Reviews to tokens beside NLTK's word tokenizer; to ids beside the library `tokenizers`.

    NLTK and the course use one core, `tokenizers` is Rust and uses all of them.
    """
    texts = [review.text for review in load_imdb("train")[: sizes.texts]]
    encoder = TextEncoder.fit(texts, max_length=sizes.max_length)
    nltk_tokenizer, peer = NLTKWordTokenizer(), _rust_tokenizer(encoder)
    tokens = rotate(
        {
            "ours": lambda: [tokenize(text) for text in texts],
            "NLTK": lambda: [nltk_tokenizer.tokenize(text) for text in texts],
        },
        sizes.rounds,
    )
    ids = rotate(
        {
            "ours": lambda: [encoder.encode(text) for text in texts],
            "tokenizers": lambda: [encoding.ids for encoding in peer.encode_batch(texts)],
        },
        sizes.rounds,
    )
    return [
        Figure(
            "tokenization",
            "text to tokens, speed of ours / NLTK",
            ratios(tokens["NLTK"], tokens["ours"]),
            note=rates(len(texts), "reviews", tokens),
        ),
        Figure(
            "tokenization",
            "text to ids with cleaning, speed of ours / tokenizers",
            ratios(ids["tokenizers"], ids["ours"]),
            note=rates(len(texts), "reviews", ids),
        ),
    ]


def memory(sizes: Sizes) -> list[Figure]:
    """The lists of ids that `TextEncoder` returns, and the numbers in them, scaled to 25,000 reviews."""
    texts = [review.text for split in ("train", "test") for review in load_imdb(split)][: sizes.encoded]
    encoder = TextEncoder.fit(texts[: sizes.texts], max_length=sizes.max_length)
    encoded = [encoder.encode(text) for text in texts]
    megabytes = num_bytes(encoded) * _NUM_WEIGHED / len(encoded) / 1e6
    return [
        Figure(
            "memory",
            f"{_NUM_WEIGHED:,} encoded reviews of at most {sizes.max_length} ids",
            (megabytes,),
            unit="MB",
            goal=Bound(max=60),
            note=f"{len(encoded):,} reviews weighed, {np.mean(list(map(len, encoded))):.0f} ids each",
        )
    ]


def num_bytes(sequences: Sequence[list[int]]) -> int:
    """Of lists and of the numbers in them; a number that several places share counts once."""
    numbers = {}
    for ids in sequences:
        numbers.update(zip(map(id, ids), ids, strict=True))
    return sum(map(sys.getsizeof, [*sequences, *numbers.values()]))


def glove(sizes: Sizes) -> list[Figure]:
    """The cached vectors as KeyedVectors, all of them read, beside gensim's reader of GloVe's text format."""
    words, vectors = load_glove_6b_50d()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "glove.txt")
        write_glove_text(path, words, vectors)
        size = path.stat().st_size
        seconds = rotate(
            {
                "ours": _load_all,
                "text": lambda: KeyedVectors.load_word2vec_format(path, binary=False, no_header=True),
            },
            sizes.slow_rounds,
        )
    return [
        Figure(
            "glove",
            "loading GloVe, speed of ours / gensim's text reader",
            ratios(seconds["text"], seconds["ours"]),
            goal=Bound(min=10),
            note=f"{rates(len(words), 'words', seconds)}; {size / 1e6:.0f} MB of text",
        )
    ]


def write_glove_text(path: Path, words: Sequence[str], vectors: np.ndarray) -> None:
    """GloVe's own format: a line for each word, its numbers with five decimals behind it."""
    line = "%s" + " %.5f" * vectors.shape[1] + "\n"
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for word, row in zip(words, vectors, strict=True):
            file.write(line % (word, *row.tolist()))


def _load_all():
    words, vectors = load_glove_6b_50d()
    # They are mapped, not read: the copy reads them, as the text reader has done.
    return as_keyed_vectors(words, np.array(vectors))


def _rust_tokenizer(encoder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    known = {token: index for index, token in enumerate(encoder.vocabulary.tokens)}
    peer = Tokenizer(models.WordLevel(known, unk_token=UNKNOWN))
    peer.normalizer = normalizers.Lowercase()
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    peer.enable_truncation(encoder.max_length)
    return peer
