"""Data Docs that stay on the machine.

Great Expectations' pages load their style, scripts and a logo from a dozen outside hosts, so that
opening one tells those hosts. Here every outside reference is taken out, a small style sheet
of our own is put in, and the pictures of tutorials (3 MB) are left out. The scripts would fill the
tables of the start page; a list of the pages takes its place.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

from plmsae.core.atomic import write_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
  color: #1f2933; background: #fff; }
a { color: #0b62a8; } h1, h2, h3, h4, h5 { line-height: 1.25; margin: 1.2em 0 .4em; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { border: 1px solid #d5dbe1; padding: .35rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { background: #f2f5f8; } ul { padding-left: 1.2rem; } nav, .breadcrumb { list-style: none; }
.text-success, .fa-check-circle { color: #12734a; } .text-danger, .fa-times { color: #b3261e; }
.fa-check-circle::before { content: "✓ "; } .fa-times::before { content: "✗ "; }
.fa-exclamation-triangle::before { content: "! "; }
.badge { border-radius: .25rem; padding: 0 .4rem; background: #e7ecf1; }
.badge-danger { background: #f9dedc; } .badge-success { background: #d4f0e2; }
.alert { border: 1px solid #d5dbe1; border-radius: .4rem; padding: .4rem .8rem; }
.modal, .ge-walkthrough, [data-toggle=modal], .pull-right img { display: none; }
.card:has(input[type=radio]) { display: none; } .collapse { display: block; }
button, [data-toggle=collapse] { display: none; }
@media (prefers-color-scheme: dark) {
  body { background: #14181d; color: #dfe5eb; } a { color: #7cc0ff; }
  th { background: #1f262e; } th, td, .alert { border-color: #37414c; }
  .badge { background: #2c3641; } .badge-danger { background: #5c1d19; }
  .badge-success { background: #14492f; }
  .text-success, .fa-check-circle { color: #6fd3a3; } .text-danger, .fa-times { color: #ff9a92; }
}
"""

# Elements that go with all that is in them, and those that go where they lead outside. A link to
# follow (<a>) fetches nothing when the page is opened.
_DROPPED = frozenset({"script", "form", "footer"})
_FETCHING = frozenset({"link", "img", "iframe", "source", "embed"})
_OUTSIDE = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
_CSS_URL = re.compile(r"url\(\s*[\"']?(?:https?:)?//[^)]*\)", re.IGNORECASE)
_CSS_IMPORT = re.compile(r"@import\s[^;]*//[^;]*;", re.IGNORECASE)


def strip_external_references(folder: Path) -> None:
    """Rewrite the Data Docs in `folder` so that opening them contacts nobody."""
    for page in folder.rglob("*.html"):
        page.write_text(strip_outside(page.read_text(encoding="utf-8")), encoding="utf-8")
    for sheet in folder.rglob("*.css"):
        text = _CSS_IMPORT.sub("", sheet.read_text(encoding="utf-8"))
        sheet.write_text(_CSS_URL.sub("none", text), encoding="utf-8")
    for picture in (folder / "static" / "images").glob("*"):
        if picture.suffix in {".gif", ".png"}:
            picture.unlink()
    write_text(folder / "index.html", _start_page(folder))


def validation_page(folder: Path) -> Path:
    """Return the page with the results in the Data Docs in `folder`; the start page lists it."""
    return next((folder / "validations").rglob("*.html"), folder / "index.html")


def _start_page(folder: Path) -> str:
    """Return a page that links every page of results and of expectations."""
    parts = []
    for name, title in (("validations", "Validation results"), ("expectations", "Suites")):
        paths = sorted(page.relative_to(folder) for page in (folder / name).rglob("*.html"))
        links = "".join(
            f'<li><a href="{html.escape(path.as_posix())}">{html.escape(path.parts[1])}</a></li>'
            for path in paths
        )
        parts.append(f"<h2>{title}</h2><ul>{links}</ul>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Data Docs</title>'
        f"<style>{_STYLE}</style></head><body><h1>Data Docs</h1>{''.join(parts)}</body></html>"
    )


def strip_outside(page: str) -> str:
    """Return a page without scripts, forms and outside style, and with a style of its own."""
    copier = _Copier()
    copier.feed(page)
    copier.close()
    return _CSS_URL.sub("none", _CSS_IMPORT.sub("", "".join(copier.copied)))


class _Copier(HTMLParser):
    """Copies a page unchanged, except for what fetches something and what cannot work here."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.copied: list[str] = []
        self._dropping: list[str] = []

    def _copy(self, text: str | None) -> None:
        if not self._dropping:
            self.copied.append(text or "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fetched = [value or "" for name, value in attrs if name in ("src", "href")]
        if tag in _DROPPED:
            self._dropping.append(tag)
        elif tag not in _FETCHING or not any(map(_OUTSIDE.match, fetched)):
            self._copy(self.get_starttag_text())

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _DROPPED:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == "head":
            self._copy(f"<style>{_STYLE}</style>")
        if tag not in _DROPPED:
            self._copy(f"</{tag}>")
        elif tag in self._dropping:
            self._dropping.remove(tag)

    def handle_data(self, data: str) -> None:
        self._copy(data)

    def handle_entityref(self, name: str) -> None:
        self._copy(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._copy(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self._copy(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self._copy(f"<!{decl}>")
