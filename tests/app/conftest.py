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
    """The shipped models; where no translator or reader is shipped, an untrained one of real English."""
    folder = shutil.copytree(APP / "models", tmp_path_factory.mktemp("app") / "models")
    for task, save in (("translation", save_translator), ("question_answering", save_reader)):
        if not (folder / task).exists():
            artifacts = tmp_path_factory.mktemp("artifacts")
            saved = artifacts / "fast" / task
            saved.mkdir(parents=True)
            publish_untrained(task, save(saved), artifacts, folder)
    return folder


def save_translator(folder):
    """Saves an untrained translator; returns examples for its card."""
    from tiny_models import translator

    from course_lib.data import load_tatoeba_en_es
    from course_lib.text.subwords import Subwords

    pairs = load_tatoeba_en_es()[::7]
    source = Subwords.train([pair.source for pair in pairs], 4_000)
    target = Subwords.train([pair.references[0] for pair in pairs], 600)
    translator(source, target).save(folder / "model.keras")
    source.save(folder / "source_subwords.json")
    target.save(folder / "target_subwords.json")
    return pairs[:8]


def save_reader(folder):
    """The same for a reader, which refuses about half of what it is asked."""
    from tiny_models import SETTINGS, reader

    from course_lib.data import load_quac
    from course_lib.text import TextEncoder

    encoder = TextEncoder.load(APP / "models" / "reviews" / "encoder.json")
    reader(len(encoder.vocabulary)).save(folder / "model.keras")
    encoder.save(folder / "encoder.json")
    SETTINGS.save(folder / "reading.json")
    return [[record] for record in load_quac()[:24:3]]


def publish_untrained(task, examples, artifacts, models):
    from course_lib.serving import publish as publishing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "MAX_LOSS", 1.0)
        tiny = publishing.TASKS[task]._replace(examples=lambda profile: examples, num_checked=8)
        patch.setitem(publishing.TASKS, task, tiny)
        publishing.publish(task, "fast", artifacts=artifacts, models=models)


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
