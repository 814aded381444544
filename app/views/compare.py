"""The same model in 32 and in 8 bits, side by side on one text."""

import numpy as np
import streamlit as st
from shared import ask_for_text, load_card, load_predictor, plain

from course_lib.serving.predictors import GRAPHS

EXAMPLES = {
    "A review": "I expected little and got a clever, generous film with one dull half hour in the middle.",
    "News": "IBM opened a laboratory in Zurich, and Gerd Binnig of Germany was among its first researchers.",
}
TASKS = {"Sentiment": "sentiment", "Entities": "entities", "Summarization": "summary"}
_REPETITIONS = 20


def describe(task, answer):
    if task == "sentiment":
        return f"{answer.label} {max(answer.probabilities.values()):.3f}" if answer.label else "no words"
    if task == "entities":
        found = [f"{entity.text} ({entity.type}, {entity.probability:.3f})" for entity in answer.entities]
        return "; ".join(found) or "none"
    return " ".join(sentence.text for sentence in answer.sentences)


st.title("Compare")
st.write(
    "One model, its weights stored in 32 or in 8 bits. Fewer bits make it smaller; do they change the answer?"
)
task = TASKS[st.segmented_control("Model", list(TASKS), default="Sentiment") or "Sentiment"]
text = ask_for_text("compare", EXAMPLES)
if text is not None:
    card, rows = load_card(task), []
    for precision, graph in GRAPHS.items():
        predictor = load_predictor(task, precision)
        answers = [predictor.predict(text) for _ in range(_REPETITIONS)]
        metric = card["metric"][precision]
        rows.append(
            {
                "weights": precision,
                "answer": describe(task, answers[0]),
                "median ms": round(float(np.median([answer.latency_ms for answer in answers])), 2),
                "network, kB": round(card["files"][graph]["size"] / 1000),
                card["metric"]["name"]: f"{metric['value']:.2%}" if metric else "not measured",
            }
        )
    st.dataframe(rows, hide_index=True)
    st.caption(
        plain(
            f"Times: median of {_REPETITIONS} readings. {card['metric']['name']}: {card['metric']['split']}."
        )
    )
