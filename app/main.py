"""The course's demo: `streamlit run app/main.py`."""

import streamlit as st

st.set_page_config(page_title="Large NLP models from scratch", page_icon=":material/menu_book:")
st.navigation(
    [
        st.Page("pages/start.py", title="Start", icon=":material/home:", default=True),
        st.Page("pages/sentiment.py", title="Sentiment", icon=":material/thumbs_up_down:"),
        st.Page("pages/entities.py", title="Entities", icon=":material/label:"),
        st.Page("pages/summarization.py", title="Summarization", icon=":material/short_text:"),
        st.Page("pages/compare.py", title="Compare", icon=":material/balance:"),
        st.Page("pages/about.py", title="About", icon=":material/info:"),
    ]
).run()
