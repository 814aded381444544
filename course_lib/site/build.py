"""From a folder of executed notebooks to a folder of pages: Sphinx with myst-nb and the book theme."""

import io
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat

from course_lib.errors import CourseError, UsageError, unknown_name
from course_lib.files import REPOSITORY, replace_folder
from course_lib.runner.notebooks import find_notebooks
from course_lib.session import PROFILES
from course_lib.site.pages import notebook_page, results_page, start_page

_STATIC = Path(__file__).with_name("static")
# Written by Sphinx into every site: what a folder must hold before it may be replaced.
_MARK = ".buildinfo"


@dataclass(frozen=True)
class Built:
    """A finished site: its start page, and how many of its notebooks came from a run."""

    start: Path
    num_notebooks: int
    num_executed: int


def build_site(
    profile: str = "fast", *, runs: Path | None = None, out: Path | None = None, root: Path = REPOSITORY
) -> Built:
    """Render the executed notebooks, and those that were not as they are stored.

    The folder `out` changes only if the whole site is without fault.

    Args:
        profile: whose run to show.
        runs: folder of executed notebooks; default runs/<profile>.
        out: folder for the site; default runs/site.
        root: the repository.

    Raises:
        UsageError: unknown profile, no such folder of runs, or `out` holds something else than a site.
        CourseError: the packages of the extra `site` are missing; a dead link, a figure or an image without
            alternative text, or whatever else Sphinx warns of: one sentence each, naming the page.
    """
    if profile not in PROFILES:
        raise unknown_name("profile", profile, PROFILES)
    if runs is not None and not runs.is_dir():
        raise UsageError(f"There is no folder {runs}: `course run` makes one of executed notebooks.")
    if any(find_spec(name) is None for name in ("mathjax", "myst_nb", "plotly", "sphinx_book_theme")):
        raise CourseError(
            "The site needs more packages: run `pip install -e .[course,site]` in the course's folder."
        )
    runs = runs or root / "runs" / profile
    out = out or root / "runs" / "site"
    if out.exists() and not (out / _MARK).exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} holds something else than a site: name a new or an empty folder.")
    stored = find_notebooks(root)
    num_executed = 0
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        (source / "notebooks").mkdir(parents=True)
        readme = (root / "README.md").read_text(encoding="utf-8")
        (source / "index.md").write_text(start_page(readme, stored), encoding="utf-8")
        (source / "results.md").write_text(results_page(readme), encoding="utf-8")
        for name, path in stored.items():
            run = runs / path.name
            executed = run.exists()
            num_executed += executed
            try:
                page = notebook_page(
                    nbformat.read(run if executed else path, as_version=4), executed=executed
                )
            except CourseError as error:
                raise CourseError(f"{name}: {error}") from None
            nbformat.write(page, source / "notebooks" / path.name)
        _render(source, built, Path(folder, "doctrees"))
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = out.with_name(f".{out.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            shutil.move(built, aside)
            replace_folder(out, aside)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return Built(out / "index.html", len(stored), num_executed)


def _render(source: Path, built: Path, doctrees: Path) -> None:
    """Sphinx in this process, then our own look at what it wrote."""
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    from course_lib.site.checks import page_faults

    warnings = io.StringIO()
    try:
        with patch_docutils(), docutils_namespace():
            app = Sphinx(
                source,
                None,
                built,
                doctrees,
                "html",
                _settings(),
                status=None,
                warning=warnings,
                freshenv=True,
            )
            app.connect("html-page-context", _add_figure_scripts)
            app.build()
    except SphinxError as error:
        raise CourseError(f"Sphinx gave up: {error}") from error
    sentences = [_sentence(line, source) for line in warnings.getvalue().splitlines() if line.strip()]
    # Where Sphinx warned, its pages would show the same fault again.
    faults = sentences or page_faults(built)
    if faults:
        raise CourseError("The site was not written. " + "\n".join(dict.fromkeys(faults)))


def _settings() -> dict[str, Any]:
    """Sphinx's configuration; everything that a page loads is copied into the site."""
    import mathjax
    import plotly

    # SVG needs no font files, which browsers may refuse to load from a folder.
    math_renderer = Path(mathjax.__file__).parent / "static" / "mathjax" / "es5" / "tex-svg-full.js"
    plotly_js = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return {
        "project": "Large NLP models from scratch",
        "html_title": "Large NLP models from scratch",
        "language": "en",
        "extensions": ["myst_nb"],
        "nb_execution_mode": "off",
        "nb_merge_streams": True,
        # Progress bars and the logs of libraries.
        "nb_output_stderr": "remove",
        "myst_enable_extensions": ["amsmath", "colon_fence", "dollarmath"],
        "myst_heading_anchors": 3,
        "mathjax_path": math_renderer.name,
        "html_context": {"default_mode": "auto"},
        "html_theme": "sphinx_book_theme",
        "html_theme_options": {
            "footer_content_items": [],
            # The sidebar has the search, too; a bar above it would say the same.
            "navbar_persistent": [],
            "search_bar_text": "Search the course",
            "show_toc_level": 2,
            "use_download_button": False,
        },
        "html_static_path": [str(_STATIC), str(math_renderer), str(plotly_js)],
        "html_css_files": ["site.css"],
        "html_copy_source": False,
        "html_show_copyright": False,
        "html_show_sourcelink": False,
        # A summary is fetched from the page that was found, which browsers refuse without a server.
        "html_show_search_summary": False,
        "html_use_index": False,
    }


def _add_figure_scripts(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if 'class="course-plot"' in context.get("body", ""):
        app.add_js_file("plotly.min.js", loading_method="defer")
        app.add_js_file("figures.js", loading_method="defer")


def _sentence(warning: str, source: Path) -> str:
    """A line of Sphinx's as ours: the page, in a notebook the cell, and what is wrong."""
    warning = re.sub(r"\x1b\[[0-9;]*m", "", warning)
    match = re.fullmatch(r"(.+?)(?::(\d+))?: (?:WARNING|ERROR|CRITICAL): (.+?)(?: \[[\w.]+\])?", warning)
    if match is None:
        return warning
    path, line, text = Path(match[1]), int(match[2] or 0), match[3]
    where = path.relative_to(source).as_posix() if path.is_relative_to(source) else match[1]
    if path.suffix == ".ipynb" and line >= 10_000:
        # myst-nb counts lines from 10,000 times the cell's number.
        cells = nbformat.read(path, as_version=4).cells
        where += f", cell {cells[line // 10_000 - 1].id}"
    if dead := re.search(r"target not found: '(.+)'", text):
        text = f"the link to {dead[1]} leads nowhere"
    return f"{where}: {text.rstrip('.')}."
