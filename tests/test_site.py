"""`course site`: order, offline, formulas and figures in a real browser, and what stops the build."""

import json
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib import cli
from course_lib.errors import CourseError, UsageError
from course_lib.files import REPOSITORY
from course_lib.runner import find_notebooks
from course_lib.session import SESSION_MIME
from course_lib.site import build_site
from course_lib.site.checks import page_faults
from course_lib.site.pages import notebook_page, results_page, start_page

# The theme and myst-parser still use what a later Sphinx will drop.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
README = """# A course

Two sentences. That is all.

## The notebooks

| notebook | `fast` |
|---|---|
| [01 First](notebooks/01_first.ipynb) | 3 min |
| [14 Small](notebooks/14_small.ipynb) | – |

## Results

| notebook | value |
|---|---|
| 01 | 0.8125 |

## Elsewhere

[Not on the site](data/README.md)
"""
SESSION = {
    "profile": "smoke",
    "device": "2 CPU cores",
    "python": "3.11",
    "tensorflow": "2.21",
    "keras": "3.15",
}
FIGURE = {
    "data": [{"type": "scatter", "x": [1, 2, 3], "y": [2, 1, 3], "line": {"color": "#000000"}, "name": "a"}],
    "layout": {
        "title": {"text": "Errors &amp; <b>epochs</b><br>on held-out text"},
        "template": {"layout": {"width": 820, "height": 420, "paper_bgcolor": "white"}},
        "xaxis": {"title": {"text": "epoch"}},
    },
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def displayed(mime: str, content: object, **more: object) -> nbformat.NotebookNode:
    return new_output("display_data", {mime: content, **more})


def a_notebook(title: str, *cells: nbformat.NotebookNode) -> nbformat.NotebookNode:
    setup = new_code_cell("COLAB_ONLY = True", id="colab", execution_count=1)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    first = new_markdown_cell(f"# {title}\n\nA promise.", id="title")
    return new_notebook(cells=[first, setup, *cells], metadata=kernel)


def write_course(root: Path) -> Path:
    """Three stored notebooks, of which `runs/smoke` holds the first and the last as they were executed."""
    first = a_notebook(
        "01 First",
        new_markdown_cell(
            "## Formulas\n\nInline $e^{i\\pi} = -1$ and\n\n$$\\sum_{k=1}^n k = \\frac{n(n+1)}{2}$$\n\n"
            "<details><summary>Answer</summary>\n\nIt is $n^2$.\n\n</details>\n\nA zeugma, once."
        ),
        new_code_cell(
            "start()", execution_count=2, outputs=[displayed(SESSION_MIME, SESSION, **{"text/plain": "go"})]
        ),
        new_code_cell(
            "figure.show()",
            id="figure",
            execution_count=3,
            outputs=[
                displayed("application/vnd.plotly.v1+json", FIGURE),
                new_output("stream", name="stderr", text="a library's log"),
                new_output("stream", name="stdout", text="printed"),
            ],
        ),
    )
    second = a_notebook("02 Second", new_code_cell("compute()", id="compute"))
    error = new_output("error", ename="ValueError", evalue="no luck", traceback=["ValueError: no luck"])
    failed = new_code_cell("raise ValueError('no luck')", execution_count=2, outputs=[error])
    last = a_notebook("14 Small", failed, new_code_cell("never()"))
    pointer = "<span>An Exception was encountered at '<a href=\"#papermill-error-cell\">In [2]</a>'.</span>"
    last.cells.insert(0, new_markdown_cell(pointer, metadata={"tags": ["papermill-error-cell-tag"]}))
    (root / "notebooks").mkdir(parents=True)
    (root / "runs" / "smoke").mkdir(parents=True)
    for name, notebook in {"14_small": last, "02_second": second, "01_first": first}.items():
        nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")
    for name in ("01_first", "14_small"):
        shutil.copy(root / "notebooks" / f"{name}.ipynb", root / "runs" / "smoke")
    (root / "README.md").write_text(README, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    built = build_site("smoke", root=write_course(tmp_path_factory.mktemp("course")))
    assert (built.num_notebooks, built.num_executed) == (3, 2)
    return built.start.parent


def soup(site: Path, page: str) -> BeautifulSoup:
    return BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser")


def test_sidebar_and_previous_and_next_follow_the_course(site):
    sidebar = soup(site, "index.html").select_one("nav.bd-docs-nav")
    entries = [tag.get_text(strip=True) for tag in sidebar.select("p.caption, li a")]
    parts = {"I From text to vectors": ["01 First", "02 Second"], "IV In practice": ["14 Small"]}
    assert entries == [entry for title in parts for entry in (title, *parts[title])] + ["Measured", "Results"]
    page = soup(site, "notebooks/02_second.html")
    assert page.select_one("a.left-prev")["href"] == "01_first.html"
    assert page.select_one("a.right-next")["href"] == "14_small.html"


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"'](?:https?:)?//[^>]*>", text
        )
    for name in ("plotly.min.js", "tex-svg-full.js", "figures.js", "site.css"):
        assert (site / "_static" / name).stat().st_size > 500


def test_pages_say_what_was_executed_and_leave_out_what_is_of_no_use(site):
    executed = soup(site, "notebooks/01_first.html").article.get_text()
    assert "Executed in the profile smoke on 2 CPU cores, with Python 3.11" in executed
    assert "its numbers mean nothing" in executed
    assert "printed" in executed and "a library's log" not in executed and "COLAB_ONLY" not in executed
    assert "was not executed for this site" in soup(site, "notebooks/02_second.html").article.get_text()
    stopped = soup(site, "notebooks/14_small.html").article.get_text()
    assert "code cells that were not executed: 1" in stopped and "ValueError: no luck" in stopped
    assert "An Exception was encountered" not in stopped
    assert "0.8125" in soup(site, "results.html").article.get_text()


def test_a_figure_has_its_title_as_caption_and_label(site):
    page = soup(site, "notebooks/01_first.html")
    assert page.select_one("figure.course-figure figcaption").get_text() == "Errors & epochs on held-out text"
    assert page.select_one(".course-plot")["aria-label"] == "Errors & epochs on held-out text"
    drawn = json.loads(page.select_one("figure.course-figure script").string)
    assert drawn["data"] == FIGURE["data"] and "title" not in drawn["layout"]


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium on the path: install Debian's `chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield browser
        browser.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_without_a_server_formulas_and_figures_are_drawn_on_a_phone(site, browser, theme):
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme=theme)
    troubles = []
    page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: request.url.startswith("http") and troubles.append(request.url))
    page.goto((site / "notebooks" / "01_first.html").as_uri())
    page.locator(".course-plot").scroll_into_view_if_needed()
    page.locator(".course-plot .main-svg").first.wait_for()
    page.locator("mjx-container svg").first.wait_for()
    # Two formulas of the text, and the one in the answer that is still folded.
    assert page.locator("mjx-container svg").count() == page.locator(".math").count() == 3
    assert page.locator("mjx-merror").count() == 0
    assert not page.get_by_text("It is").is_visible()
    # The black line takes the colour of the text, which a dark page shows.
    line = page.locator(".course-plot .js-line").evaluate("line => getComputedStyle(line).stroke")
    assert line == page.evaluate("getComputedStyle(document.body).color")
    assert (min(map(int, re.findall(r"\d+", line)[:3])) > 150) == (theme == "dark")
    box = page.locator(".course-plot .main-svg").first.bounding_box()
    assert 250 < box["width"] <= 400
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert troubles == []
    page.close()


def test_search_finds_a_word_without_a_server(site, browser):
    page = browser.new_page()
    page.goto((site / "search.html").as_uri() + "?q=zeugma")
    found = page.locator("#search-results li a")
    found.first.wait_for()
    assert [link.get_attribute("href").partition("?")[0] for link in found.all()] == [
        "notebooks/01_first.html"
    ]
    page.close()


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (
            new_markdown_cell("See [the rest](03_missing.ipynb).", id="see"),
            "notebooks/01_first.ipynb, cell see: the link to 03_missing.ipynb leads nowhere.",
        ),
        (
            new_markdown_cell('See <a href="14_small.html#no">the rest</a>.'),
            "notebooks/01_first.html: the link to 14_small.html#no leads to a place that the page lacks.",
        ),
        (
            new_code_cell("draw()", execution_count=9, outputs=[displayed("image/png", PIXEL)]),
            "notebooks/01_first.html: the image ../_images/",
        ),
    ],
    ids=["link", "anchor", "image"],
)
def test_a_fault_stops_the_build_with_a_sentence_and_leaves_the_old_site(tmp_path, cell, sentence):
    root = write_course(tmp_path)
    path = root / "runs" / "smoke" / "01_first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(cell)
    nbformat.write(notebook, path)
    out = tmp_path / "site"
    out.mkdir()
    (out / ".buildinfo").write_text("", encoding="utf-8")
    (out / "index.html").write_text("the old site", encoding="utf-8")
    with pytest.raises(CourseError) as stopped:
        build_site("smoke", out=out, root=root)
    assert sentence in str(stopped.value)
    assert len(str(stopped.value).splitlines()) == 1
    assert (out / "index.html").read_text(encoding="utf-8") == "the old site"


def test_a_figure_without_title_is_named_by_its_cell():
    figure = {"data": [], "layout": {"title": {"text": "<br>"}}}
    cell = new_code_cell("", id="bare", outputs=[displayed("application/vnd.plotly.v1+json", figure)])
    with pytest.raises(CourseError, match="'bare' has no title"):
        notebook_page(a_notebook("01", cell), executed=True)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('<a href="other.html#there">good</a><img src="data:image/png;base64," alt="A curve">', None),
        ('<a href="https://example.org/dead">not followed</a><a href="#here" id="here">good</a>', None),
        ('<a href="gone.html">dead</a>', "page.html: the link to gone.html leads nowhere."),
        ('<a href="../outside.html">dead</a>', "page.html: the link to ../outside.html leads nowhere."),
        (
            '<a href="#gone">dead</a>',
            "page.html: the link to #gone leads to a place that the page lacks.",
        ),
        (
            '<img src="data:image/png;base64,">',
            "page.html: the image data:image/png;base64, has no alternative text.",
        ),
        (
            '<img src="data:," alt="_images/0a1b.png">',
            "page.html: the image data:, has no alternative text.",
        ),
        ('<div class="course-plot"></div>', "page.html: a figure has no aria-label."),
        (
            '<script src="https://cdn.example.org/x.js"></script>',
            "page.html: <script> loads https://cdn.example.org/x.js from the internet.",
        ),
        (
            '<link href="//fonts.example.org/x.css">',
            "page.html: <link> loads //fonts.example.org/x.css from the internet.",
        ),
    ],
)
def test_each_fault_of_a_page_is_one_sentence(tmp_path, content, fault):
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "outside.html").write_text("", encoding="utf-8")
    (folder / "other.html").write_text('<p id="there"></p>', encoding="utf-8")
    (folder / "page.html").write_text(content, encoding="utf-8")
    assert page_faults(folder) == ([fault] if fault else [])


def test_a_style_sheet_may_not_load_from_the_internet(tmp_path):
    (tmp_path / "a.css").write_text("p { background: url(data:image/png;base64,xx) }", encoding="utf-8")
    assert page_faults(tmp_path) == []
    (tmp_path / "b.css").write_text("@import 'https://fonts.example.org/x.css';", encoding="utf-8")
    assert page_faults(tmp_path) == ["b.css loads something from the internet."]


def test_what_is_no_site_is_never_overwritten(tmp_path):
    root = write_course(tmp_path / "course")
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="something else than a site"):
        build_site("smoke", out=tmp_path, root=root)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--runs", "no/such/folder"], "There is no folder no/such/folder"),
        (["--profile", "quick"], "Unknown profile 'quick'"),
    ],
)
def test_wrong_use_of_the_command_is_one_sentence(monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(sys, "argv", ["course", "site", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_readme_has_what_the_site_shows_and_every_notebook_has_a_place():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    names = list(find_notebooks(REPOSITORY))
    assert re.findall(r"^notebooks/(\w+)$", start_page(readme, names), flags=re.MULTILINE) == names
    assert "| notebook | what | value | bound |" in results_page(readme)
    with pytest.raises(CourseError, match="no section '## Results'"):
        results_page("# A course")
