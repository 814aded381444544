"""Translations from English into Spanish, and what was read for each subword that was written."""

import streamlit as st
from shared import ask_for_text, batch, cell, draw_text, load_predictor, plain, safe, show_facts, visible

EXAMPLES = {
    "Everyday": "Where is the train station? I would like to drink a glass of water.",
    "Another order": "My sister bought a small red car.",
    "A long sentence": "When I was a child, my father used to read me a story every night before I went to "
    "bed.",
    "News, where it fails": "The European Commission fined two steel makers on Tuesday for agreeing on their "
    "prices.",
}
SEARCHES = {"Greedy": 1, "Beam of 4": 4}
_MOST_SUBWORDS = 60


def heat_map(translation):
    """The attention as a table: a row for each subword written, a column for each subword read."""
    columns = translation.source_tokens[:_MOST_SUBWORDS]
    rows = translation.target_tokens[:_MOST_SUBWORDS]
    upright = "writing-mode:vertical-rl;transform:rotate(180deg);padding:.3rem .1rem;font-weight:400"
    head = "".join(f'<th scope="col" style="{upright}">{safe(visible(token, 20))}</th>' for token in columns)
    lines = [f"<tr><td></td>{head}</tr>"]
    for token, weights in zip(rows, translation.attention.tolist(), strict=False):
        cells = "".join(
            f'<td title="{weight:.2f}" style="min-width:1.4rem;height:1.4rem;'
            f'border:1px solid rgba(128,128,128,.25);background:rgba(20,140,210,{weight:.2f})"></td>'
            for weight in weights[:_MOST_SUBWORDS]
        )
        name = safe(visible(token, 20))
        right = "text-align:right;padding-right:.4rem;font-weight:400"
        lines.append(f'<tr><th scope="row" style="{right}">{name}</th>{cells}</tr>')
    return (
        '<div style="overflow-x:auto" tabindex="0" role="region" aria-label="attention">'
        f'<table style="border-collapse:collapse;font-size:.85rem">{"".join(lines)}</table></div>'
    )


def problems(answer):
    """Why the text, or a sentence of it, has no translation; each reason once."""
    found = [sentence.translation.problem for sentence in answer.sentences]
    return list(dict.fromkeys([answer.message, *found] if answer.message else filter(None, found)))


st.title("Translation")
predictor = load_predictor("translation")
st.write(
    "The model has read short everyday sentences and translates from English into Spanish, one sentence at a "
    "time. What is unlike them, it translates badly."
)
text = ask_for_text("translation", EXAMPLES)
search = st.segmented_control("Search", list(SEARCHES), default="Beam of 4") or "Beam of 4"
if text is not None:
    answer = predictor.predict(text, SEARCHES[search])
    if answer.text:
        st.subheader("Translation")
        draw_text([safe(answer.text)])
    for problem in problems(answer):
        st.info(plain(problem))
    translated = [sentence for sentence in answer.sentences if sentence.translation.text]
    num_read, num_written = (
        sum(len(getattr(sentence.translation, f"{side}_tokens")) for sentence in translated)
        for side in ("source", "target")
    )
    show_facts(
        "translation",
        "float32",
        answer.latency_ms,
        [search.lower(), f"{num_read:,} subwords read", f"{num_written:,} written"],
    )
    if translated:
        st.subheader("Sentence by sentence")
        st.dataframe(
            [
                {
                    "doubt": round(
                        -sentence.translation.log_probability / len(sentence.translation.target_tokens), 2
                    ),
                    "sentence": cell(text[sentence.start : sentence.end], 200),
                    "translation": cell(sentence.translation.text, 200),
                }
                for sentence in translated
            ],
            hide_index=True,
        )
        st.caption(
            "Doubt: minus the logarithm of the probability, for each subword written; near 0 is sure, and "
            "being sure is not being right."
        )
        if st.toggle("Show what was read for each subword"):
            chosen = st.selectbox(
                "Sentence",
                range(len(translated)),
                format_func=lambda index: visible(text[translated[index].start : translated[index].end], 80),
            )
            st.html(heat_map(translated[chosen].translation))
            st.caption(
                "Each row is a subword that was written, each column one that was read: the stronger the "
                "colour, the more attention. ▁ marks the start of a word; at most "
                f"{_MOST_SUBWORDS} of either are shown."
            )


def rows(texts):
    answers = predictor.predict_batch(texts, SEARCHES[search])
    return [{"translation": each.text, "message": " ".join(problems(each))} for each in answers]


batch("translation", rows)
