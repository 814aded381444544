"""What the pages share: models, limits, input, safe drawing, uploads and downloads.

The models are read from `app/models`, or from the folder that the environment variable COURSE_MODELS names.
"""

import csv
import gc
import html
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import onnxruntime
import streamlit as st

from course_lib.errors import CourseError, UsageError
from course_lib.serving.cards import model_files, read_card
from course_lib.serving.predictors import PREDICTORS
from course_lib.text.cleaning import remove_control_characters
from course_lib.text.spreadsheet import csv_bytes, neutral

TITLES = {
    "sentiment": "Sentiment",
    "entities": "Entities",
    "relations": "Relations",
    "question_answering": "Question answering",
    "summary": "Summarization",
    "translation": "Translation",
    "reviews": "Film reviews, for comparison",
}
MODELS = Path(os.environ.get("COURSE_MODELS") or Path(__file__).parent / "models")
MAX_CHARACTERS = 20_000
# Of what a visitor types, by the name of the field.
LIMITS = {"text": MAX_CHARACTERS, "passage": MAX_CHARACTERS, "question": 500}
MAX_LINK_CHARACTERS = 2_000
MAX_UPLOAD_BYTES = 5_000_000
MAX_ROWS = 20_000
_ROWS_AT_ONCE = 200
_ROWS_SHOWN = 500

_FIRST_TEXT = "The first text loads what the others share."


@st.cache_resource(show_spinner=False)
def _load(task: str, precision: str, models: Path) -> Any:
    predictor = PREDICTORS[task].load(models / task, precision)
    predictor.predict_batch([("What loads?", _FIRST_TEXT) if task == "question_answering" else _FIRST_TEXT])
    # Streamlit collects garbage after every run: what stays for good need not be looked through each time.
    gc.collect()
    gc.freeze()
    return predictor


def load_predictor(task: str, precision: str = "float32") -> Any:
    """The predictor, loaded once for all visitors; without a sound model the page ends with a sentence."""
    try:
        return _load(task, precision, MODELS)
    except CourseError as error:
        st.error(f"{plain(str(error))} Pages that do not need this model work.")
        st.stop()


def load_card(task: str) -> dict[str, Any]:
    """The model's card; without one the page ends with a sentence."""
    try:
        return read_card(MODELS / task)
    except CourseError as error:
        st.error(f"{plain(str(error))} Pages that do not need this model work.")
        st.stop()


def plain(text: str) -> str:
    """The text for Streamlit's Markdown, with nothing in it that Markdown would interpret."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|$:~&])", r"\\\1", remove_control_characters(text))


def visible(text: str, length: int) -> str:
    """At most so many characters of the text, without those that are invisible or turn the direction."""
    text = remove_control_characters(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def cell(text: str, length: int) -> str:
    """The text for a table, which can be downloaded: as `visible`, and no formula for a spreadsheet."""
    return neutral(visible(text, length))


def safe(text: str) -> str:
    """The text for HTML: escaped, without characters that are invisible or turn the reading direction."""
    return html.escape(remove_control_characters(text))


def draw_text(parts: Iterable[str]) -> None:
    """Draws HTML parts as one text that keeps its line breaks; the parts are escaped by `safe` already."""
    st.html(
        '<div style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.9;unicode-bidi:isolate">'
        + "".join(parts)
        + "</div>"
    )


def draw_bars(values: dict[str, float]) -> None:
    """A bar with its name and its percentage for each value between 0 and 1."""
    rows = "".join(
        f'<div style="display:grid;grid-template-columns:6.5rem 1fr '
        f'4rem;gap:.75rem;align-items:center;margin:.4rem 0">'
        f"<span>{safe(name)}</span>"
        f'<span style="background:rgba(128,128,128,.22);border-radius:4px;height:1.1rem">'
        f"<span "
        f'style="display:block;width:{value:.1%};background:#0072B2;border-radius:4px;height:1.1rem"></span></span>'
        f'<span style="text-align:right;font-variant-numeric:tabular-nums">{value:.1%}</span></div>'
        for name, value in values.items()
    )
    st.html(f'<div role="img" aria-label="probabilities of the classes">{rows}</div>')


def ask_for_text(page: str, examples: dict[str, str], height: int = 180) -> str | None:
    """Example chips, a text area, a button and a link on request; None until there is a text to read."""
    fields = _ask(page, {name: {"text": text} for name, text in examples.items()}, ["text"], height)
    return None if fields is None else fields["text"]


def ask_for_question(page: str, examples: dict[str, tuple[str, str]]) -> tuple[str, str] | None:
    """The same for a question and the passage that it is asked on."""
    names = ["question", "passage"]
    both = {name: dict(zip(names, pair, strict=True)) for name, pair in examples.items()}
    fields = _ask(page, both, names, 180)
    return None if fields is None else (fields["question"], fields["passage"])


def _ask(page, examples, names, height):
    """What a visitor typed or chose, by the names of the fields; None until all of them can be read."""
    keys = {name: f"{page}_{name}" for name in names}
    # Leaving the page drops what was typed, and then what was asked does not count any more.
    if keys[names[-1]] not in st.session_state:
        for name, key in keys.items():
            st.session_state[key] = st.query_params.get(name, "")[: min(LIMITS[name], MAX_LINK_CHARACTERS)]
        st.session_state[f"{page}_asked"] = any(st.session_state[key] for key in keys.values())

    def choose():
        if st.session_state[f"{page}_example"] is not None:
            for name, text in examples[st.session_state[f"{page}_example"]].items():
                st.session_state[keys[name]] = text
            st.session_state[f"{page}_asked"] = True

    st.pills("Try an example", list(examples), key=f"{page}_example", on_change=choose)
    fields = {}
    for name, key in keys.items():
        label, limit = f"Your {name}, up to {LIMITS[name]:,} characters", LIMITS[name]
        if name == "question":
            fields[name] = st.text_input(label, key=key, max_chars=limit)
        else:
            fields[name] = st.text_area(label, key=key, height=height, max_chars=limit)
    left, right = st.columns([1, 1])
    if left.button("Read it", type="primary", key=f"{page}_go", width="stretch"):
        st.session_state[f"{page}_asked"] = True
    if right.button("Make a link to this text", key=f"{page}_link", width="stretch"):
        _show_link(fields)
    return fields if st.session_state[f"{page}_asked"] and _can_be_read(fields) else None


def _can_be_read(fields):
    """Whether no field is empty or too long; otherwise the page says so."""
    for name, text in fields.items():
        if len(text) > LIMITS[name]:
            st.error(
                f"The {name} has {len(text):,} characters; at most {LIMITS[name]:,} are read. Shorten it."
            )
            return False
        if not remove_control_characters(text).strip():
            st.info(f"There is no {name} yet: type one, or choose an example.")
            return False
    return True


def _show_link(fields):
    length = sum(map(len, fields.values()))
    if not all(text.strip() for text in fields.values()):
        st.info(f"There is no {' and '.join(fields)} to link to.")
    elif length > MAX_LINK_CHARACTERS:
        st.info(f"A link holds at most {MAX_LINK_CHARACTERS:,} characters; this text has {length:,}.")
    else:
        address = (st.context.url or "").split("?")[0]
        st.code(f"{address}?{urlencode(fields)}", language=None, wrap_lines=True)
        st.caption("The link itself carries the text: whoever has it can read it.")


def show_facts(task: str, precision: str, latency_ms: float, facts: Sequence[str]) -> None:
    """One quiet line: how long it took, where, with which model, and what else is worth knowing."""
    card = load_card(task)
    version = card["files"][model_files(task, precision)[0]]["sha256"][:8]
    parts = [f"{latency_ms:.1f} ms", "CPU", f"model {version} of {card['date']}, {precision}", *facts]
    st.caption(plain(" · ".join(parts)))


def batch(page: str, answer: Callable[[list[str]], list[dict[str, Any]]]) -> None:
    """Upload of many texts, progress, table and download; `answer` gives one row for each text."""
    _batch(page, ["text"], lambda asked: answer([each["text"] for each in asked]))


def batch_of_questions(page: str, answer: Callable[[list[tuple[str, str]]], list[dict[str, Any]]]) -> None:
    """The same for pairs of question and passage."""
    columns = ["question", "passage"]
    _batch(page, columns, lambda asked: answer([(each["question"], each["passage"]) for each in asked]))


def _batch(page, columns, answer):
    with st.expander("Many texts at once" if columns == ["text"] else "Many questions at once"):
        st.write(_upload_rules(columns))
        kinds = ["csv", "txt"] if columns == ["text"] else ["csv"]
        file = st.file_uploader("File", type=kinds, key=f"{page}_file")
        if file is None:
            return
        try:
            asked = read_rows(file.name, file.getvalue(), columns)
        except UsageError as error:
            st.error(plain(str(error)))
            return
        progress, rows = st.progress(0.0, "Reading"), []
        for first in range(0, len(asked), _ROWS_AT_ONCE):
            rows += answer(asked[first : first + _ROWS_AT_ONCE])
            progress.progress(len(rows) / len(asked), f"{len(rows):,} of {len(asked):,} {columns[0]}s")
        progress.empty()
        # The table has a download of its own, so its cells are made harmless, too.
        shown = [
            {name: remove_control_characters(text)[:200] for name, text in each.items()} | row
            for each, row in zip(asked[:_ROWS_SHOWN], rows, strict=False)
        ]
        st.dataframe([{name: neutral(value) for name, value in row.items()} for row in shown])
        if len(rows) > _ROWS_SHOWN:
            st.caption(
                f"The table shows the first {_ROWS_SHOWN} {columns[0]}s; the file holds all {len(rows):,}."
            )
        st.download_button(
            "Download as CSV", write_rows(asked, rows), f"{page}.csv", "text/csv", key=f"{page}_download"
        )


def _upload_rules(columns):
    if columns == ["text"]:
        kinds = "A CSV file with a column named `text`, or a TXT file with one text on each line, in UTF-8"
    else:
        kinds = f"A CSV file with columns named `{'` and `'.join(columns)}`, in UTF-8"
    return f"{kinds}: at most 5 MB, {MAX_ROWS:,} {columns[0]}s and {MAX_CHARACTERS:,} characters in each."


def read_rows(name: str, content: bytes, columns: Sequence[str] = ("text",)) -> list[dict[str, str]]:
    """The texts of an uploaded file, by the names of the columns; all but CSV files hold one on each line.

    Raises:
        UsageError: too large, binary, not UTF-8, a column is missing, no texts, too many, or one too long.
    """
    if len(content) > MAX_UPLOAD_BYTES:
        raise UsageError(f"The file has {len(content) / 1e6:.1f} MB; at most 5 MB are read. Split it.")
    if b"\0" in content:
        raise UsageError("The file is binary: save it as plain text in UTF-8, not as a spreadsheet.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"Byte {error.start:,} of the file is not UTF-8: save the file in UTF-8.") from None
    if name.lower().endswith(".csv") or len(columns) > 1:
        rows = _read_csv(text, columns)
    else:
        rows = [{columns[0]: line} for line in text.splitlines() if line.strip()]
    if not rows:
        raise UsageError(f"The file holds no {columns[0]}s.")
    if len(rows) > MAX_ROWS:
        raise UsageError(
            f"The file holds {len(rows):,} {columns[0]}s; at most {MAX_ROWS:,} are read. Split it."
        )
    for number, row in enumerate(rows, start=1):
        for column, each in row.items():
            if len(each) > MAX_CHARACTERS:
                raise UsageError(
                    f"{column.capitalize()} {number:,} has {len(each):,} characters; "
                    f"at most {MAX_CHARACTERS:,} are read."
                )
    return rows


def _read_csv(text, columns):
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        for column in columns:
            if column not in (rows.fieldnames or []):
                found = ", ".join(rows.fieldnames or [])[:100] or "none"
                raise UsageError(f"The CSV file has no column named {column}; its columns are: {found}.")
        return [{column: row[column] or "" for column in columns} for row in rows]
    except csv.Error as error:
        raise UsageError(f"The file is not valid CSV ({error}): save it as CSV with commas.") from None


def write_rows(asked: Sequence[dict[str, str]], rows: Sequence[dict[str, Any]]) -> bytes:
    """A CSV file of texts and answers in which no cell is a formula to a spreadsheet."""
    return csv_bytes([each | row for each, row in zip(asked, rows, strict=True)])


def runtime() -> str:
    """The library that runs the models, with its version."""
    return f"ONNX Runtime {onnxruntime.__version__}"
