"""`course bench` with tiny sizes: fair rotation, honest peers, counts by hand, the table and the figure."""

import json
import math
import statistics
import sys
from importlib.util import find_spec

import keras
import nbformat
import numpy as np
import pytest
from gensim.models import KeyedVectors
from nbformat.v4 import new_code_cell, new_notebook

import course_lib.bench.run
from course_lib import cli
from course_lib.bench import answering, bench, growth, measure, reading, training
from course_lib.bench.measure import Figure, ratios, rotate, table
from course_lib.bench.sizes import Sizes
from course_lib.errors import CourseError, UsageError
from course_lib.runner.gates import Bound
from course_lib.text.batches import IGNORED_LABEL

TINY = Sizes(
    rounds=2,
    slow_rounds=2,
    reviews=96,
    max_length=24,
    sentences=48,
    hidden_dim=4,
    tagger_dim=4,
    bound_dim=4,
    product_dim=32,
    texts=20,
    encoded=50,
    answers=2,
    grown_reviews=4,
    grown_length=3,
)


class Clock:
    """Time that passes only when a contestant works or the bench pauses."""

    def __init__(self):
        self.now, self.worked = 0.0, []

    def contestant(self, name, *seconds):
        remaining = iter(seconds)

        def work():
            self.worked.append(name)
            self.now += next(remaining)

        return work

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(measure.time, "sleep", clock.sleep)
    return clock


def test_everyone_begins_in_turn_and_the_first_call_does_not_count(clock):
    contestants = {
        "a": clock.contestant("a", 100, 1, 2, 3),
        "b": clock.contestant("b", 100, 10, 20, 30),
        "c": clock.contestant("c", 100, 5, 5, 5),
    }
    seconds = rotate(contestants, rounds=3)
    assert clock.worked == [*"abc", *"abc", *"bca", *"cab"]
    # Neither the warm-up's 100 seconds nor the pauses.
    for name, expected in (("a", [1, 2, 3]), ("b", [10, 20, 30]), ("c", [5, 5, 5])):
        assert seconds[name] == pytest.approx(expected)
    # By round: a slow second round of everyone would not show.
    assert ratios(seconds["b"], seconds["a"]) == pytest.approx((10, 10, 10))


def test_the_table_has_median_spread_goal_and_verdict():
    figures = [
        Figure("one", "ours / theirs", (1.4, 3.0, 1.6), goal=Bound(min=1.5), note="ours 3 a second"),
        Figure("two", "ids", (61.25,), unit="MB", goal=Bound(max=60)),
        Figure("three", "no goal", (0.5, 0.25)),
    ]
    assert table(figures) == (
        "part   what           median    lowest – highest  goal           measured\n"
        "one    ours / theirs  1.6 ×     1.4 – 3           ≥ 1.5  held    ours 3 a second\n"
        "two    ids            61.25 MB                    ≤ 60   missed\n"
        "three  no goal        0.375 ×   0.25 – 0.5"
    )


@pytest.fixture
def rounds_of(monkeypatch):
    """Let every rotation call its contestants once and come to the given seconds; returns the contestants."""

    def pretend(module, **seconds):
        seen = {}

        def rotated(contestants, rounds):
            for name, work in contestants.items():
                seen[name] = work()
            return {name: [float(seconds[name])] * rounds for name in contestants}

        monkeypatch.setattr(module, "rotate", rotated)
        return seen

    return pretend


def test_imdb_divides_the_seconds_of_the_peers_by_ours(rounds_of, monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    seen = rounds_of(training, ours=2, plain=3)
    (figure,) = training.imdb(TINY)
    assert figure.values == (1.5, 1.5) and figure.verdict == "held"
    assert figure.note == "ours 48 reviews/s, plain 32 reviews/s"
    # Both have trained, networks of the same size: a loss near that of a coin.
    for history in seen.values():
        assert history.history["loss"] == pytest.approx([math.log(2)], abs=0.1)
    ours, plain = ([weight.shape for weight in history.model.weights] for history in seen.values())
    assert ours == plain


def test_conll_pads_the_plain_way_to_the_longest_sentence_of_all(rounds_of, monkeypatch):
    fed = {}

    def fit(model, features, targets=None, *, batch_size=None, **options):
        fed["ours" if targets is None else "plain"] = (model, features, targets)

    monkeypatch.setattr(keras.Model, "fit", fit)
    rounds_of(training, ours=1, plain=5)
    (figure,) = training.conll(TINY)
    assert (figure.median, figure.verdict) == (5, "held")

    ours, batches, _ = fed["ours"]
    plain, arrays, targets = fed["plain"]
    # The longest training sentence of CoNLL-2003 has 113 tokens.
    assert targets.shape == (TINY.sentences, 113)
    assert {rows.shape[:2] for rows in arrays.values()} == {(TINY.sentences, 113)}
    assert np.array_equal(arrays["token_ids"] != 0, targets != IGNORED_LABEL)
    # Both read the same tokens with the same network, and learn the same labels.
    all_labels = np.concatenate([batches[index][1].ravel() for index in range(len(batches))])
    counted = [np.unique(labels[labels >= 0], return_counts=True) for labels in (all_labels, targets)]
    np.testing.assert_array_equal(*counted)
    assert [weight.shape for weight in ours.weights] == [weight.shape for weight in plain.weights]
    assert type(ours.loss) is type(plain.loss) and plain.loss.crf is plain.layers[-1]


def test_the_bound_counts_the_products_of_real_tokens_by_hand(rounds_of, monkeypatch):
    dims = []
    monkeypatch.setattr(training, "trainer", lambda size, dim, batches: lambda: dims.append(dim))
    ids, *_ = training.encoded_reviews(TINY)
    tokens = sum(map(len, ids))
    rounds_of(training, training=2, products=4)
    (figure,) = training.bound(TINY)
    assert dims == [TINY.bound_dim]
    # Two directions, four gates, inputs of 50 and states of 4 numbers, a multiply-add each; three passes.
    per_token = 3 * 2 * 4 * TINY.bound_dim * (50 + TINY.bound_dim) * 2
    products = 20 * 32 * 32 * 32 * 2
    assert figure.values == pytest.approx([100 * (tokens * per_token / 2) / (products / 4)] * 2)


def test_products_are_computed_and_stay_finite():
    products = training._multiplier(32)()
    random = np.random.default_rng(0)
    left, right = (random.normal(0, 32**-0.5, (32, 32)) for _ in "lr")
    for first, product in zip((left, right), products, strict=True):
        np.testing.assert_allclose(product, first @ np.linalg.matrix_power(right, 10), rtol=1e-3, atol=1e-5)
        assert 1e-3 < np.abs(product).max() < 1e3


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_learns_what_keras_learns():
    ids, labels, size = training.encoded_reviews(TINY)
    batches = training.bucketed(ids, labels)
    with training.torch_trainer(size, TINY.hidden_dim, batches) as train:
        losses = [train() for _ in range(12)]
    assert losses[0] == pytest.approx(math.log(2), abs=0.1)
    assert losses[-1] < losses[0] - 0.01


def test_a_pytorch_that_does_not_run_is_named(tmp_path, monkeypatch):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('half installed')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    batches = training.bucketed([[1, 2]] * 4, np.array([0, 1, 0, 1]))
    with (
        pytest.raises(CourseError, match="installed but does not run"),
        training.torch_trainer(3, 2, batches),
    ):
        pass


def test_tokenizers_gets_the_course_s_vocabulary_and_gives_the_same_ids(rounds_of):
    seen = rounds_of(reading, ours=1, NLTK=3, tokenizers=0.5)
    tokens, ids = reading.tokenization(TINY)
    assert (tokens.median, ids.median) == (3, 0.5)
    assert len(seen["NLTK"]) == len(seen["tokenizers"]) == len(seen["ours"]) == TINY.texts
    encoder = reading.TextEncoder.fit(["A fine film.", "A dull film, too."], max_length=24)
    encodings = reading._rust_tokenizer(encoder).encode_batch(["A fine, dull film.", "An awful film"])
    assert [encoding.ids for encoding in encodings] == [
        encoder.encode("A fine, dull film."),
        encoder.encode("An awful film"),
    ]


def test_memory_counts_lists_and_shared_numbers_once():
    shared = 123_456
    first, second = [shared, shared], [shared, 7_654_321]
    number, pointer = sys.getsizeof(shared), 8
    assert reading.num_bytes([first, second]) == 2 * (sys.getsizeof([]) + 2 * pointer) + 2 * number
    (figure,) = reading.memory(TINY)
    # Fifty reviews of at most 24 ids stand for 25,000: eight bytes for each id are a lower bound.
    assert 25_000 * 8 * 20 / 1e6 < figure.median < 25_000 * 8 * 24 / 1e6 * 2.5
    assert figure.note.startswith("50 reviews weighed") and figure.goal == Bound(max=60)


def test_gensim_reads_the_text_that_glove_is_compared_with(tmp_path, rounds_of, monkeypatch):
    words = ["the", "naïve", "–"]
    vectors = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    reading.write_glove_text(tmp_path / "glove.txt", words, vectors)
    keyed = KeyedVectors.load_word2vec_format(tmp_path / "glove.txt", no_header=True)
    assert keyed.index_to_key == words
    np.testing.assert_allclose(keyed.vectors, vectors, atol=5.1e-6)

    monkeypatch.setattr(reading, "load_glove_6b_50d", lambda: (words, vectors))
    seen = rounds_of(reading, ours=0.5, text=10)
    (figure,) = reading.glove(TINY)
    assert (figure.median, figure.verdict) == (20, "held")
    assert seen["ours"].index_to_key == seen["text"].index_to_key == words
    np.testing.assert_allclose(seen["ours"].vectors, seen["text"].vectors, atol=5.1e-6)


def test_predictor_and_keras_answer_the_same():
    texts, ours, plain = answering.sentiment_answers(TINY)
    assert len(texts) == TINY.answers
    for text in texts:
        np.testing.assert_allclose(ours(text), plain(text), atol=1e-5)
    texts, find, logits = answering.entity_answers(TINY)
    for text in texts:
        assert logits(text).shape[0] == len(text.split(" "))
        assert find(text).num_tokens >= 1


def test_predictors_divide_keras_s_seconds_by_ours(rounds_of):
    rounds_of(answering, ours=0.1, predict=2)
    sentiment, entities = answering.predictors(TINY)
    assert sentiment.median == entities.median == pytest.approx(20)
    assert {figure.goal for figure in (sentiment, entities)} == {Bound(min=20)}


def test_a_notebook_is_held_against_the_sum_of_its_cells(tmp_path, monkeypatch):
    cells = [new_code_cell("1", metadata={"papermill": {"duration": seconds}}) for seconds in (1.5, 2.5)]
    executed = new_notebook(
        cells=[*cells, new_code_cell("never", metadata={"papermill": {"duration": None}})]
    )
    calls = []

    def run_notebook(path, target, profile, seed, budgets, *, deadline_seconds):
        calls.append((path.stem, profile, budgets[path.stem, profile].wall_seconds))
        nbformat.write(executed, target)
        return course_lib.runner.Outcome([], 6.0, 100.0)

    monkeypatch.setattr(answering, "run_notebook", run_notebook)
    (figure,) = answering.notebook(TINY)
    assert figure.values == (1.5, 1.5)
    assert calls == [("03_building_the_bilstm", "smoke", math.inf)] * 2

    failed = course_lib.runner.Outcome(["kernel died in its first cell"], 6.0, 100.0)
    monkeypatch.setattr(answering, "run_notebook", lambda *_, **__: failed)
    with pytest.raises(CourseError, match=r"03_building_the_bilstm does not run \(kernel died"):
        answering.notebook(TINY)


def test_growth_measures_exactly_what_was_doubled(monkeypatch, tmp_path):
    trained = []

    def trainer(vocabulary_size, hidden_dim, batches):
        shape = (len(batches.sequences), *{len(ids) for ids in batches.sequences})
        return lambda: trained.append(shape)

    monkeypatch.setattr(growth, "trainer", trainer)
    monkeypatch.setattr(measure.time, "sleep", lambda seconds: None)
    curves = growth.measure_growth(TINY)
    assert set(trained) == {(4, 6), (8, 6), (16, 6), (32, 6), (4, 3), (4, 12), (4, 24)}
    assert {panel: list(by_work) for panel, by_work in curves.items()} == {
        "reviews": ["training", "encoding"],
        "lengths": ["training", "encoding"],
    }
    assert all(len(values) == 2 for values in curves["lengths"]["encoding"].values())


def test_growth_is_one_where_cost_grows_in_proportion(monkeypatch, tmp_path):
    proportional = {k: [0.5 * k, 0.5 * k] for k in growth.FACTORS}
    squared = {k: [0.5 * k * k, 0.5 * k * k] for k in growth.FACTORS}
    curves = {panel: {"training": proportional, "encoding": squared} for panel in ("reviews", "lengths")}
    monkeypatch.setattr(growth, "measure_growth", lambda sizes: curves)
    figures = growth.growth(TINY, tmp_path)
    assert [figure.median for figure in figures] == [1, 8, 1, 8]
    assert figures[0].note == "×1 0.5 s, ×2 1 s, ×4 2 s, ×8 4 s"

    drawn = growth.draw(curves, {"reviews": 256, "lengths": 50})
    assert drawn.layout.title.text and drawn.layout.xaxis.title.text == "number of reviews"
    assert (
        drawn.layout.xaxis2.title.text == "tokens of a review" and drawn.layout.yaxis.title.text == "seconds"
    )
    traces = {(trace.name, trace.xaxis): trace for trace in drawn.data}
    assert list(traces["encoding", "x2"].x) == [50, 100, 200, 400]
    assert list(traces["encoding", "x2"].y) == [0.5, 2, 8, 32]
    assert list(traces["encoding, in proportion", "x"].y) == [0.5, 1, 2, 4]
    page = (tmp_path / "growth.html").read_text(encoding="utf-8")
    assert "What more and longer reviews cost" in page and '<script src="http' not in page


def test_the_command_measures_writes_and_prints(tmp_path, monkeypatch, capsys):
    def part(name, values):
        return lambda sizes, out: [Figure(name, "ours / theirs", values, goal=Bound(min=2))]

    parts = {"first": part("first", (1.0, 3.0, 2.5)), "second": part("second", (1.0,))}
    monkeypatch.setattr(course_lib.bench.run, "PARTS", parts)
    monkeypatch.setattr(sys, "argv", ["course", "bench", "--only", "first", "--out", str(tmp_path / "bench")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code in (0, None)
    output = capsys.readouterr().out
    assert "first" in output and "second" not in output and "2.5 ×" in output and "held" in output
    stored = json.loads((tmp_path / "bench" / "results.json").read_text(encoding="utf-8"))
    assert stored["figures"] == [
        {
            "part": "first",
            "what": "ours / theirs",
            "unit": "×",
            "median": statistics.median([1.0, 3.0, 2.5]),
            "values": [1.0, 3.0, 2.5],
            "goal": "≥ 2",
            "verdict": "held",
            "measured": "",
        }
    ]


def test_an_unknown_part_is_named_before_anything_is_measured(tmp_path):
    with pytest.raises(UsageError, match=r"bench 'gloove'\. Did you mean 'glove'"):
        bench(["memory", "gloove"], out=tmp_path / "bench")
    assert not (tmp_path / "bench").exists()
