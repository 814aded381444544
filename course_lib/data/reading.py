"""Questions whose answer is a span of the passage: QuAC, NarrativeQA and SQuAD 1.1."""

import json
import re
from pathlib import Path

from course_lib.data.fetch import fetch
from course_lib.data.records import ReadingQuestion
from course_lib.errors import CourseError, unknown_name

_SQUAD_FILES = {"train": "train-v1.1.json", "dev": "dev-v1.1.json"}
_NO_ANSWER = "CANNOTANSWER"
_QUESTION = re.compile(r"^question\d+: ", flags=re.MULTILINE)
_ANSWERS = re.compile(r"^possible answers for question\d+:\n", flags=re.MULTILINE)
_ARTICLE = re.compile(r"(?:a|an|the)\s+", flags=re.IGNORECASE)
# Characters on either side of an answer whose words are compared with the question's.
_CONTEXT = 150


def load_quac() -> list[ReadingQuestion]:
    """3,000 questions on 1,000 sections of Wikipedia, three on each, in the order of the file.

    The file joins the answers of all annotators to a question by spaces; each is a span of the passage or
    CANNOTANSWER. They are told apart by reading as far as the text stands in the passage, again and again. A
    question that at least half of the annotators found unanswerable has no answers here (451 of them), any
    other one the answers of the rest, as in QuAC's own evaluation.

    Raises:
        CourseError: the data cannot be fetched.

    Source: Choi et al. (2018), "QuAC: Question Answering in Context", sections 2 and 5.1.
    """
    records = []
    with open(fetch("quac") / "Quac-test.jsonl", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            passage = row["passage"]
            questions = _QUESTION.split(row["question"])[1:]
            for question, joined in zip(questions, _ANSWERS.split(row["answer"])[1:], strict=True):
                references = split_references(joined, passage)
                answers = [reference for reference in references if reference != _NO_ANSWER]
                if 2 * len(answers) <= len(references):
                    answers = []
                spans = tuple(
                    (passage.index(answer), passage.index(answer) + len(answer)) for answer in answers
                )
                records.append(ReadingQuestion(question.strip(), passage, tuple(answers), spans))
    return records


def split_references(joined: str, passage: str) -> list[str]:
    """Tells apart answers that are joined by spaces, each the longest beginning that the passage holds.

    The longest beginning gives the fewest parts: whatever follows a part of the passage's text and is part of
    it, too, would be cut off by any other choice.

    Returns:
        Spans of the passage and "CANNOTANSWER", in order.

    Raises:
        CourseError: the next word stands nowhere in the passage.
    """
    references, rest = [], joined.strip()
    while rest:
        if rest.startswith(_NO_ANSWER):
            end = len(_NO_ANSWER)
        else:
            end = 0
            for match in re.finditer(r"\s|$", rest):
                if rest[: match.start()] not in passage:
                    break
                end = match.start()
        if end == 0:
            raise CourseError(f"The answer {rest[:60]!r} does not stand in its passage.")
        references.append(rest[:end])
        rest = rest[end:].lstrip()
    return references


def load_narrative_qa() -> list[ReadingQuestion]:
    """3,000 questions on 101 summaries of books and films, in the order of the file.

    Two people answered each in their own words. `spans` holds the answers that stand in the summary, as
    `locate_answer` finds them, and is empty where it finds neither.

    Raises:
        CourseError: the data cannot be fetched.

    Source: Kočiský et al. (2018), "The NarrativeQA Reading Comprehension Challenge", section 3.
    """
    records = []
    with open(fetch("narrative_qa") / "NarrativeQA-test.jsonl", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            question, passage, answers = row["question"].strip(), row["passage"], row["answer"]
            found = (locate_answer(answer, passage, question) for answer in answers)
            spans = tuple(span for span in found if span is not None)
            records.append(ReadingQuestion(question, passage, tuple(map(str.strip, answers)), spans))
    return records


def locate_answer(answer: str, passage: str, question: str = "") -> tuple[int, int] | None:
    """Where an answer stands in the passage, word for word; case and the punctuation at its ends are free.

    An article at its beginning may be missing in the passage. Of several places the one with the most
    different words of the question nearby is taken, of equal ones the first.

    Returns:
        (start, end) character offsets, or None.
    """
    answer = re.sub(r"^\W+|\W+$", "", answer)
    asked = _words(question)
    for text in (answer, _ARTICLE.sub("", answer, count=1) if _ARTICLE.match(answer) else ""):
        if text:
            pattern = r"(?<!\w)" + r"\s+".join(map(re.escape, text.split())) + r"(?!\w)"
            places = [match.span() for match in re.finditer(pattern, passage, flags=re.IGNORECASE)]
            if places:
                return max(
                    places,
                    key=lambda place: len(
                        asked & _words(passage[max(place[0] - _CONTEXT, 0) : place[1] + _CONTEXT])
                    ),
                )
    return None


def load_squad(split: str) -> list[ReadingQuestion]:
    """SQuAD 1.1; "train" (87,599 questions, one answer each) or "dev" (10,570, several answers each).

    Needs the internet, or a mirror folder that holds the file.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched, or an answer does not stand where the file says.

    Source: Rajpurkar et al. (2016), "SQuAD: 100,000+ Questions for Machine Comprehension of Text".
    """
    if split not in _SQUAD_FILES:
        raise unknown_name("split of SQuAD", split, _SQUAD_FILES)
    path = fetch("squad_v1") / _SQUAD_FILES[split]
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        _squad_question(entry, paragraph["context"], path)
        for article in articles
        for paragraph in article["paragraphs"]
        for entry in paragraph["qas"]
    ]


def _squad_question(entry: dict, passage: str, path: Path) -> ReadingQuestion:
    answers = tuple(answer["text"] for answer in entry["answers"])
    starts = [answer["answer_start"] for answer in entry["answers"]]
    spans = tuple((start, start + len(answer)) for start, answer in zip(starts, answers, strict=True))
    for answer, (start, end) in zip(answers, spans, strict=True):
        if passage[start:end] != answer:
            raise CourseError(
                f"{path}, question {entry['id']}: {answer!r} is not at character {start} of its passage."
            )
    return ReadingQuestion(entry["question"].strip(), passage, answers, spans)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
