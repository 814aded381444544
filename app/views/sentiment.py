"""Sentiment: probabilities, and what each word contributes."""

import streamlit as st
from shared import ask_for_text, batch, draw_bars, draw_text, load_predictor, safe, show_facts

EXAMPLES = {
    "A clear case": "A quiet, beautifully acted film. I left the cinema happy, and I would see it again "
    "tomorrow.",
    "Mixed feelings": "The first hour is wonderful: funny, warm, full of ideas.\nThen the plot collapses, "
    "and by the end I was bored and annoyed.",
    "Negation": "It is not a bad film, and nobody in it is dull.",
    "Irony, where it fails": "Oh great, another sequel. Exactly what the world was waiting for.",
}

st.title("Sentiment")
st.write("The model has read film reviews. It gives each opinion a probability, and below you see why.")
predictor = load_predictor("sentiment")
text = ask_for_text("sentiment", EXAMPLES)
if text is not None:
    answer = predictor.predict(text)
    if answer.label is None:
        st.info("There is no word in this text, so all opinions are equally probable.")
    else:
        best = max(answer.probabilities.values())
        sure = "It is sure." if best > 0.9 else "It leans that way." if best > 0.65 else "It is undecided."
        st.subheader(f"{answer.label.capitalize()}, {best:.0%}")
        st.write(sure)
    draw_bars(answer.probabilities)
    facts = [f"{answer.num_tokens:,} tokens", f"{answer.unknown_share:.0%} unknown"]
    if answer.truncated:
        facts.append("the middle of the text was left out: it is longer than the model reads")
    show_facts("sentiment", "float32", answer.latency_ms, facts)

    supports = predictor.explain(text)
    if supports:
        st.subheader("Why")
        st.write(
            f"Each word was left out once. Underlined words speak for **{answer.label}**: without them its "
            "probability falls. Words with a dotted line speak against it."
        )
        largest = max(abs(word.support) for word in supports) or 1.0
        parts, end = [], 0
        for word in supports:
            parts.append(safe(text[end : word.start]))
            strength = abs(word.support) / largest
            if strength < 0.1:
                parts.append(safe(word.text))
            else:
                colour, line = ("0,114,178", "solid") if word.support > 0 else ("213,94,0", "dotted")
                parts.append(
                    f'<span title="{word.support:+.3f}" '
                    f'style="background:rgba({colour},{0.45 * strength:.2f});'
                    f'border-bottom:2px {line} rgb({colour});border-radius:2px">{safe(word.text)}</span>'
                )
            end = word.end
        draw_text([*parts, safe(text[end:])])
        strongest = sorted(supports, key=lambda word: -abs(word.support))[:8]
        st.dataframe(
            [
                {"words": word.text[:60], "change of probability": round(word.support, 3)}
                for word in strongest
            ],
            hide_index=True,
        )


def rows(texts):
    return [
        {
            "label": answer.label or "no words",
            **{f"p({name})": round(p, 4) for name, p in answer.probabilities.items()},
        }
        for answer in predictor.predict_batch(texts)
    ]


batch("sentiment", rows)
