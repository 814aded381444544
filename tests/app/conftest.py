"""The app's pages import `shared` from the app's own folder, as Streamlit lets them."""

import sys
from pathlib import Path

import pytest

APP = Path(__file__).resolve().parents[2] / "app"
sys.path.insert(0, str(APP))


@pytest.fixture
def open_page():
    """Opens a page of the app by its file name, without the suffix."""
    from streamlit.testing.v1 import AppTest

    def open_page(name, query=None):
        app = AppTest.from_file(str(APP / "main.py"), default_timeout=30)
        for key, value in (query or {}).items():
            app.query_params[key] = value
        app.run()
        return app if name == "start" else app.switch_page(f"views/{name}.py").run()

    return open_page
