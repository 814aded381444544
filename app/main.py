"""The course's demo: `streamlit run app/main.py`.

The pages are in `views`: Streamlit would serve a folder named `pages` without this router.
"""

import streamlit as st

st.set_page_config(page_title="Large NLP models from scratch", page_icon=":material/menu_book:")
st.navigation(
    [
        st.Page("views/start.py", title="Start", icon=":material/home:", default=True),
        st.Page("views/sentiment.py", title="Sentiment", icon=":material/thumbs_up_down:"),
        st.Page("views/entities.py", title="Entities", icon=":material/label:"),
        st.Page("views/relations.py", title="Relations", icon=":material/hub:"),
        st.Page("views/question_answering.py", title="Question answering", icon=":material/quiz:"),
        st.Page("views/summarization.py", title="Summarization", icon=":material/short_text:"),
        st.Page("views/translation.py", title="Translation", icon=":material/translate:"),
        st.Page("views/compare.py", title="Compare", icon=":material/balance:"),
        st.Page("views/about.py", title="About", icon=":material/info:"),
    ]
).run()
