"""What this is, which models there are, and which notebook made them."""

import streamlit as st
from shared import MODELS, TITLES, plain

from course_lib.errors import CourseError
from course_lib.serving.cards import read_card

PAGES = {
    "sentiment": (
        "views/sentiment.py",
        "Negative, neutral or positive? Every word's part in the answer is shown.",
    ),
    "entities": ("views/entities.py", "Persons, places, organizations and other names, marked in your text."),
    "relations": ("views/relations.py", "Who does what to whom: two names and the words that relate them."),
    "question_answering": (
        "views/question_answering.py",
        "The words of a passage that answer your question, or that there are none.",
    ),
    "summary": ("views/summarization.py", "The sentences that speak for the whole text."),
    "translation": (
        "views/translation.py",
        "From English into Spanish, with what the model read for each piece that it wrote.",
    ),
    "reviews": (
        "views/compare.py",
        "Learned from film reviews alone and knows no neutral. The page Compare sets it beside the first.",
    ),
}

st.title("Large NLP models from scratch")
st.write(
    "Small models, trained by the notebooks of this course on two processor cores. At the heart of most is a "
    "bidirectional LSTM encoder; the largest takes 17 megabytes, most take two to four, and each answers in "
    "milliseconds."
)
for task, (page, text) in PAGES.items():
    with st.container(border=True):
        st.page_link(page, label=f"**{TITLES[task]}**")
        st.write(text)
        try:
            card = read_card(MODELS / task)
        except CourseError as error:
            st.warning(plain(str(error)))
            continue
        metric = card["metric"]
        st.caption(
            plain(
                f"Made by notebook {card['notebook'][:2]} · {metric['name']} "
                f"{metric['float32']['value']:.1%} · "
                f"{sum(file['size'] for file in card['files'].values()) / 1e6:.1f} MB"
            )
        )
st.write(
    "What you type stays in this session: it is neither stored nor logged. The models learned from rated "
    "sentences, film reviews, news of 1996, questions on Wikipedia and on stories, BBC articles and "
    "translated everyday sentences; on other kinds of text they are wrong more often. The page of each model "
    "has an example where it fails."
)
