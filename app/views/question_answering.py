"""Answers to questions, marked in the passage that they were asked on."""

import math

import streamlit as st
from shared import (
    ask_for_question,
    batch_of_questions,
    draw_text,
    load_card,
    load_predictor,
    plain,
    safe,
    show_facts,
)

BRIDGE = (
    "The old bridge over the Lenn was built by a stonemason named Clara Voss. She began in the spring of "
    "1874 and needed three years, because the river carried away her first two arches. The bridge was opened "
    "on 6 May 1877. Since the new road was finished, only cyclists use it."
)
PAINTER = (
    "Maria Lind was born in Bergen in 1912. Her father was a ship's carpenter, and she learned to draw on "
    "his plans. In 1935 she moved to Lisbon, where she painted the harbour for eleven years. Her best known "
    "picture, The Grey Ferry, hangs in the town hall of Bergen."
)
STORY = (
    "Tom, a young sailor, finds a map in his grandfather's clock. He shows it to his friend Ada, who can "
    "read the old language in which it is written. Together they sail to the island, but the captain, Mr. "
    "Crane, has followed them. Ada hides the treasure in a well, and Crane goes home with an empty chest."
)
EXAMPLES = {
    "A plain fact": ("Where was Maria Lind born?", PAINTER),
    "Who": ("Who built the old bridge?", BRIDGE),
    "When": ("When was the bridge opened?", BRIDGE),
    "A story": ("Where does Ada hide the treasure?", STORY),
    "What the passage does not tell": ("Did they get married?", STORY),
    "Counting, where it fails": ("How old was Maria Lind when she moved to Lisbon?", PAINTER),
}
# Log-odds that an answer must exceed; None is the model's own limit.
OWN = "the model's own"
LIMITS = {OWN: None, "even odds": 0.0, "none": -math.inf}
MARK = (
    "background:rgba(0,158,115,.22);border:1.5px solid rgb(0,158,115);border-radius:4px;color:inherit;"
    "padding:.1rem .3rem;box-decoration-break:clone;-webkit-box-decoration-break:clone"
)


def odds(log_odds):
    """The odds against no answer, in words."""
    ratio = math.exp(min(log_odds, 10))
    if ratio > 1_000:
        return "more than 1,000 times as probable"
    if ratio < 0.01:
        return "less than a hundredth as probable"
    if 0.95 < ratio < 1.05:
        return "as probable"
    return f"{ratio:,.0f} times as probable" if ratio >= 10 else f"{ratio:.2g} times as probable"


def doubt(answer, limit):
    """What the log-odds say, in one sentence."""
    words = "the marked words are" if answer.text else "the best words of the passage are"
    said = f"To the model, {words} {odds(answer.log_odds)} as no answer"
    if limit == -math.inf:
        return f"{said}."
    if limit < math.log(0.01):
        return f"{said}; its limit is so low that it nearly always answers."
    if limit < 0:
        return f"{said}; it answers unless no answer is more than {math.exp(-limit):.2g} times as probable."
    return f"{said}; it answers only what is more probable than no answer."


def log_odds_fact(answer, limit):
    """The same in numbers; nothing if nothing was read."""
    if not math.isfinite(answer.log_odds):
        return []
    above = "" if limit == -math.inf else f", answers above {limit:+.1f}"
    return [f"log-odds {answer.log_odds:+.1f}{above}"]


st.title("Question answering")
predictor = load_predictor("question_answering")
st.write(
    "The model points at the words of a passage that answer a question; it writes nothing, and it knows "
    "nothing but the passage. Expect mistakes: on questions that new passages do answer, and without a "
    "limit, its token F1, which counts the words shared with people's answers, is "
    f"{load_card('question_answering')['metric']['float32']['value']:.0%}, and it may point at something "
    "where the passage does not tell."
)
asked = ask_for_question("question_answering", EXAMPLES)
chosen = st.segmented_control("Limit for an answer", list(LIMITS), default=OWN) or OWN
limit = predictor.threshold if chosen == OWN else LIMITS[chosen]
if asked is not None:
    question, passage = asked
    answer = predictor.predict(question, passage, limit)
    if answer.text:
        st.subheader("Answer")
        draw_text([safe(answer.text)])
        st.write(doubt(answer, limit))
        st.subheader("In the passage")
        before, after = passage[: answer.start], passage[answer.end :]
        draw_text([safe(before), f'<mark style="{MARK}">{safe(answer.text)}</mark>', safe(after)])
    elif math.isfinite(answer.log_odds):
        st.subheader("Not in the passage")
        st.write(f"{answer.message} {doubt(answer, limit)}")
    else:
        st.info(plain(answer.message))
    show_facts(
        "question_answering",
        "float32",
        answer.latency_ms,
        [
            *log_odds_fact(answer, limit),
            f"{answer.num_tokens:,} tokens",
            f"{answer.unknown_share:.0%} unknown",
            f"read in {answer.num_windows:,} {'part' if answer.num_windows == 1 else 'parts'}",
        ],
    )


def rows(pairs):
    return [
        {
            "answer": answer.text,
            "log-odds": round(answer.log_odds, 2) if math.isfinite(answer.log_odds) else None,
            "message": answer.message,
        }
        for answer in predictor.predict_batch(pairs, limit)
    ]


batch_of_questions("question_answering", rows)
