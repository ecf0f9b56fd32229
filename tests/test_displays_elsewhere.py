"""Displays where there is no Jupyter: exported to HTML and seen without scripts, printed,
and on GitHub, which keeps no style."""

from __future__ import annotations

import re
import warnings

import nbformat
import pytest
from conftest import rich
from display_checks import made
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from playwright.sync_api import expect
from slaf import read_slaf

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
