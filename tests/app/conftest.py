"""The app's pages import `shared` from the app's own folder, as Streamlit lets them."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "app"
sys.path[:0] = [str(APP), str(ROOT / "tests" / "serving")]  # the latter for `tiny_models`


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The shipped models; where no translator is shipped, an untrained one that reads real English."""
    folder = shutil.copytree(APP / "models", tmp_path_factory.mktemp("app") / "models")
    if not (folder / "translation").exists():
        publish_untrained_translator(tmp_path_factory.mktemp("artifacts"), folder)
    return folder


def publish_untrained_translator(artifacts, models):
    from tiny_models import translator

    from course_lib.data.tatoeba import load_tatoeba_en_es
    from course_lib.serving import publish as publishing
    from course_lib.text.subwords import Subwords

    pairs = load_tatoeba_en_es()[::7]
    source = Subwords.train([pair.source for pair in pairs], 4_000)
    target = Subwords.train([pair.references[0] for pair in pairs], 600)
    folder = artifacts / "fast" / "translation"
    folder.mkdir(parents=True)
    translator(source, target).save(folder / "model.keras")
    source.save(folder / "source_subwords.json")
    target.save(folder / "target_subwords.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "MAX_LOSS", 1.0)
        tiny = publishing.TASKS["translation"]._replace(examples=lambda profile: pairs[:8], num_checked=8)
        patch.setitem(publishing.TASKS, "translation", tiny)
        publishing.publish("translation", "fast", artifacts=artifacts, models=models)


@pytest.fixture
def open_page(models, monkeypatch):
    """Opens a page of the app by its file name, without the suffix."""
    import shared
    from streamlit.testing.v1 import AppTest

    monkeypatch.setattr(shared, "MODELS", models)

    def open_page(name, query=None):
        app = AppTest.from_file(str(APP / "main.py"), default_timeout=300)
        for key, value in (query or {}).items():
            app.query_params[key] = value
        app.run()
        return app if name == "start" else app.switch_page(f"views/{name}.py").run()

    return open_page
