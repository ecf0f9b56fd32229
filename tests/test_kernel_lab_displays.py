"""Displays in JupyterLab, in light and dark themes: they unfold, their text has contrast,
and names in the data have no effect."""

from __future__ import annotations

import pytest
from lab_page import opened
from playwright.sync_api import expect

CODE = """
import slaf, warnings
from slaf.sql.session import session_of
warnings.simplefilter("ignore")
h = slaf.read_slaf({path!r})
h.obs["<img src=x onerror=window.hacked=1>"] = "<script>window.hacked = 1</script>"
h
"""

#: The least contrast (WCAG's ratio) of a text with what is behind it, of all texts.
CONTRAST = """output => {
    const numbers = css => css.match(/[\\d.]+/g).map(Number);
    const over = (above, below) => {
        const alpha = above.length > 3 ? above[3] : 1;
        return [0, 1, 2].map(i => alpha * above[i] + (1 - alpha) * below[i]);
    };
    const light = colour => {
        const [r, g, b] = colour.map(c => c / 255).map(
            c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        const own = element === null ? [255, 255, 255]
            : numbers(getComputedStyle(element).backgroundColor);
        return own.length > 3 && own[3] < 1 ? over(own, behind(element.parentElement)) : own;
    };
    let least = 99, text = "";
    for (const element of output.querySelectorAll(".slaf b, .slaf th, .slaf td, .slaf span")) {
        if (!element.checkVisibility() || element.textContent.trim() === "") continue;
        const below = behind(element);
        const [a, b] = [over(numbers(getComputedStyle(element).color), below), below].map(light);
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < least) [least, text] = [ratio, element.textContent];
    }
    return [least, text];
}"""


@pytest.fixture
def notebook(browser, lab):
    notebook = opened(browser, lab)
    notebook.connect()
    yield notebook
    notebook.page.close()


def dark(page) -> None:
    page.get_by_role("menuitem", name="Settings").click()
    page.get_by_text("Theme", exact=True).hover()
    page.get_by_text("JupyterLab Dark", exact=True).click()
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")


def test_displays_in_both_themes(notebook, pbmc_slaf):
    page = notebook.page
    outputs = [
        notebook.run(CODE.format(path=str(pbmc_slaf))),
        notebook.run("h.slaf"),
        notebook.run("h.raw.X[:50].compute()"),
        notebook.run("h.obs"),
        notebook.run("%sql --on h SELECT cell_id, louvain, n_counts FROM cells"),
    ]
    for output in outputs:
        expect(output.locator(".slaf")).to_be_visible(timeout=60_000)

    # Folded, and unfolded by a click or the keyboard.
    params = outputs[0].get_by_text("n_neighbors")
    expect(params).to_be_hidden()
    outputs[0].locator("summary", has_text="uns").first.click()
    outputs[0].locator("summary", has_text="neighbors").first.focus()
    page.keyboard.press("Enter")
    outputs[0].locator("details[open] details[open] summary", has_text="params").first.click()
    expect(params).to_be_visible()

    # Names of columns are texts.
    name = "<img src=x onerror=window.hacked=1>"
    expect(outputs[0].get_by_role("rowheader", name=name, exact=True)).to_be_visible()
    assert page.evaluate("window.hacked") is None

    for theme in ("light", "dark"):
        if theme == "dark":
            dark(page)
        for output in outputs:
            least, text = output.evaluate(CONTRAST)
            assert 4.5 <= least <= 21, (theme, least, text)
        notebook.picture(f"displays-{theme}")
