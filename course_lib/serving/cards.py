"""A published model on disk: its files, and the card that says what they are."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError, unknown_name
from course_lib.text.storage import string_list

CARD, CARD_FORMAT = "card.json", "course_lib.model/1"
PRECISIONS = ("float32", "int8")
GRAPHS = {"float32": "model.onnx", "int8": "model.int8.onnx"}
ENCODER, WORDS, TRANSITIONS = "encoder.json", "words.npz", "transitions.json"
READING = "reading.json"
RELATIONS = "relations.json"
TRANSLATION_GRAPHS = {
    "float32": ("encoder.onnx", "decoder.onnx"),
    "int8": ("encoder.int8.onnx", "decoder.int8.onnx"),
}
SOURCE_SUBWORDS, TARGET_SUBWORDS = "source_subwords.json", "target_subwords.json"
SOURCE_WORDS, TARGET_WORDS = "source_words.npz", "target_words.npz"

# The files that hold the model, of the tasks that have no single network. The two precisions of relations
# are those of the entities, which stand in a folder of their own.
_MODEL_FILES = {
    "relations": dict.fromkeys(PRECISIONS, (RELATIONS,)),
    "translation": TRANSLATION_GRAPHS,
}
# What a folder holds beside them.
_COMPANIONS: dict[str, set[str]] = {
    "question_answering": {ENCODER, READING},
    "relations": set(),
    "translation": {SOURCE_SUBWORDS, TARGET_SUBWORDS, SOURCE_WORDS, TARGET_WORDS},
}


def model_files(task: str, precision: str) -> tuple[str, ...]:
    """The files that hold a task's model in one precision."""
    return _MODEL_FILES.get(task, {name: (file,) for name, file in GRAPHS.items()})[precision]


def read_card(folder: str | Path) -> dict[str, Any]:
    """The card of a published model.

    Raises:
        CourseError: there is none, or it is damaged.
    """
    path = Path(folder) / CARD
    way_out = f"make it with: course publish {path.parent.name}"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        task = card["task"]
        required = {file for precision in PRECISIONS for file in model_files(task, precision)}
        required |= _COMPANIONS.get(task, {ENCODER})
        if card["format"] != CARD_FORMAT or set(card["files"]) - {WORDS, TRANSITIONS} != required:
            raise ValueError("another format, or other files")
        string_list(card["labels"], "labels")
        string_list([card["command"], *(facts["sha256"] for facts in card["files"].values())], "checksums")
    except FileNotFoundError:
        raise CourseError(f"There is no model in {path.parent}: {way_out}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CourseError(f"The model card {path} is damaged ({error}): {way_out}") from error
    return card


def read_model(
    folder: str | Path, precision: str, tasks: Sequence[str]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The card, and the content of every file by its name, each compared with the card.

    Args:
        folder: as `course publish` wrote it.
        precision: "float32" or "int8".
        tasks: those that are wanted.

    Raises:
        UsageError: an unknown precision.
        CourseError: a file is missing, is not the one that the card describes, or serves another task.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    folder, card = Path(folder), read_card(folder)
    if card["task"] not in tasks:
        raise CourseError(
            f"{folder} holds a model for the task {card['task']}, not for {' or '.join(tasks)}: "
            "load it with the predictor of its task."
        )
    contents = {}
    for name, facts in card["files"].items():
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError:
            raise CourseError(f"{folder / name} is missing: make it with: {card['command']}") from None
        if hashlib.sha256(contents[name]).hexdigest() != facts["sha256"]:
            raise CourseError(
                f"{folder / name} is not the file that its card describes: make it with: {card['command']}"
            )
    return card, contents
