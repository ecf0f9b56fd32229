"""Checks of a display: it must be equal to its file in `snapshots`, well-formed, short
and without scripts. `SLAF_SNAPSHOTS=write` writes the files again."""

from __future__ import annotations

import contextlib
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import anndata as ad
from slaf import SLAFArray
from slaf.data import SLAFConverter

SNAPSHOTS = Path(__file__).parent / "snapshots"
LIMIT = 50_000


def made(folder: Path, adata: ad.AnnData, name: str) -> str:
    """Writes the dataset of `adata` and returns its path."""
    SLAFConverter().convert_anndata(adata, folder / name)
    return str(folder / name)


def info_of(array: SLAFArray) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        array.info()
    return said.getvalue()


def unchanging(html: str, *paths: str) -> str:
    """HTML without its style, and without the parts that change from run to run."""
    html = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    for path in paths:
        html = html.replace(path, "PATH")
    html = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "DATE", html)
    return re.sub(r"\d+ ms", "N ms", html)


def same_as_kept(name: str, html: str, text: str, *paths: str) -> None:
    checked(html)
    # One tag per line, so that differences are easy to see.
    drawn = unchanging(html, *paths).replace("><", ">\n<")
    drawn = f"{drawn}\n\n{unchanging(text, *paths)}\n"
    kept = SNAPSHOTS / f"{name}.html"
    if os.environ.get("SLAF_SNAPSHOTS") == "write":
        kept.write_text(drawn)
    assert drawn == kept.read_text()


class Markup(HTMLParser):
    """Reads the tags of a display, which must be closed in order, and the texts of its
    table cells."""

    KNOWN = frozenset(
        "div style b span table thead tbody tr th td br details summary svg path rect title code pre".split()
    )

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert tag in self.KNOWN, tag
        assert not any(name.startswith("on") or name == "href" for name, _ in attrs)
        if tag != "br":
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.cells and self.open[-1] not in ("style", "title"):
            self.cells[-1] += data


def checked(html: str) -> Markup:
    """Checks that HTML is well-formed, short, and without scripts and invisible
    characters."""
    markup = Markup()
    markup.feed(html)
    markup.close()
    assert markup.open == []
    assert len(html.encode()) <= LIMIT
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    return markup
