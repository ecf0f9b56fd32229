"""Displays where there is no Jupyter: exported to HTML and seen without scripts, printed,
and on GitHub, which keeps no style."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import nbformat
import pytest
from conftest import rich
from display_checks import made
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from playwright.sync_api import expect
from slaf import read_slaf, table_view

NAME = "<script>document.body.remove()</script>"


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> dict[str, str]:
    adata = rich()
    adata.obs[NAME] = "<img src=x onerror=document.body.remove()>" + "n" * 300
    for at in range(20):
        adata.obs[f"{at:02} " + "wide" * 8] = at / 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handle = read_slaf(made(tmp_path_factory.mktemp("x"), adata, "x.slaf"))
    return {"handle": handle._repr_html_(), "obs": handle.obs._repr_html_()}


@pytest.fixture(scope="module")
def exported(shown, tmp_path_factory) -> str:
    outputs = [new_output("display_data", data={"text/html": html}) for html in shown.values()]
    notebook = new_notebook(cells=[new_code_cell("handle", outputs=outputs)])
    nbformat.validate(notebook)
    target = tmp_path_factory.mktemp("html") / "notebook.html"
    target.write_text(HTMLExporter().from_notebook_node(notebook)[0])
    return target.as_uri()


@pytest.fixture
def page(browser, exported):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 900, "height": 900})
    page = context.new_page()
    page.goto(exported)
    yield page
    context.close()


def test_an_export_folds_without_scripts(page):
    expect(page.get_by_role("rowheader", name=NAME, exact=True)).to_be_visible()
    inside = page.get_by_text("near", exact=True)
    expect(inside).to_be_hidden()
    page.locator("summary", has_text="obsp").first.click()
    expect(inside).to_be_visible()


def test_print_unfolds_all_and_cuts_nothing(page):
    page.emulate_media(media="print")
    expect(page.get_by_text("near", exact=True)).to_be_visible()
    for display in page.locator(".slaf").all():
        box = display.bounding_box()
        for table in display.locator("table").all():
            inner = table.bounding_box()
            assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 1


def test_what_github_leaves_can_be_read(browser, shown):
    page = browser.new_page()
    for html in shown.values():
        # As it does: no styles, classes, ids or SVG.
        html = re.sub(r"<(style|svg).*?</\1>", "", html, flags=re.DOTALL)
        page.set_content(re.sub(r' (style|class|id|role|aria-\w+)="[^"]*"', "", html))
        text = page.locator("body").inner_text()
        assert NAME in text and "{" not in text
        assert page.locator("tr").first.is_visible()
    page.close()


# Interactive tables ------------------------------------------------------------------

_WIDGETS = "application/vnd.jupyter.widget-state+json"


@pytest.fixture(scope="module", params=["slaf", "python3"])
def table(request, private_ipython):
    """A notebook with an interactive table, and the state of its widget."""
    code = (
        "import polars as pl, slaf\n"
        "t = slaf.table(pl.DataFrame({'<b>name</b>': [f'<i>{n}' for n in range(30)]}))\n"
        "t.filter({'<b>name</b>': '!= <i>1'})\nt"
    )
    notebook = new_notebook(cells=[new_code_cell(code)])
    NotebookClient(notebook, kernel_name=request.param).execute()
    nbformat.validate(notebook)
    assert notebook.metadata.widgets[_WIDGETS]["state"]
    return notebook


@pytest.mark.parametrize("has_state", [True, False], ids=["state", "no-state"])
def test_an_export_shows_the_first_rows_of_a_table_without_scripts(
    browser, table, has_state, tmp_path
):
    kept = table if has_state else nbformat.from_dict({**table, "metadata": {}})
    html = HTMLExporter().from_notebook_node(kept)[0]
    model = table.cells[0].outputs[0].data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert (model in html) == has_state
    target = tmp_path / "table.html"
    target.write_text(html)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(target.as_uri())
    outputs = page.locator(".jp-OutputArea")
    expect(outputs.get_by_text("The first 20 of 29 rows")).to_have_count(1)
    expect(outputs.get_by_role("columnheader", name="<b>name</b>")).to_be_visible()
    cells = outputs.locator("td", has_text="<i>")
    assert cells.all_inner_texts() == [f"<i>{n}" for n in range(21) if n != 1]
    context.close()


def test_where_widgets_do_not_run_a_table_is_shown_once(table):
    """As on GitHub, which knows HTML and text."""
    data = [output.data for output in table.cells[0].outputs]
    assert [[kind for kind in ("text/html", "text/plain") if kind in d] for d in data] == [
        ["text/plain"],
        ["text/html", "text/plain"],
    ]


def test_a_table_that_no_kernel_answers_is_hidden(browser):
    """Its frame has nothing to show in an export whose scripts run."""
    page = browser.new_page()
    hidden = page.evaluate(
        """async (code) => {
            const told = {};
            const model = { get: () => [], on: (_, hear) => (told.hear = hear), send() {} };
            const module = await import("data:text/javascript," + encodeURIComponent(code));
            module.default.render({ model, el: document.body });
            const before = document.body.hidden;
            told.hear({ type: "error", message: "x" });
            return [before, document.body.hidden];
        }""",
        (Path(table_view.__file__).parent / "table.js").read_text(),
    )
    assert hidden == [True, False]
    page.close()
