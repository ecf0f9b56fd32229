"""A person at JupyterLab, in headless Chromium: types, completes, inspects, interrupts,
drags a slider, looks at a table and a figure, debugs, restarts; then at Notebook 7."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lab_page import Notebook, opened
from playwright.sync_api import expect


@pytest.fixture
def notebook(browser, lab):
    notebook = opened(browser, lab)
    expect(notebook.page.get_by_text("SLAF | Idle")).to_be_visible()
    yield notebook
    notebook.picture("last")


def test_a_session(notebook, pbmc_slaf):
    types_completes_and_inspects(notebook)
    interrupts(notebook)
    drags_a_slider(notebook)
    looks_at_a_table_and_a_figure(notebook, pbmc_slaf)
    opens_the_debugger(notebook)
    restarts(notebook)


def types_completes_and_inspects(notebook: Notebook) -> None:
    page = notebook.page
    notebook.cells.last.locator(".cm-content").click()
    page.keyboard.type("6 * 7")
    output = notebook.run().locator(".jp-OutputArea-executeResult")
    expect(output).to_contain_text("42")

    notebook.run("a_rather_long_name = 'completed'")
    notebook.cells.last.locator(".cm-content").click()
    page.keyboard.type("a_rather_l")
    editor = notebook.cells.last.locator(".cm-content")
    for _ in range(60):
        # The first completion takes jedi a while, and JupyterLab gives up after a second.
        page.keyboard.press("Tab")
        page.wait_for_timeout(1000)
        if editor.inner_text().strip() != "a_rather_l":
            break
    expect(editor).to_have_text("a_rather_long_name")
    output = notebook.run().locator(".jp-OutputArea-executeResult")
    expect(output).to_contain_text("completed")

    notebook.type("zip")
    page.keyboard.press("Shift+Tab")
    expect(page.locator(".jp-Tooltip")).to_contain_text("Yield tuples until an input is exhausted")
    notebook.picture("inspected")
    page.keyboard.press("Escape")
    notebook.run()


def interrupts(notebook: Notebook) -> None:
    output = notebook.run("print('looping')\nwhile True: pass")
    # Before, there is nothing to be interrupted.
    expect(output).to_contain_text("looping")
    looping = notebook.cells.nth(notebook.cells.count() - 2)
    expect(looping.locator(".jp-InputPrompt")).to_have_text("[*]:")
    notebook.page.keyboard.press("Escape")
    notebook.page.keyboard.press("i")
    notebook.page.keyboard.press("i")
    expect(output).to_contain_text("KeyboardInterrupt")
    assert notebook.answer("1 + 1") == "2"


def drags_a_slider(notebook: Notebook) -> None:
    page = notebook.page
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


def looks_at_a_table_and_a_figure(notebook: Notebook, dataset: Path) -> None:
    looks_at_a_table(notebook, dataset)
    output = notebook.run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);")
    expect(output.locator("img")).to_be_visible()
    assert output.locator("img").evaluate("image => image.naturalWidth") > 100
    notebook.picture("session")


def looks_at_a_table(notebook: Notebook, dataset: Path) -> None:
    notebook.run(f"from slaf import read_slaf\npbmc = read_slaf({str(dataset)!r})")
    output = notebook.run("%%sql\nSELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain")
    expect(output.locator("table tbody tr")).to_have_count(11)


def opens_the_debugger(notebook: Notebook) -> None:
    page = notebook.page
    page.get_by_title(re.compile("Enable Debugger")).click()
    variables = page.locator(".jp-DebuggerVariables")
    expect(variables).to_contain_text("a_rather_long_name")
    notebook.picture("debugger")
    page.get_by_title(re.compile("Disable Debugger")).click()


def restarts(notebook: Notebook) -> None:
    page = notebook.page
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
    notebook = opened(browser, lab, "notebooks")
    page = notebook.page
    ready = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    expect(ready).to_be_attached()
    notebook.connect()
    assert notebook.answer("6 * 7") == "42"
    looks_at_a_table(notebook, pbmc_slaf)
    output = notebook.run("name = input('who? ')\nprint('you are', name)")
    page.locator(".jp-Stdin-input").fill("somebody")
    page.keyboard.press("Enter")
    expect(output).to_contain_text("you are somebody")
    interrupts(notebook)
    notebook.picture("notebook7")
