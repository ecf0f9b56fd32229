"""A person uses a table in JupyterLab: sorts, filters, brushes, pages, selects. The state
in the kernel must match."""

from __future__ import annotations

import json

import pytest
from lab_page import Notebook, opened
from playwright.sync_api import Locator, expect

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
    notebook = opened(browser, lab, kernel=request.param)
    foreign = []
    address = lab[0]
    notebook.page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith((address, "data:", "blob:")) else foreign.append(asked.url)
        ),
    )
    notebook.connect()
    yield notebook
    notebook.picture(f"table-{request.param}")
    # The table needs no other server.
    assert foreign == []
    notebook.page.close()


class Table:
    """A table on a page."""

    def __init__(self, output: Locator):
        self.output, self.page = output, output.page
        self.rows = output.locator(".slaf-rows")

    def head(self, name: str) -> Locator:
        return self.output.locator(f"th[data-column={json.dumps(name)}]")

    def column(self, at: int) -> Locator:
        return self.output.locator(f"tbody tr td:nth-child({at + 2})")


def test_a_table(notebook):
    table = Table(notebook.run(CODE))
    expect(table.rows).to_have_text("1,000 rows", timeout=60_000)
    # The first rows are for places without widgets.
    expect(table.output.get_by_text("The first 20 of 1,000 rows")).to_be_hidden()
    cells = notebook.cells.count()
    sorts_by_a_click(table)
    types_a_filter(table)
    expect(notebook.cells).to_have_count(cells)
    left = brushes_a_histogram(table)
    turns_the_page_and_selects(table, left)
    asks_the_kernel(notebook, table, left)
    is_told_a_mistake(notebook, table)
    presses_keys(table)
    # The four cells that the steps above ran: pressing space ran none.
    expect(notebook.cells).to_have_count(cells + 4)
    hides_a_column(table)
    runs_sql(notebook)


def sorts_by_a_click(table: Table) -> None:
    """And turns the order by another."""
    number = table.head("n_genes")
    expect(number).to_have_attribute("aria-sort", "none")
    number.locator(".slaf-sort").click()
    expect(number).to_have_attribute("aria-sort", "ascending")
    expect(table.column(0).first).to_have_text("0")
    number.locator(".slaf-sort").click()
    expect(number).to_have_attribute("aria-sort", "descending")
    expect(table.column(0).first).to_have_text("999")


def types_a_filter(table: Table) -> None:
    """Below a name that is text, and no markup."""
    kind = table.head("<b>type</b>")
    expect(kind.locator(".slaf-name")).to_have_text("<b>type</b>")
    kind.locator("input").press_sequentially("t cell")
    expect(table.rows).to_have_text("334 of 1,000 rows")
    expect(kind.locator(".slaf-note")).to_have_text("null: 0 of 333")


def brushes_a_histogram(table: Table) -> list[int]:
    """From the tenth to the thirteenth of 20 bins: the numbers that are left."""
    number = table.head("n_genes")
    expect(number.locator(".slaf-bin")).to_have_count(20)
    # Its picture is drawn anew now and then.
    box = number.locator(".slaf-picture").bounding_box()
    mouse = table.page.mouse
    mouse.move(box["x"] + box["width"] * 0.475, box["y"] + 20)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.625, box["y"] + 20, steps=4)
    mouse.up()
    left = [n for n in ((i * 37) % 1000 for i in range(0, 1000, 3)) if 450 <= n < 650]
    expect(table.rows).to_have_text(f"{len(left)} of 1,000 rows")
    expect(number.locator("input")).to_have_value(">= 450 < 650")
    return sorted(left, reverse=True)


def turns_the_page_and_selects(table: Table, left: list[int]) -> None:
    output = table.output
    expect(output.get_by_text("Page 1 of 2")).to_be_visible()
    output.get_by_role("button", name="Next page").click()
    expect(output.get_by_text("Page 2 of 2")).to_be_visible()
    expect(table.column(0).first).to_have_text(str(left[50]))
    expect(output.get_by_role("button", name="Next page")).to_be_disabled()
    for at in (51, 53):
        output.get_by_label(f"Select row {at}", exact=True).check()
    expect(output.locator(".slaf-ticked")).to_have_text("2 selected")


def asks_the_kernel(notebook: Notebook, table: Table, left: list[int]) -> None:
    """Which holds what is on screen."""
    sql = (
        'SELECT *\nFROM "df"\nWHERE "<b>type</b>" ILIKE \'%t cell%\' '
        'AND "n_genes" >= 450 AND "n_genes" < 650\nORDER BY "n_genes" DESC NULLS LAST'
    )
    expect(table.output.locator(".slaf-code")).to_have_text(sql)
    assert notebook.answer("t.sql") == repr(sql)
    assert notebook.answer(f"t.frame()['n_genes'].to_list() == {left!r}") == "True"
    assert notebook.answer("t.selection['n_genes'].to_list()") == repr(left[50:53:2])


def is_told_a_mistake(notebook: Notebook, table: Table) -> None:
    """In a sentence, which goes when the kernel sets other filters."""
    number, alert = table.head("n_genes"), table.output.get_by_role("alert")
    number.locator("input").fill("many")
    expect(alert).to_contain_text("`many` is no number")
    notebook.run("t.filter(); t.sort('id')")
    expect(table.rows).to_have_text("1,000 rows")
    expect(alert).to_be_hidden()
    expect(table.head("id")).to_have_attribute("aria-sort", "ascending")
    expect(number.locator("input")).to_have_value("")


def presses_keys(table: Table) -> None:
    """Sorts and filters by the keyboard alone."""
    number = table.head("n_genes")
    number.locator(".slaf-sort").focus()
    table.page.keyboard.press("Enter")
    expect(number).to_have_attribute("aria-sort", "ascending")
    button = table.head("<b>type</b>").get_by_role("button", name="B cells")
    button.focus()
    table.page.keyboard.press("Space")
    expect(table.rows).to_have_text("333 of 1,000 rows")
    expect(button).to_have_attribute("aria-pressed", "true")


def hides_a_column(table: Table) -> None:
    table.output.get_by_text("Columns", exact=True).click()
    table.output.locator(".slaf-choices").get_by_text("id", exact=True).click()
    expect(table.head("id")).to_have_count(0)


def runs_sql(notebook: Notebook) -> None:
    """Whose answer is a table, too."""
    notebook.run("%load_ext slaf")
    table = Table(
        notebook.run(
            "%%sql --engine datafusion --table u <<\nSELECT id, n_genes FROM df WHERE n_genes < 500"
        )
    )
    expect(table.rows).to_have_text("500 rows", timeout=60_000)
    assert notebook.answer("len(u.frame())") == "500"
