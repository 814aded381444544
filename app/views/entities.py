"""Named entities, marked in the text."""

import streamlit as st
from shared import ask_for_text, batch, cell, draw_text, load_predictor, safe, show_facts

EXAMPLES = {
    "News": "The European Commission fined Siemens on Tuesday. Its chairman, Heinrich von Pierer, said in "
    "Munich that the German company would appeal.",
    "Sport": "Steffi Graf beat Monica Seles 7-5 6-3 at the U.S. Open in New York, her fifth title there.",
    "The same name twice": "Washington scored twice for Chicago.\nWashington, however, has not yet "
    "commented on the new treaty with Japan.",
    "Lower case, where it fails": "angela merkel met the president of the world bank in paris.",
}
NAMES = {"PER": "person", "LOC": "place", "ORG": "organization", "MISC": "other name"}
COLOURS = {"PER": "0,114,178", "LOC": "0,158,115", "ORG": "213,94,0", "MISC": "204,121,167"}

st.title("Entities")
st.write("The model has read news. It marks names with their type and with how probable it thinks each one.")
predictor = load_predictor("entities")
text = ask_for_text("entities", EXAMPLES)
if text is not None:
    answer = predictor.predict(text)
    if not answer.entities:
        st.info("No names were found.")
    parts, end = [], 0
    for entity in answer.entities:
        colour = COLOURS.get(entity.type, "128,128,128")
        parts.append(safe(text[end : entity.start]))
        parts.append(
            f'<span style="background:rgba({colour},.18);border:1.5px solid rgb({colour});border-radius:4px;'
            "padding:.1rem .3rem;box-decoration-break:clone;-webkit-box-decoration-break:clone"
            f'">{safe(entity.text)} '
            f"<small><b>{safe(NAMES.get(entity.type, entity.type))}</b> "
            f"{min(entity.probability, 0.99):.0%}</small></span>"
        )
        end = entity.end
    draw_text([*parts, safe(text[end:])])
    show_facts(
        "entities",
        "float32",
        answer.latency_ms,
        [f"{answer.num_tokens:,} tokens", f"{answer.unknown_share:.0%} unknown"],
    )
    if answer.entities:
        st.subheader("Why")
        st.write(
            "For the same words, how probable is each type? What is missing to 1 is other boundaries, "
            "or no name at all."
        )
        st.dataframe(
            [
                {
                    "words": cell(found.entity.text, 60),
                    "marked as": NAMES.get(found.entity.type, found.entity.type),
                    **{
                        NAMES.get(kind, kind): round(probability, 3)
                        for kind, probability in sorted(
                            [(found.entity.type, found.entity.probability), *found.alternatives]
                        )
                    },
                }
                for found in predictor.explain(text)
            ],
            hide_index=True,
        )


def rows(texts):
    return [
        {
            "entities": "; ".join(
                f"{entity.text} ({entity.type}, {entity.probability:.2f})" for entity in answer.entities
            ),
            "number": len(answer.entities),
        }
        for answer in predictor.predict_batch(texts)
    ]


batch("entities", rows)
