"""A person at a table in JupyterLab: sorts, filters, brushes, pages, selects; and what
the kernel then holds."""

from __future__ import annotations

import json

import pytest
from lab_page import is_connected, opened
from playwright.sync_api import expect

CODE = """
import polars as pl, slaf
df = pl.DataFrame({
    "n_genes": [(i * 37) % 1000 for i in range(1000)],
    "<b>type</b>": [["T cells", "B cells", None][i % 3] for i in range(1000)],
    "id": [f"cell-{i}" for i in range(1000)],
})
t = slaf.table(df)
t
"""


@pytest.fixture(params=["slaf", "python3"])
def notebook(request, browser, lab):
    """In our kernel, and in ipykernel."""
    name = f"table-{request.param}.ipynb"
    notebook = opened(browser, lab, f"lab/tree/{name}?reset", request.param)
    foreign = []
    address = lab[0]
    notebook.page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith((address, "data:", "blob:")) else foreign.append(asked.url)
        ),
    )
    is_connected(address, name)
    yield notebook
    notebook.picture(f"table-{request.param}")
    # The table needs no other server.
    assert foreign == []
    notebook.page.close()


def test_a_table(notebook):
    page = notebook.page
    output = notebook.run(CODE)
    rows = output.locator(".slaf-rows")
    expect(rows).to_have_text("1,000 rows", timeout=60_000)
    head = lambda name: output.locator(f"th[data-column={json.dumps(name)}]")  # noqa: E731
    column = lambda at: output.locator(f"tbody tr td:nth-child({at + 2})")  # noqa: E731

    # Sorts by a click, and turns the order by another.
    number = head("n_genes")
    expect(number).to_have_attribute("aria-sort", "none")
    number.locator(".slaf-sort").click()
    expect(number).to_have_attribute("aria-sort", "ascending")
    expect(column(0).first).to_have_text("0")
    number.locator(".slaf-sort").click()
    expect(number).to_have_attribute("aria-sort", "descending")
    expect(column(0).first).to_have_text("999")

    # Types a filter, whose name is no markup.
    kind = head("<b>type</b>")
    expect(kind.locator(".slaf-name")).to_have_text("<b>type</b>")
    cells = notebook.cells.count()
    kind.locator("input").press_sequentially("t cell")
    expect(rows).to_have_text("334 of 1,000 rows")
    expect(kind.locator(".slaf-note")).to_have_text("null: 0 of 333")

    expect(notebook.cells).to_have_count(cells)

    # Brushes the histogram from the tenth to the thirteenth of 20 bins.
    expect(number.locator(".slaf-bin")).to_have_count(20)
    # Its picture is drawn anew now and then.
    box = number.locator(".slaf-picture").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.475, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.625, box["y"] + 20, steps=4)
    page.mouse.up()
    left = [n for n in ((i * 37) % 1000 for i in range(0, 1000, 3)) if 450 <= n < 650]
    expect(rows).to_have_text(f"{len(left)} of 1,000 rows")
    expect(number.locator("input")).to_have_value(">= 450 < 650")

    # Goes to the next page, and selects two rows.
    place = output.get_by_text("Page 1 of 2")
    expect(place).to_be_visible()
    output.get_by_role("button", name="Next page").click()
    expect(output.get_by_text("Page 2 of 2")).to_be_visible()
    expect(column(0).first).to_have_text(str(sorted(left)[-51]))
    expect(output.get_by_role("button", name="Next page")).to_be_disabled()
    for at in (51, 53):
        output.get_by_label(f"Select row {at}", exact=True).check()
    expect(output.locator(".slaf-ticked")).to_have_text("2 selected")

    # The kernel holds what is on screen.
    sql = (
        'SELECT *\nFROM "df"\nWHERE "<b>type</b>" ILIKE \'%t cell%\' '
        'AND "n_genes" >= 450 AND "n_genes" < 650\nORDER BY "n_genes" DESC NULLS LAST'
    )
    expect(output.locator(".slaf-code")).to_have_text(sql)
    assert notebook.answer("t.sql") == repr(sql)
    held = notebook.answer("t.frame()['n_genes'].to_list() == " + repr(sorted(left)[::-1]))
    assert held == "True"
    assert notebook.answer("t.selection['n_genes'].to_list()") == repr(sorted(left)[::-1][50:53:2])

    # What is not understood is a sentence; what the kernel sets is shown.
    number.locator("input").fill("many")
    expect(output.get_by_role("alert")).to_contain_text("`many` is no number")
    notebook.run("t.filter(); t.sort('id')")
    expect(rows).to_have_text("1,000 rows")
    expect(output.get_by_role("alert")).to_be_hidden()
    expect(head("id")).to_have_attribute("aria-sort", "ascending")
    expect(number.locator("input")).to_have_value("")

    # By the keyboard alone.
    number.locator(".slaf-sort").focus()
    page.keyboard.press("Enter")
    expect(number).to_have_attribute("aria-sort", "ascending")
    button = kind.get_by_role("button", name="B cells")
    button.focus()
    page.keyboard.press("Space")
    expect(notebook.cells).to_have_count(cells + 4)
    expect(rows).to_have_text("333 of 1,000 rows")
    expect(button).to_have_attribute("aria-pressed", "true")

    # Shows no column that is not chosen.
    output.get_by_text("Columns", exact=True).click()
    output.locator(".slaf-choices").get_by_text("id", exact=True).click()
    expect(head("id")).to_have_count(0)

    # A cell of SQL is a table, too.
    notebook.run("%load_ext slaf")
    output = notebook.run("%%sql --table u <<\nSELECT id, n_genes FROM df WHERE n_genes < 500")
    expect(output.locator(".slaf-rows")).to_have_text("500 rows", timeout=60_000)
    assert notebook.answer("len(u.frame())") == "500"
