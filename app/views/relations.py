"""Relations between the names of a text, as a graph and as a table."""

import textwrap

import streamlit as st
from shared import ask_for_text, batch, cell, load_card, load_predictor, plain, show_facts, visible

EXAMPLES = {
    "News": "Helen Clark met John Howard in Sydney on Monday. Clark had flown from Wellington. Howard "
    "praised New Zealand for its help in East Timor. Air New Zealand has signed an agreement with Qantas. "
    "Qantas will open an office in Auckland.",
    "Sport": "Steffi Graf defeated Monica Seles in New York. Graf will play against Lindsay Davenport in the "
    "final. Davenport has beaten Martina Hingis.",
    "Active and passive": "Steffi Graf defeated Monica Seles. Monica Seles was defeated by Steffi Graf.",
    "A denial, where it fails": "Lindsay Davenport denied that Steffi Graf defeated Monica Seles in Paris.",
}
_MOST_ARROWS = 40
# Short lines keep the drawing narrow enough for a telephone.
_LINE = 14


def quoted(*texts):
    """The texts, broken into lines, as one string of Graphviz's language."""
    lines = [line for text in texts for line in textwrap.wrap(visible(text, 48), _LINE)]
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def graph(relations, is_dark):
    """An arrow from each subject to its object, thick where the model is sure, in Graphviz's language."""
    ink = "#e6e6e6" if is_dark else "#31333f"
    lines = [
        'bgcolor="transparent"',
        "nodesep=0.15",
        'node [shape=box, style="rounded,filled", fillcolor="#0072B2", color="#0072B2", fontcolor="white", '
        'fontname="sans-serif"]',
        f'edge [color="#808080", fontcolor="{ink}", fontname="sans-serif", fontsize=12]',
    ]
    for relation in relations:
        ends = " -> ".join(map(quoted, (relation.subject, relation.object)))
        label = quoted(relation.phrase, f"{relation.confidence:.2f}")
        lines.append(f"{ends} [label={label}, penwidth={1 + 3 * relation.confidence:.2f}]")
    return "digraph {" + "; ".join(lines) + "}"


st.title("Relations")
predictor = load_predictor("relations")
st.write(
    "The model looks for two names in a sentence and for the words that relate them. Its confidence is how "
    "probable it thinks that this is what the sentence says. Expect mistakes: on news that it had not seen "
    f"its F1 is {load_card('relations')['metric']['float32']['value']:.0%}, and whether somebody claims or "
    "denies a thing, it does not see."
)
text = ask_for_text("relations", EXAMPLES)
lowest = st.slider("Lowest confidence", predictor.threshold, 0.95, predictor.threshold, 0.05)
if text is not None:
    answer = predictor.predict(text)
    relations = [relation for relation in answer.relations if relation.confidence >= lowest]
    if not answer.relations:
        st.info(plain(answer.message))
    elif not relations:
        st.info(f"No relation has a confidence of {lowest:.2f} or more.")
    else:
        arrows = sorted(relations, key=lambda relation: -relation.confidence)[:_MOST_ARROWS]
        st.graphviz_chart(graph(arrows, st.context.theme.type == "dark"))
        if len(relations) > _MOST_ARROWS:
            st.caption(f"The graph shows the {_MOST_ARROWS} surest of {len(relations):,} relations.")
    show_facts(
        "relations",
        "float32",
        answer.latency_ms,
        [f"{len(relations):,} of {len(answer.relations):,} relations", f"{len(text.split()):,} words"],
    )
    if relations:
        st.dataframe(
            [
                {
                    "subject": cell(relation.subject, 60),
                    "relation": cell(relation.phrase, 60),
                    "object": cell(relation.object, 60),
                    "confidence": round(relation.confidence, 3),
                    "sentence": cell(text[relation.start : relation.end], 200),
                }
                for relation in relations
            ],
            hide_index=True,
        )
        st.caption(
            "A name that is written in two ways (Helen Clark, Clark) counts as two, and a relation without a "
            'verb, as in "Nordbank chairman Lisa Kro", is not found.'
        )


def rows(texts):
    return [
        {
            "relations": "; ".join(
                f"{relation.subject} | {relation.phrase} | {relation.object} ({relation.confidence:.2f})"
                for relation in answer.relations
                if relation.confidence >= lowest
            ),
            "message": answer.message,
        }
        for answer in predictor.predict_batch(texts)
    ]


batch("relations", rows)
