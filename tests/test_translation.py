"""Data, subwords, batches, searches and metrics of translation, against brute force and sacrebleu."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF
from tokenizers import Tokenizer

from course_lib.data import TranslatedSentence, load_tatoeba_en_es, split_by_source
from course_lib.data.catalog import load_catalog
from course_lib.data.splits import duplicate_key
from course_lib.errors import CourseError, UsageError
from course_lib.evaluation.bootstrap import bootstrap_interval
from course_lib.evaluation.translation import bleu, bleu_counts, bleu_of_sums, chrf
from course_lib.text.pairs import PairBatches
from course_lib.text.subwords import END_ID, SPECIAL_TOKENS, START_ID, Subwords
from course_lib.translation import (
    SearchNetwork,
    beam_search,
    greedy_search,
    length_penalty,
    longest_target,
    translate,
)

# Data


@pytest.fixture(scope="module")
def tatoeba():
    return load_tatoeba_en_es()


def test_counts_are_those_of_the_card(tatoeba):
    card = load_catalog()["tatoeba_en_es"]
    assert len(tatoeba) == card.facts["distinct English sentences"]
    references = [reference for sentence in tatoeba for reference in sentence.references]
    assert len(references) == card.splits["all"]
    assert len(set(references)) == card.facts["distinct Spanish sentences"]
    assert tatoeba[0].source == "Go." and tatoeba[0].references == ("Ve.", "Vete.", "Vaya.", "Váyase.")
    assert tatoeba[0].attributions[0].endswith("#2877272 (CM) & #4986655 (cueyayotl)")
    assert all(len(s.references) == len(s.attributions) == len(set(s.references)) for s in tatoeba)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_source_stands_in_two_splits(tatoeba, seed):
    parts = split_by_source(tatoeba, 1_000, 2_000, seed)
    assert list(map(len, parts)) == [len(tatoeba) - 3_000, 1_000, 2_000]
    keys = [{duplicate_key(sentence.source) for sentence in part} for part in parts]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    assert sorted(itertools.chain(*parts)) == sorted(tatoeba)
    assert parts == split_by_source(tatoeba, 1_000, 2_000, seed)


def test_sources_that_differ_in_punctuation_stay_together():
    texts = ["Run!", "Run.", "run", "Stop!", "Stop.", "Go."]
    sentences = [TranslatedSentence(text, ("x",), ("y",)) for text in texts]
    for seed in range(20):
        parts = split_by_source(sentences, 1, 2, seed)
        for word in ("run", "stop"):
            assert sum(any(word in s.source.lower() for s in part) for part in parts) == 1


def test_splits_that_leave_nothing():
    sentences = [TranslatedSentence(str(number), ("x",), ("y",)) for number in range(4)]
    with pytest.raises(UsageError, match="4"):
        split_by_source(sentences, 2, 2, seed=0)


# Subwords

TEXTS = ["low low low lower lowest.", "newer newer wider.", "¿Qué hora es? Son las 12:30.", "it's low"] * 3


@pytest.fixture(scope="module")
def subwords():
    return Subwords.train(TEXTS, 120)


def test_merges_by_hand(tmp_path):
    # ▁l, lo and ow occur 7 times each: on a tie the lower ids win, and letters come before ▁. Then ▁lo and
    # low occur 7 times each, and ▁ is older than lo.
    learnt = Subwords.train(["low low low low low lower lowest"], len(SPECIAL_TOKENS) + len("▁elorstw") + 3)
    learnt.save(tmp_path / "subwords.json")
    merges = json.loads((tmp_path / "subwords.json").read_text(encoding="utf-8"))["model"]["merges"]
    assert list(map(tuple, merges)) == [("l", "o"), ("▁", "lo"), ("▁lo", "w")]
    assert learnt.tokens(learnt.encode("low lower")) == ["▁low", "▁low", "e", "r"]


def test_text_survives_and_borders_hold(subwords):
    for text in TEXTS:
        assert subwords.decode(subwords.encode(text)) == text
    tokens = subwords.tokens(subwords.encode("¿Qué low's 12:30?"))
    assert tokens[0] == "▁¿" and tokens[-1] == "?" and tokens[-6:-1] == ["▁1", "2", ":", "3", "0"]


def test_special_ids_and_texts_that_look_like_them(subwords):
    assert subwords.tokens([0, 1, 2, 3]) == list(SPECIAL_TOKENS) == ["[PAD]", "[UNK]", "[START]", "[END]"]
    assert not {0, 2, 3} & set(subwords.encode("[END] [PAD] [START]"))
    assert subwords.decode([START_ID, *subwords.encode("low"), END_ID]) == "low"


def test_spaces_accents_and_apostrophes_are_normalized(subwords):
    assert subwords.encode("  low \t lower\u00a0") == subwords.encode("low lower")
    assert subwords.encode("Que\u0301") == subwords.encode("Qué")
    assert subwords.encode("it’s") == subwords.encode("it's")


def test_unknown_characters(subwords):
    assert subwords.encode("   ") == []
    for text, known in (("日本", False), ("日本 low", True), ("?", True), ("", False)):
        assert subwords.is_known(subwords.encode(text)) is known
    assert subwords.encode_all(["low", "日"]) == [subwords.encode("low"), subwords.encode("日")]


def test_subwords_are_saved_as_the_librarys_json(subwords, tmp_path):
    subwords.save(tmp_path / "subwords.json")
    loaded, library = (
        Subwords.load(tmp_path / "subwords.json"),
        Tokenizer.from_file(str(tmp_path / "subwords.json")),
    )
    for text in [*TEXTS, "日本", "[END]"]:
        assert loaded.encode(text) == subwords.encode(text)
    assert library.encode(TEXTS[0]).ids == subwords.encode(TEXTS[0])
    assert len(loaded) == len(subwords) == library.get_vocab_size()


def test_half_a_character_is_a_question_mark(subwords):
    # A lone surrogate is half of a character above U+FFFF, as a broken export leaves it.
    assert subwords.encode("low\ud800 low\udfff") == subwords.encode("low? low?")
    assert subwords.encode_all(["low\ud800", "low"]) == [subwords.encode("low?"), subwords.encode("low")]


def test_a_vocabulary_too_small_for_the_single_characters():
    texts = ["the quick brown fox jumps over lazy dogs"] * 5
    # 26 letters, the mark before a word and four special tokens.
    with pytest.raises(UsageError, match="vocabulary_size is 30; these texts need 31 "):
        Subwords.train(texts, 30)
    assert len(Subwords.train(texts, 31)) == 31


def test_training_twice_gives_the_same(subwords):
    assert Subwords.train(TEXTS, 120).encode_all(TEXTS) == subwords.encode_all(TEXTS)


def test_files_that_hold_no_subwords(tmp_path):
    with pytest.raises(CourseError, match="run the notebook"):
        Subwords.load(tmp_path / "missing.json")
    (tmp_path / "damaged.json").write_text('{"version": "1.0"')
    with pytest.raises(CourseError, match="damaged"):
        Subwords.load(tmp_path / "damaged.json")
    from tokenizers import models

    Tokenizer(models.BPE(vocab={"a": 0}, merges=[])).save(str(tmp_path / "other.json"))
    with pytest.raises(CourseError, match="another"):
        Subwords.load(tmp_path / "other.json")
    with pytest.raises(CourseError, match="written"):
        Subwords.train(TEXTS, 60).save(tmp_path / "no_folder" / "subwords.json")
    with pytest.raises(UsageError, match="vocabulary_size"):
        Subwords.train(TEXTS, 4)


# Batches


def pairs_of(seed, num_pairs):
    random = np.random.default_rng(seed)
    sources = [random.integers(4, 50, random.integers(1, 12)).tolist() for _ in range(num_pairs)]
    targets = [random.integers(4, 50, random.integers(1, 12)).tolist() for _ in range(num_pairs)]
    return sources, targets


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 80), st.integers(1, 60), st.sampled_from([None, 0, 3]))
def test_every_pair_comes_once_within_the_limit(seed, num_pairs, max_tokens, shuffle):
    sources, targets = pairs_of(seed, num_pairs)
    batches = PairBatches(sources, targets, max_tokens=max_tokens, seed=shuffle)
    for epoch in range(2):
        batches.epoch = epoch
        assert sorted(np.concatenate(batches.batches)) == list(range(num_pairs))
        for index, pairs in enumerate(batches.batches):
            inputs, labels = batches[index]
            source_ids, target_ids = inputs["source_ids"], inputs["target_ids"]
            assert target_ids.shape == labels.shape and len(source_ids) == len(labels) >= len(pairs)
            for row, pair in enumerate(pairs):
                source, target = sources[pair], targets[pair]
                assert source_ids[row].tolist() == source + [0] * (source_ids.shape[1] - len(source))
                padding = [0] * (labels.shape[1] - len(target) - 1)
                assert target_ids[row].tolist() == [START_ID, *target, *padding]
                assert labels[row].tolist() == [*target, END_ID, *padding]
            assert (labels[len(pairs) :] == 0).all()
            if index != 1:
                assert len(pairs) == len(labels)
                assert len(pairs) == 1 or max(source_ids.size, target_ids.size) <= max_tokens
    assert batches.num_target_tokens == sum(len(target) + 1 for target in targets)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from([None, 0]))
def test_the_first_two_batches_leave_every_shape_open(seed, num_pairs, shuffle):
    batches = PairBatches(*pairs_of(seed, num_pairs), max_tokens=24, seed=shuffle)
    if len(batches) > 1:
        (first, _), (second, _) = batches[0], batches[1]
        for name in ("source_ids", "target_ids"):
            assert all(a != b for a, b in zip(first[name].shape, second[name].shape, strict=True))


def test_epochs_differ_and_repeat():
    batches = PairBatches(*pairs_of(0, 100), max_tokens=30, seed=5)
    first = [pairs.tolist() for pairs in batches.batches]
    batches.on_epoch_end()
    assert batches.epoch == 1 and [pairs.tolist() for pairs in batches.batches] != first
    batches.epoch = 0
    assert [pairs.tolist() for pairs in batches.batches] == first


def test_padding_share_by_hand():
    # Targets with start: 2, 2, 4 long; the third pair is alone.
    batches = PairBatches([[5], [5, 6, 7], [5]], [[8], [9], [8, 9, 8]], max_tokens=6)
    assert [pairs.tolist() for pairs in batches.batches] == [[0, 1], [2]]
    # 2 × (3 + 2) + 1 × (1 + 4) steps; 5 source and 8 target tokens
    assert batches.padding_share == pytest.approx(1 - 13 / 15)


def test_wrong_batches():
    for arguments in (([], [], 5), ([[4]], [[4], [5]], 5), ([[4]], [[4]], 0)):
        with pytest.raises(UsageError):
            PairBatches(*arguments[:2], max_tokens=arguments[2])


# Searches: a table instead of a network; the state of a row is the sentence and all tokens so far.

VOCABULARY_SIZE = 6  # the special tokens, of which only the end may be written, and two words


def table_network(seed, steps=4):
    """Logits that depend on the source and on everything written so far."""
    tables = np.random.default_rng(seed).normal(
        0, 1.5, (steps + 1, 3 * VOCABULARY_SIZE**steps, VOCABULARY_SIZE)
    )

    def encode(source_ids):
        memory = {"mask": source_ids != 0}
        return memory, {"written": source_ids[:, 0] - 4, "step": np.zeros(len(source_ids), int)}

    def step(token_ids, memory, state):
        first = state["step"] == 0
        written = np.where(first, state["written"], state["written"] * VOCABULARY_SIZE + token_ids)
        logits = tables[state["step"], written % tables.shape[1]]
        weights = memory["mask"] / memory["mask"].sum(axis=1, keepdims=True)
        return logits.astype(np.float32), weights, {"written": written, "step": state["step"] + 1}

    return SearchNetwork(encode, step)


def log_probabilities_of(network, source, ids):
    """Log-probability of each token, one call after the other, without any search."""
    memory, state = network.encode(np.array([source], np.int32))
    total, previous = 0.0, START_ID
    for token in ids:
        logits, _, state = network.step(np.array([previous]), memory, state)
        logits = logits[0].astype(float)
        total += logits[token] - np.log(np.exp(logits[END_ID:]).sum())  # what may be written
        previous = token
    return total


def brute_force(network, source, limit, alpha):
    """The best of all sequences that end within the limit or are cut off by it."""
    scored = []
    for length in range(limit + 1):
        for ids in itertools.product([4, 5], repeat=length):
            steps = [*ids, END_ID] if length < limit else ids
            score = log_probabilities_of(network, source, steps) / ((5 + len(steps)) / 6) ** alpha
            scored.append((score, list(ids)))
    return max(scored)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_what_brute_force_finds(seed, alpha):
    network, sources = table_network(seed), [[4], [5, 4], [6, 4, 4]]
    found = beam_search(network, sources, beam_size=31, alpha=alpha, max_length=lambda length: 4)
    for source, hypothesis in zip(sources, found, strict=True):
        score, ids = brute_force(network, source, 4, alpha)
        assert hypothesis.ids == ids
        assert hypothesis.score == pytest.approx(score, abs=1e-5)
        steps = [*ids, END_ID] if hypothesis.ended else ids
        assert hypothesis.log_probability == pytest.approx(
            log_probabilities_of(network, source, steps), abs=1e-5
        )
        assert hypothesis.attention.shape == (len(steps), len(source))
        np.testing.assert_allclose(hypothesis.attention, 1 / len(source), rtol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_of_one_is_greedy_search(seed):
    network, sources = table_network(seed), [[4], [5, 4], [6, 4, 4], [4]]
    greedy = greedy_search(network, sources, lambda length: 4)
    beam = beam_search(network, sources, beam_size=1, alpha=0.0, max_length=lambda length: 4)
    for first, second in zip(greedy, beam, strict=True):
        assert (first.ids, first.ended) == (second.ids, second.ended)
        assert first.score == pytest.approx(second.score, abs=1e-5)
        np.testing.assert_array_equal(first.attention, second.attention)


@pytest.mark.parametrize("beam_size", [2, 3])
def test_limits_differ_by_source(beam_size):
    """Each source has its own limit, whatever its neighbours in the batch are."""
    network, sources = table_network(3), [[4], [5, 4], [6, 4, 4]]
    together = beam_search(network, sources, beam_size=beam_size, max_length=lambda length: length)
    for source, hypothesis in zip(sources, together, strict=True):
        (alone,) = beam_search(network, [source], beam_size=beam_size, max_length=lambda length: length)
        assert alone.ids == hypothesis.ids and alone.score == pytest.approx(hypothesis.score, abs=1e-6)
        assert len(hypothesis.ids) <= len(source)


def greedy_trap(token_ids, memory, state):
    """Greedy takes 4 (0.6), after which everything is unlikely; 5 (0.4) leads to a sure end."""
    after = {
        START_ID: [0.0, 0, 0, 0.0001, 0.6, 0.3999],
        4: [0, 0, 0, 0.35, 0.33, 0.32],
        5: [0, 0, 0, 0.98, 0.01, 0.01],
    }
    probabilities = np.array([after[int(token)] for token in token_ids])
    return np.log(np.maximum(probabilities, 1e-9)), np.ones((len(token_ids), 1)), state


def test_greedy_is_trapped_where_a_beam_of_two_is_not():
    network = SearchNetwork(lambda ids: ({}, {"none": np.zeros(len(ids))}), greedy_trap)
    (greedy,) = greedy_search(network, [[4]])
    (beam,) = beam_search(network, [[4]], beam_size=2, alpha=0.0)
    assert greedy.ids == [4] and greedy.log_probability == pytest.approx(np.log(0.6 * 0.35), abs=1e-4)
    assert beam.ids == [5] and beam.log_probability == pytest.approx(np.log(0.3999 * 0.98), abs=1e-4)


def test_the_length_penalty_turns_the_choice():
    """Ending at once has probability 0.2; three words and then the end 0.8 × 0.6 × 0.6 × 0.6."""
    assert length_penalty(7, 0.5) == pytest.approx(2**0.5) and length_penalty(1, 0.9) == 1

    def step(token_ids, memory, state):
        probabilities = np.full((len(token_ids), VOCABULARY_SIZE), 1e-9)
        going_on = np.array([0.8, 0.6, 0.6, 1e-9])[np.minimum(state["step"], 3)]
        end = np.array([0.2, 1e-9, 1e-9, 0.6])[np.minimum(state["step"], 3)]
        probabilities[:, 4], probabilities[:, END_ID] = going_on, end
        probabilities[:, 5] = 1 - going_on - end
        return (
            np.log(np.maximum(probabilities, 1e-9)),
            np.ones((len(token_ids), 1)),
            {"step": state["step"] + 1},
        )

    network = SearchNetwork(lambda ids: ({}, {"step": np.zeros(len(ids), int)}), step)
    (plain,) = beam_search(network, [[4]], beam_size=2, alpha=0.0)
    (normalized,) = beam_search(network, [[4]], beam_size=2, alpha=1.0)
    assert plain.ids == [] and normalized.ids == [4, 4, 4]
    assert normalized.score == pytest.approx(np.log(0.8 * 0.6**3) / (9 / 6), abs=1e-4)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_network_that_never_ends_is_cut_off(beam_size):
    def step(token_ids, memory, state):
        logits = np.zeros((len(token_ids), VOCABULARY_SIZE), np.float32)
        logits[:, [0, 1, 2]] = 50  # never written, however likely
        logits[:, END_ID] = -80
        return logits, np.ones((len(token_ids), 3)) / 3, state

    network = SearchNetwork(lambda ids: ({}, {"none": np.zeros(len(ids))}), step)
    sources = [[4, 4, 4], [5]]
    found = beam_search(network, sources, beam_size=beam_size)
    assert [len(hypothesis.ids) for hypothesis in found] == [longest_target(3), longest_target(1)] == [16, 12]
    assert not any(hypothesis.ended for hypothesis in found)
    assert {4, 5} >= {token for hypothesis in found for token in hypothesis.ids}
    assert [hypothesis.attention.shape for hypothesis in found] == [(16, 3), (12, 1)]


def test_wrong_searches():
    for arguments in ({"beam_size": 0}, {"alpha": -0.1}):
        with pytest.raises(UsageError):
            beam_search(table_network(0), [[4]], **arguments)


# From text to text


def copying_network(vocabulary_size):
    """Writes the source's tokens, then the end; reads the token that it writes."""

    def encode(source_ids):
        return {"ids": source_ids}, {"step": np.zeros(len(source_ids), int)}

    def step(token_ids, memory, state):
        rows = np.arange(len(token_ids))
        padded = np.pad(memory["ids"], ((0, 0), (0, 1)))
        wanted = padded[rows, np.minimum(state["step"], padded.shape[1] - 1)]
        logits = np.zeros((len(token_ids), vocabulary_size), np.float32)
        logits[rows, np.where(wanted == 0, END_ID, wanted)] = 20
        weights = np.eye(padded.shape[1])[np.minimum(state["step"], padded.shape[1] - 1)][:, :-1]
        return logits, weights, {"step": state["step"] + 1}

    return SearchNetwork(encode, step)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_translate_keeps_the_order_and_answers_every_text(subwords, beam_size):
    texts = ["it's low", "", "lower.", "日本", "low " * 400, "  \n", "newer wider."] * 2
    found = translate(
        texts, subwords, subwords, copying_network(len(subwords)), beam_size=beam_size, batch_size=3
    )
    assert len(found) == len(texts)
    for text, translation in zip(texts, found, strict=True):
        if text in ("it's low", "lower.", "newer wider."):
            assert translation.text == text and translation.problem is None
            assert (
                translation.source_tokens
                == translation.target_tokens
                == subwords.tokens(subwords.encode(text))
            )
            np.testing.assert_array_equal(translation.attention, np.eye(len(translation.source_tokens)))
            assert -0.1 < translation.log_probability < 0
        else:
            assert translation.text == "" and translation.target_tokens == []
            assert translation.problem.endswith(".")
    assert "400" in found[4].problem and "shorter" in found[4].problem
    assert found[1].problem == found[5].problem != found[3].problem


def test_translate_nothing(subwords):
    assert translate([], subwords, subwords, copying_network(len(subwords))) == []
    (long,) = translate(
        ["low " * 400], subwords, subwords, copying_network(len(subwords)), max_source_length=400
    )
    assert long.problem is None and long.text.split() == ["low"] * 400


# Metrics: the examples of sacrebleu's README and of its documentation

SYSTEM = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]


def test_metrics_are_sacrebleus_readme_example():
    assert bleu(SYSTEM, REFERENCES) == pytest.approx(48.530827, abs=1e-6)
    # The README's command line prints chrF2 for the same sentences.
    streams = list(map(list, zip(*REFERENCES, strict=True)))
    assert chrf(SYSTEM, REFERENCES) == pytest.approx(CHRF().corpus_score(SYSTEM, streams).score)


def test_bleu_by_hand():
    # "the the the cat": matches 3 of 4 (the cat clips "the" to 2), 2 of 3, 0, 0 → smoothed 1/(2·2), 1/(4·1)
    translation, reference = ["the the the cat"], [["the cat sat on the"]]
    precisions = [3 / 4, 1 / 3, 1 / (2 * 2), 1 / (4 * 1)]
    expected = 100 * np.exp(1 - 5 / 4) * np.prod(precisions) ** 0.25
    assert bleu(translation, reference) == pytest.approx(expected)
    np.testing.assert_array_equal(bleu_counts(translation, reference), [[3, 1, 0, 0, 4, 3, 2, 1, 4, 5]])


def test_chrf_by_hand():
    # "abc" and "abd": 2 of 3 letters, 1 of 2 pairs, 0 of 1 triples; orders 4 to 6 do not exist
    expected = 100 * np.mean([2 / 3, 1 / 2, 0])
    assert chrf(["abc"], [["abd"]]) == pytest.approx(expected)


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=7).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=5))
def test_sums_of_counts_give_sacrebleus_corpus_score(sentences):
    translations, references = [text for text, _ in sentences], [texts for _, texts in sentences]
    most = max(map(len, references))
    streams = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    expected = BLEU().corpus_score(translations, streams).score
    assert bleu(translations, references) == pytest.approx(expected, abs=1e-9)
    assert float(bleu_of_sums(bleu_counts(translations, references).sum(axis=0))) == pytest.approx(
        expected, abs=1e-9
    )


def test_interval_of_bleu_holds_its_value():
    counts = bleu_counts(SYSTEM * 20, REFERENCES * 20)
    interval = bootstrap_interval(counts, bleu_of_sums, num_resamples=200)
    assert interval.value == pytest.approx(bleu(SYSTEM * 20, REFERENCES * 20))
    assert interval.low < interval.value < interval.high


def test_more_references_never_lower_chrf():
    assert chrf(SYSTEM, REFERENCES) >= chrf(SYSTEM, [texts[:1] for texts in REFERENCES])


@pytest.mark.parametrize("function", [bleu, chrf, bleu_counts])
def test_wrong_references(function):
    for translations, references in (
        ([], []),
        (["a"], [["a"], ["b"]]),
        (["a"], ["a"]),
        (["a"], [[]]),
        (["a", "b"], [["a"], "bc"]),
    ):
        with pytest.raises(UsageError):
            function(translations, references)


def test_nothing_to_search_and_no_room_for_it(subwords):
    network = SearchNetwork(None, None)  # is never asked
    assert greedy_search(network, []) == beam_search(network, []) == []
    assert translate([], subwords, subwords, network) == []
    with pytest.raises(UsageError, match="batch_size is 0"):
        translate(["low"], subwords, subwords, network, batch_size=0)
