"""Wrong lines of a CoNLL-2003 file: the message names the file and the line."""

import pytest

from course_lib.data import conll2003, load_conll2003
from course_lib.errors import CourseError

HEADING = "-DOCSTART- -X- -X- O\n\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("EU NNP B-NP\n", "train.txt, line 3: expected token, POS, chunk and entity, found 'EU NNP B-NP'"),
        ("EU NNP B-NP B-ORG O\n", "train.txt, line 3: expected token"),
        ("EU NNP B-NP B-COUNTRY\n", "train.txt, line 3: unknown entity tag 'B-COUNTRY'"),
        ("EU NNP B-NP S-ORG\n", "train.txt, line 3: unknown entity tag 'S-ORG'"),
        ("EU NNP B-NP ORG\n", "train.txt, line 3: unknown entity tag 'ORG'"),
        ("EU NNP B-NP I-ORG\n", "train.txt, line 3: 'I-ORG' continues no entity"),
        ("the DT B-NP O\nEU NNP I-NP I-ORG\n", "train.txt, line 4: 'I-ORG' continues no entity"),
        ("Mr NNP B-NP B-PER\nEU NNP I-NP I-ORG\n", "train.txt, line 4: 'I-ORG' continues no entity"),
        ("EU NNP B-NP B-ORG\n\nEU NNP B-NP I-ORG\n", "train.txt, line 5: 'I-ORG' continues no entity"),
        ("EU NNP B-NP B-ORG\n\n\nEU NNP B-NP O\n", "train.txt, line 5: a sentence without a token"),
    ],
)
def test_file_and_line_are_named(tmp_path, monkeypatch, text, message):
    (tmp_path / "train.txt").write_text(HEADING + text, encoding="utf-8")
    monkeypatch.setattr(conll2003, "fetch", lambda name: tmp_path)
    with pytest.raises(CourseError, match=message):
        load_conll2003("train")


def test_blank_lines_at_the_end_are_none(tmp_path, monkeypatch):
    (tmp_path / "train.txt").write_text(HEADING + "EU NNP B-NP B-ORG\n\n\n\n", encoding="utf-8")
    monkeypatch.setattr(conll2003, "fetch", lambda name: tmp_path)
    assert [sentence.entities for sentence in load_conll2003("train")] == [("B-ORG",)]
