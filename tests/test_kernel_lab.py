"""A person at JupyterLab, in headless Chromium: types, completes, inspects,
interrupts, drags a slider, looks at a table and a figure, debugs, restarts; and
at Notebook 7."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from kernels import private_ipython  # noqa: F401
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Page, expect, sync_playwright

expect.set_options(timeout=30_000)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def lab(private_ipython, tmp_path_factory):
    """A server and the folder that it shows."""
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *(f"--port={port}", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"),
        ],
        env=os.environ
        | {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    news = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            break
        except OSError:
            assert time.monotonic() < deadline and server.poll() is None
            time.sleep(0.2)
    yield address, folder
    server.terminate()
    server.wait(20)


class Notebook:
    """What a person does in a notebook, and sees."""

    def __init__(self, page: Page, folder: Path):
        self.page, self.folder = page, folder
        self.cells = page.locator(".jp-Notebook .jp-CodeCell")

    def type(self, code: str) -> None:
        """Into the last cell."""
        self.cells.last.locator(".cm-content").click()
        # Not key by key: the editor would indent on its own.
        self.page.keyboard.insert_text(code)

    def run(self, code: str | None = None):
        """Runs the last cell; gives its outputs."""
        if code is not None:
            self.type(code)
        at = self.cells.count() - 1
        self.page.keyboard.press("Shift+Enter")
        expect(self.cells).to_have_count(at + 2)
        return self.cells.nth(at).locator(".jp-Cell-outputArea")

    def answer(self, code: str) -> str:
        output = self.run(code).locator(".jp-OutputArea-executeResult")
        expect(output).to_be_visible(timeout=30_000)
        return output.locator(".jp-OutputArea-output").inner_text().strip()

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.folder / f"{name}.png")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def opened(browser, lab, path: str, kernel: str = "slaf") -> Notebook:
    """A notebook of one empty cell, at a path of the server's."""
    address, folder = lab
    made = new_notebook(cells=[new_code_cell("")])
    made.metadata["kernelspec"] = {"name": kernel, "display_name": "SLAF", "language": "python"}
    nbformat.write(made, folder / Path(path).name.partition("?")[0])
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(30_000)
    page.goto(f"{address}/{path}")
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(1, timeout=60_000)
    return Notebook(page, folder)


def is_connected(address: str, name: str) -> None:
    """Waits for a notebook's kernel: before, its page calls it idle, and runs nothing."""
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(f"{address}/api/sessions", timeout=5) as answer:
            kernels = [s["kernel"] for s in json.load(answer) if s["path"].endswith(name)]
        if any(k["connections"] and k["execution_state"] == "idle" for k in kernels):
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def notebook(browser, lab):
    notebook = opened(browser, lab, "lab/tree/session.ipynb?reset")
    expect(notebook.page.get_by_text("SLAF | Idle")).to_be_visible()
    yield notebook
    notebook.picture("last")


def test_a_session(notebook, pbmc_slaf):
    page = notebook.page

    # Types and runs.
    notebook.cells.last.locator(".cm-content").click()
    page.keyboard.type("6 * 7")
    output = notebook.run().locator(".jp-OutputArea-executeResult")
    expect(output).to_contain_text("42")

    # Completes.
    notebook.run("a_rather_long_name = 'completed'")
    notebook.cells.last.locator(".cm-content").click()
    page.keyboard.type("a_rather_l")
    editor = notebook.cells.last.locator(".cm-content")
    for _ in range(10):
        # The first completion takes jedi a while, and JupyterLab gives up after a second.
        page.keyboard.press("Tab")
        page.wait_for_timeout(1000)
        if editor.inner_text().strip() != "a_rather_l":
            break
    expect(editor).to_have_text("a_rather_long_name")
    output = notebook.run().locator(".jp-OutputArea-executeResult")
    expect(output).to_contain_text("completed")

    # Inspects.
    notebook.type("zip")
    page.keyboard.press("Shift+Tab")
    expect(page.locator(".jp-Tooltip")).to_contain_text("Yield tuples until an input is exhausted")
    notebook.picture("inspected")
    page.keyboard.press("Escape")
    notebook.run()

    # Interrupts.
    output = notebook.run("while True: pass")
    looping = notebook.cells.nth(notebook.cells.count() - 2)
    expect(looping.locator(".jp-InputPrompt")).to_have_text("[*]:")
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    page.keyboard.press("i")
    expect(output).to_contain_text("KeyboardInterrupt")
    assert notebook.answer("1 + 1") == "2"

    # Drags a slider.
    output = notebook.run(
        "import ipywidgets\nslider = ipywidgets.IntSlider(value=0, max=100)\n"
        "told = ipywidgets.Label()\n"
        "slider.observe(lambda c: setattr(told, 'value', f'now {c.new}'), 'value')\n"
        "ipywidgets.VBox([slider, told])"
    )
    handle = output.locator(".noUi-handle")
    expect(handle).to_be_visible()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    expect(output.locator(".widget-label").last).to_have_text(re.compile(r"now [1-9]"))
    assert 0 < int(notebook.answer("slider.value")) <= 100

    # Looks at the answer of a SQL cell, and at a figure.
    notebook.run(f"from slaf import read_slaf\npbmc = read_slaf({str(pbmc_slaf)!r})")
    output = notebook.run("%%sql\nSELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain")
    expect(output.locator("table tbody tr")).to_have_count(11)
    output = notebook.run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);")
    expect(output.locator("img")).to_be_visible()
    assert output.locator("img").evaluate("image => image.naturalWidth") > 100
    notebook.picture("session")

    # Opens the debugger, which shows the variables.
    page.get_by_title(re.compile("Enable Debugger")).click()
    variables = page.locator(".jp-DebuggerVariables")
    expect(variables).to_contain_text("a_rather_long_name")
    notebook.picture("debugger")
    page.get_by_title(re.compile("Disable Debugger")).click()

    # Restarts.
    notebook.cells.last.click()
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    page.keyboard.press("0")
    page.locator(".jp-Dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    expect(page.locator(".jp-Dialog")).to_have_count(0)
    notebook.type("'a_rather_long_name' in globals()")
    output = notebook.run().locator(".jp-OutputArea-executeResult")
    expect(output).to_contain_text("False")
    expect(notebook.cells.nth(notebook.cells.count() - 2).locator(".jp-InputPrompt")).to_have_text(
        "[1]:"
    )


def test_notebook_7(browser, lab, pbmc_slaf):
    notebook = opened(browser, lab, "notebooks/classic.ipynb")
    page = notebook.page
    ready = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    expect(ready).to_be_attached()
    is_connected(lab[0], "classic.ipynb")
    assert notebook.answer("6 * 7") == "42"
    notebook.run(f"from slaf import read_slaf\npbmc = read_slaf({str(pbmc_slaf)!r})")
    output = notebook.run("%%sql\nSELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain")
    expect(output.locator("table tbody tr")).to_have_count(11)
    output = notebook.run("name = input('who? ')\nprint('you are', name)")
    page.locator(".jp-Stdin-input").fill("somebody")
    page.keyboard.press("Enter")
    expect(output).to_contain_text("you are somebody")
    output = notebook.run("while True: pass")
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    page.keyboard.press("i")
    expect(output).to_contain_text("KeyboardInterrupt")
    assert notebook.answer("1 + 1") == "2"
    notebook.picture("notebook7")
