"""The models' cards."""

import streamlit as st
from shared import MODELS, TITLES, plain, runtime

from course_lib.errors import CourseError
from course_lib.serving.cards import read_card

st.title("About")
st.write(
    "The models were trained by the course's notebooks and exported for a small runtime; this demo needs "
    "no TensorFlow. "
    "Texts are read by the machine that runs it and forgotten; a link to a text holds it in its address."
)
st.caption(plain(runtime()))
for task, title in TITLES.items():
    st.subheader(title)
    try:
        card = read_card(MODELS / task)
    except CourseError as error:
        st.error(plain(str(error)))
        continue
    metric, latency = card["metric"], card["latency"]
    low, high = metric["float32"]["low"], metric["float32"]["high"]
    interval = f" (95 % interval {low:.1%} to {high:.1%})" if low is not None else ""
    facts = {
        "Notebook": card["notebook"],
        "Made on": f"{card['date']}, profile {card['profile']}, seed {card['seed']}",
        metric["name"][0].upper() + metric["name"][1:]: f"{metric['float32']['value']:.1%}{interval}, "
        f"{metric['split']}",
        "Change in 8 bits": f"{100 * card['change']['int8']:+.2f} points",
        "Latency": f"{latency['text']}: median {latency['float32']['p50_ms']} ms, 99 % within "
        f"{latency['float32']['p99_ms']} ms "
        f"({latency['device']})",
        "Size, 32 and 8 bits": f"{sum(file['size'] for file in card['files'].values()) / 1e6:.1f} MB",
        "Data": f"{card['data']['name']} ({card['data']['version']})",
        "Licence": card["licence"],
        "Command": card["command"],
    }
    st.markdown("\n".join(f"- **{plain(name)}:** {plain(value)}" for name, value in facts.items()))
    with st.expander("Whole card"):
        st.json(card, expanded=False)
st.subheader("Lexicon, for comparison")
st.write(
    "VADER's 7,503 rated words and its rules (Hutto and Gilbert 2014, MIT licence) are run by NLTK; nothing "
    "in them is trained."
)
