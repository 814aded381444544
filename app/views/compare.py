"""Models side by side on one text: 32 and 8 bits, and for sentiment also another model and a lexicon."""

import time

import numpy as np
import streamlit as st
from shared import ask_for_text, load_card, load_predictor, plain

from course_lib.serving.cards import PRECISIONS, model_files
from course_lib.serving.lexicon import LEXICON, LexiconPredictor

EXAMPLES = {
    "A review": "I expected little and got a clever, generous film with one dull half hour in the middle.",
    "News": "IBM opened a laboratory in Zurich, and Gerd Binnig of Germany was among its first researchers.",
    "An article": "The old railway bridge will close for eighteen months. Engineers had found cracks in two "
    "of its pillars. Repairs will cost about four million pounds. A ferry will run every twenty minutes.",
}
TASKS = {
    "Sentiment": "sentiment",
    "Entities": "entities",
    "Summarization": "summary",
    "Translation": "translation",
}
NAMES = {task: name for name, task in TASKS.items()} | {"reviews": "Film reviews"}
_REPETITIONS, _SECONDS = 20, 5


def describe(task, answer):
    if task in ("sentiment", "reviews"):
        return f"{answer.label} {max(answer.probabilities.values()):.3f}" if answer.label else "no words"
    if task == "entities":
        found = [f"{entity.text} ({entity.type}, {entity.probability:.3f})" for entity in answer.entities]
        return "; ".join(found) or "none"
    if task == "translation":
        return answer.text or answer.message
    return " ".join(sentence.text for sentence in answer.sentences)


def read(predictor):
    """The answer, and the median time in milliseconds."""
    began, answers = time.perf_counter(), []
    while len(answers) < _REPETITIONS and time.perf_counter() - began < _SECONDS:
        answers.append(predictor.predict(text))
    return answers[0], round(float(np.median([answer.latency_ms for answer in answers])), 2)


def row(model, weights, answer, milliseconds, num_bytes, metric_name, metric):
    return {
        "model": model,
        "weights": weights,
        "median ms": milliseconds,
        "size, kB": round(num_bytes / 1000),
        metric_name: f"{metric['value']:.2%}" if metric else "not measured",
        "answer": answer,
    }


def model_row(task, precision):
    card = load_card(task)
    answer, milliseconds = read(load_predictor(task, precision))
    size = sum(card["files"][file]["size"] for file in model_files(task, precision))
    metric = card["metric"]
    described, name = describe(task, answer), metric["name"]
    return row(NAMES[task], precision, described, milliseconds, size, name, metric[precision])


def lexicon_row():
    answer, milliseconds = read(LexiconPredictor())
    described, size = f"{answer.label} {answer.score:+.3f}", LEXICON.stat().st_size
    baseline = load_card("sentiment").get("baseline")
    return row(LexiconPredictor.name, "none", described, milliseconds, size, "accuracy", baseline)


st.title("Compare")
st.write(
    "One model, its network stored in 32 or in 8 bits (word vectors have 8 bits in both). Fewer bits make it "
    "smaller; do they change the answer? For sentiment another model and a lexicon answer, too."
)
task = TASKS[st.segmented_control("Model", list(TASKS), default="Sentiment") or "Sentiment"]
text = ask_for_text("compare", EXAMPLES)
if text is not None:
    rows = [model_row(task, precision) for precision in PRECISIONS]
    metric = load_card(task)["metric"]
    notes = [
        f"Times: median of {_REPETITIONS} readings, or of what {_SECONDS} seconds hold.",
        "Sizes: networks without their word vectors.",
        f"{metric['name'][0].upper()}{metric['name'][1:]}: {metric['split']}.",
    ]
    if task == "sentiment":
        rows += [model_row("reviews", "float32"), lexicon_row()]
        notes += [
            "The model for film reviews knows no neutral; its accuracy is that on "
            f"{load_card('reviews')['metric']['split']}, another test.",
            "The lexicon's number is no probability but VADER's score from -1 to 1, neutral within ±0.05.",
        ]
    st.dataframe(rows, hide_index=True)
    st.caption(plain(" ".join(notes)))
