"""BoolQ: yes/no questions that people typed into a search engine, each with a passage of Wikipedia."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from course_lib.data.fetch import fetch
from course_lib.data.records import YesNoQuestion
from course_lib.errors import unknown_name

_SPLITS = ("train", "dev")
_TITLE_END = " -- "
_RUN_LENGTH = 8


def load_boolq(split: str) -> list[YesNoQuestion]:
    """BoolQ's official splits; "train" (9,427 questions) or "dev" (3,270), in the order of the file.

    The file with the training questions also holds those of the other two splits: the development questions
    are taken out by their text, the unlabelled test questions by their missing label. There, a passage begins
    with the title of its article, in the development file it does not; here the two are apart in both.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched.

    Source: Clark et al. (2019), "BoolQ: Exploring the Surprising Difficulty of Natural Yes/No Questions".
    """
    if split not in _SPLITS:
        raise unknown_name("split of BoolQ", split, _SPLITS)
    folder = fetch("boolq")
    dev = [
        YesNoQuestion(row["question"], row["passage"], row["title"], int(row["answer"]))
        for row in _rows(folder / "dev.jsonl")
    ]
    if split == "dev":
        return dev
    dev_questions = {record.question for record in dev}
    train = []
    for row in _rows(folder / "combined.jsonl"):
        if "label" in row and row["question"] not in dev_questions:
            title, _, passage = row["passage"].partition(_TITLE_END)
            train.append(YesNoQuestion(row["question"], passage, title, int(row["label"])))
    return train


def passage_overlap(passages: Sequence[str], training_passages: Sequence[str]) -> np.ndarray:
    """How much of each passage training has seen: 1 for a copy, 0 if no eight words in a row are shared.

    Of all runs of eight words in a passage, the largest share that stands in one training passage, so that a
    paragraph that was cut elsewhere or edited since is found, too. Case and punctuation do not count; a
    passage of fewer words is one run.

    Returns:
        float64 (num_passages,).
    """
    holders = defaultdict(set)
    for index, passage in enumerate(training_passages):
        for run in _runs(passage):
            holders[run].add(index)
    shares = []
    for passage in passages:
        runs = _runs(passage)
        shared = Counter(index for run in runs for index in holders.get(run, ()))
        shares.append(max(shared.values(), default=0) / len(runs))
    return np.array(shares, dtype=np.float64)


def _rows(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _runs(text):
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[i : i + _RUN_LENGTH]) for i in range(max(len(words) - _RUN_LENGTH + 1, 1))}
