"""A visitor's tour in a real browser: every page, an answer on each, a hostile text, an upload, no error."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=1</script> **bold** a wonderful film'
NAVIGATION = [
    *("Start", "Sentiment", "Entities", "Relations", "answering", "Summarization", "Translation"),
    *("Compare", "About"),
]

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on the path: install Debian's `chromium`"
)


@pytest.fixture(scope="module")
def address(models):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.headless", "true"]
    environment = {**os.environ, "COURSE_MODELS": str(models)}
    with subprocess.Popen(
        [*command, "--server.port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 400, "height": 900})
    page.set_default_timeout(60_000)
    yield page
    page.close()


def test_a_link_to_a_page_opens_it_within_the_app(browser, address):
    # The first address that this server is asked for is not its start page.
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.goto(f"{address}/entities?text=Angela+Merkel+went+to+Paris.")
    page.get_by_text("Angela Merkel").last.wait_for()
    links = page.get_by_test_id("stSidebarNavLink").all_inner_texts()
    # Each begins with the name of its icon; of "Question answering" the last word is left.
    assert [link.split()[-1] for link in links] == NAVIGATION
    page.close()


@pytest.mark.parametrize(
    ("path", "example", "answer"),
    [
        ("sentiment", "Product", "A solid line marks"),
        ("sentiment", "News, neutral", "ahead of"),
        ("entities", "Sport", "how probable is each type"),
        ("relations", "News", "written in two ways"),
        ("question_answering", "A plain fact", "as probable as no answer"),
        ("summarization", "A discovery", "In the text"),
        ("translation", "Everyday", "near 0 is sure"),
        ("compare", "A review", "median of 20 readings"),
    ],
)
def test_each_page_answers_an_example_at_400_pixels(page, address, path, example, answer):
    page.goto(f"{address}/{path}")
    page.get_by_text(example, exact=True).click()
    page.get_by_text(answer).first.wait_for()
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_test_id("stAlertContentError").count() == 0
    # Nothing sticks out to the right.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("path", ["sentiment", "entities", "summarization"])
def test_a_hostile_text_is_shown_as_text(page, address, path):
    page.goto(f"{address}/{path}")
    page.locator("textarea").fill(HOSTILE)
    page.get_by_role("button", name="Read it").click()
    drawn = page.get_by_test_id("stHtml").filter(has_text="wonderful film")
    drawn.first.wait_for()
    assert "<img src=x" in drawn.first.inner_text()
    assert page.title() != "1"
    assert page.locator("[data-testid=stHtml] img, [data-testid=stHtml] script").count() == 0


def test_a_file_of_texts_is_answered_and_a_wrong_one_refused_in_the_same_session(page, address):
    page.goto(f"{address}/sentiment")
    page.get_by_text("Many texts at once").click()
    upload = page.locator("input[type=file]")
    upload.set_input_files({"name": "a.csv", "mimeType": "text/csv", "buffer": b"review\nfine\n"})
    page.get_by_text("no column named text").wait_for()
    upload.set_input_files(
        {"name": "b.csv", "mimeType": "text/csv", "buffer": b"text\na wonderful film\n=1\n"}
    )
    page.get_by_test_id("stDownloadButton").wait_for()
