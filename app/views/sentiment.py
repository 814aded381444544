"""Sentiment: probabilities, and what each word contributes."""

import streamlit as st
from shared import ask_for_text, batch, draw_bars, draw_text, load_predictor, safe, show_facts

EXAMPLES = {
    "Film": "A quiet, beautifully acted film. I left the cinema happy, and I would see it again tomorrow.",
    "Product": "The battery died after two weeks, and nobody answered my letters. Do not buy this camera.",
    "News, neutral": "The committee will meet again on Thursday to discuss the budget for next year.",
    "Negation, where it fails": "It is not a bad film, and nobody in it is dull.",
    "Irony in a tweet, where it fails": "Wonderful, my train is late again. Just what I needed today.",
}
# Leads of the best class over the second: below the first the model wavers, from the second on it is clear.
CLOSE, CLEAR = 0.2, 0.5


def in_words(answer):
    """How far the best class is ahead, in one sentence."""
    best, second = sorted(answer.probabilities, key=answer.probabilities.get, reverse=True)[:2]
    lead = round(100 * answer.margin)
    points = "1 point" if lead == 1 else f"{lead} points"
    if answer.margin < CLOSE:
        return f"The model wavers: {best} is only {points} ahead of {second}."
    if answer.margin < CLEAR:
        return f"The model leans towards {best}, {points} ahead of {second}."
    return f"The model is clear: {best} is {points} ahead of {second}."


st.title("Sentiment")
st.write(
    "The model has read sentences about films and products, tweets and newspaper editorials that people "
    "rated, and sentences of film reviews that a larger model rated. **Neutral** means that about twenty "
    "people, asked for a rating from -4 to 4, would on average give one within ±0.5."
)
predictor = load_predictor("sentiment")
text = ask_for_text("sentiment", EXAMPLES)
if text is not None:
    answer = predictor.predict(text)
    if answer.label is None:
        st.info("There is no word in this text, so all opinions are equally probable.")
    else:
        st.subheader(f"{answer.label.capitalize()}, {answer.probabilities[answer.label]:.0%}")
        st.write(f"{in_words(answer)} That is its own view: it can be clear and wrong.")
    draw_bars(answer.probabilities)
    facts = [
        f"entropy {answer.entropy:.0%} of its maximum",
        f"{answer.num_tokens:,} tokens",
        f"{answer.unknown_share:.0%} unknown",
    ]
    if answer.truncated:
        facts.append("the middle of the text was left out: it is longer than the model reads")
    show_facts("sentiment", "float32", answer.latency_ms, facts)

    supports = predictor.explain(text)
    if supports:
        st.subheader("Why")
        st.write(
            "Each word was left out once, in a long text a few neighbours at a time. A solid line marks what "
            f"speaks for **{answer.label}**: without it the probability falls. A dotted line marks what "
            "speaks against it; what matters little has no line."
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
                {"words": word.text[:60], "probability with minus without": round(word.support, 3)}
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
