"""The summarization data: counts, first records, and what was left out."""

import json

from course_lib.data import load_multi_lexsum, load_xsum_1k
from course_lib.data.catalog import load_catalog
from course_lib.data.fetch import fetch


def rows_of(name, file):
    lines = (fetch(name) / file).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def test_xsum_leaves_out_the_empty_article_and_nothing_else():
    rows = rows_of("xsum_1k", "XSum-test.jsonl")
    records = load_xsum_1k()
    card = load_catalog()["xsum_1k"]
    assert len(rows) == card.facts["articles in the file"] == 1_000
    assert [row["id"] for row in rows if not row["document"]] == ["32556640"]
    assert card.facts["empty articles dropped"] == 1
    assert len(records) == card.splits["test"] == 999
    assert records == [(row["document"], row["summary"]) for row in rows if row["id"] != "32556640"]


def test_xsum_texts_are_whole_and_distinct():
    records = load_xsum_1k()
    assert records[0].text.startswith("The ex-Reading defender denied fraudulent trading charges")
    assert records[0].summary.startswith("Former Premier League footballer Sam Sodje has appeared in court")
    assert len({record.text for record in records}) == len({record.summary for record in records}) == 999
    assert all(record.text.strip() and record.summary.strip() for record in records)


def test_multi_lexsum_counts():
    rows = rows_of("multi_lexsum", "MultiLexSum-test.jsonl")
    records = load_multi_lexsum()
    card = load_catalog()["multi_lexsum"]
    assert records == [(row["document"], row["summary"]) for row in rows]
    assert len(records) == len({record.text for record in records}) == card.splits["test"] == 868
    assert records[0].text.startswith("On March 8th, 2014, several citizens of Montgomery, Alabama")
    assert records[0].summary.startswith("The plaintiffs filed a lawsuit on March 8, 2014")
    longer = sum(len(record.summary) >= len(record.text) for record in records)
    assert longer == card.facts["summaries that are not shorter than their text"] == 1
