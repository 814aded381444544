"""How much the bench measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The defaults end within ten minutes on two idle cores.

    Attributes:
        rounds, slow_rounds: that count; the second of what takes long.
        reviews: of IMDB, trained on in each round.
        max_length: ids of a review at most.
        sentences: of CoNLL-2003, trained on in each round.
        hidden_dim, tagger_dim: hidden sizes of classifier and tagger, for each direction.
        bound_dim: hidden size of the classifier that is held against the machine's bound.
        product_dim: rows and columns of the matrices whose product is that bound.
        texts: reviews that are tokenized in each round.
        encoded: reviews whose ids are weighed.
        answers: texts that the predictors answer in each round, one by one.
        notebook: which one's cost is held against its cells, in the profile smoke.
        grown_reviews, grown_length: what is doubled three times.
    """

    rounds: int = 5
    slow_rounds: int = 3
    reviews: int = 1_024
    max_length: int = 400
    sentences: int = 2_048
    hidden_dim: int = 64
    tagger_dim: int = 100
    bound_dim: int = 128
    product_dim: int = 1_024
    texts: int = 2_000
    encoded: int = 25_000
    answers: int = 20
    notebook: str = "03"
    grown_reviews: int = 256
    grown_length: int = 50
