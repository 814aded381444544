"""Uploaded files are read or refused in one sentence; downloads hold no formulas."""

import csv
import io

import pytest
import shared

from course_lib.errors import UsageError


def test_csv_and_txt_are_read():
    content = 'id,text\r\n1,"Fine, really"\r\n2,"two\nlines"\r\n'.encode("utf-8-sig")
    assert shared.read_rows("a.CSV", content) == [{"text": "Fine, really"}, {"text": "two\nlines"}]
    assert shared.read_rows("a.txt", b"one\n\ntwo\n") == [{"text": "one"}, {"text": "two"}]


def test_questions_and_passages_are_read_from_their_columns():
    content = b'passage,id,question\r\n"Anna, 7, is here.",1,Who?\r\n,2,When?\r\nNo question\r\n'
    assert shared.read_rows("a.csv", content, ["question", "passage"]) == [
        {"question": "Who?", "passage": "Anna, 7, is here."},
        {"question": "When?", "passage": ""},
        {"question": "", "passage": "No question"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"question,text\nWho?,Anna\n", "no column named passage; its columns are: question, text"),
        ("a.txt", b"Who?\n", r"no column named question; its columns are: Who\?"),
        ("a.csv", b"question,passage\n", "holds no questions"),
        ("a.csv", b"question,passage\n" + b"x,y\n" * 20_001, "20,001 questions; at most 20,000"),
        ("a.csv", b"question,passage\nx," + b"y" * 20_001, "Passage 1 has 20,001 characters"),
    ],
)
def test_a_file_of_questions_is_refused_with_the_way_out(name, content, message):
    with pytest.raises(UsageError, match=message):
        shared.read_rows(name, content, ["question", "passage"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "no column named text"),
        ("a.csv", b"review\nfine\n", "its columns are: review"),
        ("a.csv", b"text\n", "holds no texts"),
        ("a.csv", b'text\n"open\n', "not valid CSV"),
        ("a.csv", b"\x89PNG\0\0", "binary"),
        ("a.txt", "café".encode("latin-1"), "Byte 3 of the file is not UTF-8"),
        ("a.txt", b"x\n" * 1_000_000, "1,000,000 texts; at most 20,000"),
        ("a.txt", b"x" * 20_001, "Text 1 has 20,001 characters"),
        ("a.txt", b"x" * 5_000_001, "at most 5 MB"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_way_out(name, content, message):
    with pytest.raises(UsageError, match=message):
        shared.read_rows(name, content)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_downloaded_cell_is_a_formula(text):
    asked = [{"text": text}, {"text": "plain"}]
    content = shared.write_rows(asked, [{"label": text, "p": -0.5}, {"label": "b", "p": 1.0}])
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert rows[0]["text"] == rows[0]["label"] == f"'{text}"
    assert rows[0]["p"] == "-0.5" and rows[1]["text"] == "plain"


def test_markup_is_escaped():
    assert shared.safe("<b>&\u202e\u200b") == "&lt;b&gt;&amp;"
    assert shared.plain("[a](b) $c$ :d:") == r"\[a\]\(b\) \$c\$ \:d\:"
