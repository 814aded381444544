"""What a reader would stumble over in the built pages: dead links, figures without a text, the internet."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag


def page_faults(site: Path) -> list[str]:
    """One sentence for each fault, naming its page; empty if there is none.

    Links out to the internet are not followed, but nothing that a page loads may come from there.

    Args:
        site: folder of the built site.
    """
    pages = {
        path.relative_to(site).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    anchors = {
        name: {tag.get("id") for tag in page.find_all(id=True)}
        | {tag["name"] for tag in page.find_all("a", attrs={"name": True})}
        for name, page in pages.items()
    }
    faults = []
    for name, page in pages.items():
        for tag in page.find_all(["a", "img", "script", "link", "iframe", "source", "video", "audio"]):
            for address in (tag.get("href"), tag.get("src")):
                if address and (fault := _address_fault(tag, address, site, name, anchors)):
                    faults.append(f"{name}: {fault}.")
        for image in page.find_all("img"):
            if not _is_text(image.get("alt", "")):
                faults.append(f"{name}: the image {image.get('src', '')[:60]} has no alternative text.")
        for plot in page.find_all(class_=["course-plot", "plotly-graph-div"]):
            if not plot.get("aria-label", "").strip():
                faults.append(f"{name}: a figure has no aria-label.")
    for sheet in sorted(site.rglob("*.css")):
        if re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")):
            faults.append(f"{sheet.relative_to(site).as_posix()} loads something from the internet.")
    return faults


def _address_fault(tag: Tag, address: str, site: Path, page: str, anchors: dict[str, set]) -> str:
    parts = urlsplit(address)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "" if tag.name == "a" else f"<{tag.name}> loads {address} from the internet"
    target = (site / page).parent / unquote(parts.path) if parts.path else site / page
    target = target.resolve()
    if not target.is_file() or not target.is_relative_to(site.resolve()):
        return f"the link to {address} leads nowhere"
    known = anchors.get(target.relative_to(site.resolve()).as_posix())
    if parts.fragment and known is not None and unquote(parts.fragment) not in known:
        return f"the link to {address} leads to a place that the page lacks"
    return ""


def _is_text(alternative: str) -> bool:
    """Whether it says something; Sphinx puts the file's name where an author wrote nothing."""
    return bool(alternative.strip()) and not re.fullmatch(
        r"\S+\.(png|jpe?g|gif|svg|webp)", alternative.strip()
    )
