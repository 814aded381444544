"""Summaries: the chosen sentences, marked in the source."""

import streamlit as st
from shared import ask_for_text, batch, cell, draw_text, load_predictor, safe, show_facts

EXAMPLES = {
    "A council's plan": (
        "The old railway bridge over the river will close for eighteen months. The council decided so on "
        "Monday evening "
        "after a debate of three hours. Engineers had found cracks in two of its five pillars during an "
        "inspection last "
        "autumn. Repairs will cost about four million pounds, most of which the government will pay. Shop "
        "owners on the "
        'north bank fear for their trade. "We live from people who walk across," said one baker. A ferry '
        "will run every "
        "twenty minutes until the work is done. The council will look at the timetable again in spring."
    ),
    "A discovery": (
        "A family that was digging a pond in its garden has found more than two hundred silver coins. The "
        "coins were struck "
        "about nine hundred years ago, a museum said on Friday. They lay in a clay pot, only half a metre "
        "below the grass. "
        "The father first took them for bottle tops. Experts believe that a merchant hid the money during "
        "a war and never "
        "came back. The museum hopes to buy the hoard and show it next summer. The pond will be dug "
        "somewhere else."
    ),
    "A story, where it fails": (
        "Nobody saw the dog arrive. It sat in front of the bakery one morning and would not leave. "
        "Children gave it names, "
        "a different one each day. In winter the baker let it sleep beside the oven. When the bakery "
        "closed for good, the "
        "dog walked to the school and sat down there. It had only ever waited for the children."
    ),
}

st.title("Summarization")
st.write(
    "The model scores each sentence and chooses those that speak for the text. It writes nothing of its own."
)
predictor = load_predictor("summary")
text = ask_for_text("summary", EXAMPLES, height=260)
num_sentences = st.slider("Sentences", 1, 6, 2)
if text is not None:
    answer = predictor.predict(text, num_sentences)
    chosen = {sentence.index for sentence in answer.sentences}
    st.subheader("Summary")
    draw_text([safe(" ".join(sentence.text for sentence in answer.sentences))])
    show_facts(
        "summary",
        "float32",
        answer.latency_ms,
        [f"{len(chosen)} of {len(answer.all_sentences)} sentences", f"{len(text.split()):,} words"],
    )
    st.subheader("In the text")
    parts, end = [], 0
    for sentence in answer.all_sentences:
        parts.append(safe(text[end : sentence.start]))
        if sentence.index in chosen:
            parts.append(
                '<span style="background:rgba(0,114,178,.2);border-bottom:2px solid rgb(0,114,178)">'
                f"<small><b>{sentence.index + 1}</b></small> {safe(sentence.text)}</span>"
            )
        else:
            parts.append(safe(sentence.text))
        end = sentence.end
    draw_text([*parts, safe(text[end:])])
    st.subheader("Why")
    st.write("The higher the score, the more a sentence speaks for the text.")
    st.dataframe(
        [
            {
                "place": sentence.index + 1,
                "score": round(sentence.score, 3),
                "chosen": "yes" if sentence.index in chosen else "",
                "sentence": cell(sentence.text, 500),
            }
            for sentence in answer.all_sentences
        ],
        hide_index=True,
    )


def rows(texts):
    answers = predictor.predict_batch(texts, num_sentences)
    return [{"summary": " ".join(sentence.text for sentence in answer.sentences)} for answer in answers]


batch("summary", rows)
