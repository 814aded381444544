"""What the pages share: models, limits, input, safe drawing, uploads and downloads.

The models are read from `app/models`, or from the folder that the environment variable COURSE_MODELS names.
"""

import csv
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
from course_lib.text.spreadsheet import csv_bytes, neutral

TITLES = {
    "sentiment": "Sentiment",
    "entities": "Entities",
    "relations": "Relations",
    "summary": "Summarization",
    "translation": "Translation",
    "reviews": "Film reviews, for comparison",
}
MODELS = Path(os.environ.get("COURSE_MODELS") or Path(__file__).parent / "models")
MAX_CHARACTERS = 20_000
MAX_LINK_CHARACTERS = 2_000
MAX_UPLOAD_BYTES = 5_000_000
MAX_ROWS = 20_000
_ROWS_AT_ONCE = 200
_ROWS_SHOWN = 500

# Characters that change the direction of what follows them, or that nobody sees.
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f]")


@st.cache_resource(show_spinner=False)
def _load(task: str, precision: str, models: Path) -> Any:
    predictor = PREDICTORS[task].load(models / task, precision)
    predictor.predict("The first text loads what the others share.")
    return predictor


def load_predictor(task: str, precision: str = "float32") -> Any:
    """The predictor, loaded once for all visitors; without a sound model the page ends with a sentence."""
    try:
        return _load(task, precision, MODELS)
    except CourseError as error:
        st.error(f"{plain(str(error))} The other pages work.")
        st.stop()


def load_card(task: str) -> dict[str, Any]:
    """The model's card; without one the page ends with a sentence."""
    try:
        return read_card(MODELS / task)
    except CourseError as error:
        st.error(f"{plain(str(error))} The other pages work.")
        st.stop()


def plain(text: str) -> str:
    """The text for Streamlit's Markdown, with nothing in it that Markdown would interpret."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|$:~&])", r"\\\1", _INVISIBLE.sub("", text))


def visible(text: str, length: int) -> str:
    """At most so many characters of the text, without those that are invisible or turn the direction."""
    text = _INVISIBLE.sub("", text)
    return text if len(text) <= length else text[: length - 1] + "…"


def safe(text: str) -> str:
    """The text for HTML: escaped, without characters that are invisible or turn the reading direction."""
    return html.escape(_INVISIBLE.sub("", text))


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
    key = f"{page}_text"
    if key not in st.session_state:
        st.session_state[key] = st.query_params.get("text", "")[:MAX_LINK_CHARACTERS]
        st.session_state[f"{page}_asked"] = bool(st.session_state[key])

    def choose():
        if st.session_state[f"{page}_example"] is not None:
            st.session_state[key] = examples[st.session_state[f"{page}_example"]]
            st.session_state[f"{page}_asked"] = True

    st.pills("Try an example", list(examples), key=f"{page}_example", on_change=choose)
    text = st.text_area(
        f"Your text, up to {MAX_CHARACTERS:,} characters", key=key, height=height, max_chars=MAX_CHARACTERS
    )
    left, right = st.columns([1, 1])
    if left.button("Read it", type="primary", key=f"{page}_go", width="stretch"):
        st.session_state[f"{page}_asked"] = True
    if right.button("Make a link to this text", key=f"{page}_link", width="stretch"):
        _show_link(text)
    if not st.session_state[f"{page}_asked"]:
        return None
    if len(text) > MAX_CHARACTERS:
        st.error(f"The text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read. Shorten it.")
        return None
    if not _INVISIBLE.sub("", text).strip():
        st.info("There is no text yet: type one, or choose an example.")
        return None
    return text


def _show_link(text):
    if not text.strip():
        st.info("There is no text to link to.")
    elif len(text) > MAX_LINK_CHARACTERS:
        st.info(f"A link holds at most {MAX_LINK_CHARACTERS:,} characters; this text has {len(text):,}.")
    else:
        address = (st.context.url or "").split("?")[0]
        st.code(f"{address}?{urlencode({'text': text})}", language=None, wrap_lines=True)
        st.caption("The link itself carries the text: whoever has it can read it.")


def show_facts(task: str, precision: str, latency_ms: float, facts: Sequence[str]) -> None:
    """One quiet line: how long it took, where, with which model, and what else is worth knowing."""
    card = load_card(task)
    version = card["files"][model_files(task, precision)[0]]["sha256"][:8]
    parts = [f"{latency_ms:.1f} ms", "CPU", f"model {version} of {card['date']}, {precision}", *facts]
    st.caption(plain(" · ".join(parts)))


def batch(page: str, answer: Callable[[list[str]], list[dict[str, Any]]]) -> None:
    """Upload of many texts, progress, table and download; `answer` gives one row for each text."""
    with st.expander("Many texts at once"):
        st.write(
            "A CSV file with a column named `text`, or a TXT file with one text on each line, in UTF-8: at "
            "most "
            f"5 MB, {MAX_ROWS:,} texts and {MAX_CHARACTERS:,} characters in each."
        )
        file = st.file_uploader("File", type=["csv", "txt"], key=f"{page}_file")
        if file is None:
            return
        try:
            texts = read_texts(file.name, file.getvalue())
        except UsageError as error:
            st.error(plain(str(error)))
            return
        progress, rows = st.progress(0.0, "Reading"), []
        for first in range(0, len(texts), _ROWS_AT_ONCE):
            rows += answer(texts[first : first + _ROWS_AT_ONCE])
            progress.progress(len(rows) / len(texts), f"{len(rows):,} of {len(texts):,} texts")
        progress.empty()
        # The table has a download of its own, so its cells are made harmless, too.
        shown = [
            {"text": _INVISIBLE.sub("", text)[:200], **row} for text, row in zip(texts, rows, strict=True)
        ]
        st.dataframe([{name: neutral(value) for name, value in row.items()} for row in shown[:_ROWS_SHOWN]])
        if len(rows) > _ROWS_SHOWN:
            st.caption(f"The table shows the first {_ROWS_SHOWN} texts; the file holds all {len(rows):,}.")
        st.download_button(
            "Download as CSV", write_rows(texts, rows), f"{page}.csv", "text/csv", key=f"{page}_download"
        )


def read_texts(name: str, content: bytes) -> list[str]:
    """The texts of an uploaded file.

    Raises:
        UsageError: too large, binary, not UTF-8, no column `text`, no texts, too many, or one too long.
    """
    if len(content) > MAX_UPLOAD_BYTES:
        raise UsageError(f"The file has {len(content) / 1e6:.1f} MB; at most 5 MB are read. Split it.")
    if b"\0" in content:
        raise UsageError("The file is binary: save it as plain text in UTF-8, not as a spreadsheet.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"Byte {error.start:,} of the file is not UTF-8: save the file in UTF-8.") from None
    if name.lower().endswith(".csv"):
        texts = _read_csv(text)
    else:
        texts = [line for line in text.splitlines() if line.strip()]
    if not texts:
        raise UsageError("The file holds no texts.")
    if len(texts) > MAX_ROWS:
        raise UsageError(f"The file holds {len(texts):,} texts; at most {MAX_ROWS:,} are read. Split it.")
    for number, each in enumerate(texts, start=1):
        if len(each) > MAX_CHARACTERS:
            raise UsageError(
                f"Text {number:,} has {len(each):,} characters; at most {MAX_CHARACTERS:,} are read."
            )
    return texts


def _read_csv(text):
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if "text" not in (rows.fieldnames or []):
            found = ", ".join(rows.fieldnames or [])[:100] or "none"
            raise UsageError(f"The CSV file has no column named text; its columns are: {found}.")
        return [row["text"] or "" for row in rows]
    except csv.Error as error:
        raise UsageError(f"The file is not valid CSV ({error}): save it as CSV with commas.") from None


def write_rows(texts: Sequence[str], rows: Sequence[dict[str, Any]]) -> bytes:
    """A CSV file of texts and answers in which no cell is a formula to a spreadsheet."""
    return csv_bytes([{"text": text, **row} for text, row in zip(texts, rows, strict=True)])


def runtime() -> str:
    """The library that runs the models, with its version."""
    return f"ONNX Runtime {onnxruntime.__version__}"
