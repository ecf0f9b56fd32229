"""A notebook in JupyterLab, and a person's actions in it."""

from __future__ import annotations

import itertools
import json
import time
import urllib.parse
import urllib.request
from pathlib import Path

import nbformat
from kernels import PATIENCE
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Page, expect

expect.set_options(timeout=1000 * PATIENCE)


_numbers = itertools.count(1)


class Notebook:
    """A notebook on a page, with a person's actions."""

    def __init__(self, page: Page, path: Path):
        self.page, self.path = page, path
        self.cells = page.locator(".jp-Notebook .jp-CodeCell")

    def type(self, code: str) -> None:
        """Types into the last cell."""
        self.cells.last.locator(".cm-content").click()
        # Not key by key: the editor would indent on its own.
        self.page.keyboard.insert_text(code)

    def run(self, code: str | None = None):
        """Runs the last cell; returns its outputs."""
        if code is not None:
            self.type(code)
        at = self.cells.count() - 1
        self.page.keyboard.press("Shift+Enter")
        expect(self.cells).to_have_count(at + 2)
        return self.cells.nth(at).locator(".jp-Cell-outputArea")

    def answer(self, code: str) -> str:
        output = self.run(code).locator(".jp-OutputArea-executeResult")
        expect(output).to_be_visible()
        return output.locator(".jp-OutputArea-output").inner_text().strip()

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.path.with_name(f"{name}.png"))

    def connect(self) -> None:
        """Waits for the kernel. Before that, the page already shows it as idle, but runs
        nothing."""
        sessions = urllib.parse.urljoin(self.page.url, "/api/sessions")
        deadline = time.monotonic() + PATIENCE
        while True:
            with urllib.request.urlopen(sessions, timeout=PATIENCE) as answer:
                kernels = [s["kernel"] for s in json.load(answer) if s["path"] == self.path.name]
            if any(k["connections"] and k["execution_state"] == "idle" for k in kernels):
                return
            assert time.monotonic() < deadline
            time.sleep(0.2)


def opened(browser, lab, view: str = "lab/tree", kernel: str = "slaf") -> Notebook:
    """Opens a notebook with one empty cell, in JupyterLab or (`view="notebooks"`) in
    Notebook 7. Its name is new: a page just closed may yet save under an old one."""
    address, folder = lab
    made = new_notebook(cells=[new_code_cell("")])
    made.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
    path = folder / f"notebook-{next(_numbers)}.ipynb"
    nbformat.write(made, path)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(f"{address}/{view}/{path.name}" + ("?reset" if view.startswith("lab") else ""))
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(1)
    return Notebook(page, path)
