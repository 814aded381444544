"""XSum: BBC articles and the one sentence that introduced each."""

import json

from course_lib.data.fetch import fetch
from course_lib.data.records import SummarizedText


def load_xsum_1k() -> list[SummarizedText]:
    """999 BBC articles, one paragraph a line, with their one-sentence summaries, in the order of the file.

    The file holds 1,000; the one whose article is empty (a picture gallery) is left out.

    Raises:
        CourseError: the data cannot be fetched.

    Source: Narayan, Cohen and Lapata (2018), "Don't Give Me the Details, Just the Summary!", section 2.
    """
    with open(fetch("xsum_1k") / "XSum-test.jsonl", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [SummarizedText(row["document"], row["summary"]) for row in rows if row["document"]]
