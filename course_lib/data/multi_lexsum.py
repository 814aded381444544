"""Multi-LexSum: long summaries of lawsuits and the short summaries of those."""

import json

from course_lib.data.fetch import fetch
from course_lib.data.records import SummarizedText


def load_multi_lexsum() -> list[SummarizedText]:
    """868 long summaries of American lawsuits, each with its short summary, in the order of the file.

    Raises:
        CourseError: the data cannot be fetched.

    Source: Shen et al. (2022), "Multi-LexSum", section 3.
    """
    with open(fetch("multi_lexsum") / "MultiLexSum-test.jsonl", encoding="utf-8") as lines:
        return [SummarizedText(row["document"], row["summary"]) for row in map(json.loads, lines)]
