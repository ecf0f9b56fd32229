"""Draws `quickstart.png`: runs the quickstart notebook, and takes a picture of some of its
cells in Chromium. `python docs/draw_quickstart.py` needs `install/setup --with test`."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
#: The first words of the cells that are shown.
SHOWN = ("from slaf.integrations", "## Query with SQL", "%%sql\n", "sc.pl.umap(")
WIDTH = 1000


def page() -> str:
    """The cells that are shown, with their outputs, as HTML."""
    notebook = nbformat.read(ROOT / "notebooks/quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=900).execute()
    notebook.cells = [cell for cell in notebook.cells if cell.source.startswith(SHOWN)]
    html, _ = HTMLExporter().from_notebook_node(notebook)
    return html


def draw(html: str, target: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": WIDTH, "height": 800})
        shown.set_content(html)
        shown.screenshot(path=target, full_page=True)
        browser.close()


if __name__ == "__main__":
    draw(page(), ROOT / "docs/quickstart.png")
