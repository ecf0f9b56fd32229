"""A person uses the explorer in headless Chromium: types genes, draws a lasso, hides,
filters, annotates, compares and saves. The state in the kernel must match."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path

import nbformat
import numpy as np
import pytest
from explorer_page import WAIT, Shown, answered, explored
from lab_page import Notebook, opened
from matplotlib.path import Path as Polygon
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from slaf import read_slaf

DASHBOARD = Path(__file__).parents[1] / "notebooks" / "dashboard.ipynb"


@pytest.fixture
def dataset(pbmc_slaf, tmp_path) -> Path:
    """A copy, to be written to."""
    return Path(shutil.copytree(pbmc_slaf, tmp_path / "pbmc.slaf"))


@pytest.fixture
def notebook(browser, lab):
    notebook = opened(browser, lab)
    notebook.page.set_viewport_size({"width": 1500, "height": 1100})
    expect(notebook.page.get_by_text("SLAF | Idle").or_(ready(notebook.page))).to_be_visible()
    yield notebook
    notebook.picture("explored")
    notebook.page.close()


def ready(page: Page) -> Locator:
    return page.get_by_text("slaf | Idle")


def test_colours_and_the_legend(notebook, dataset, pbmc):
    shown = explored(notebook, dataset)
    assert shown.stages.count() == 2
    shown.title("bulk_labels")
    counts = shown.where.locator(".slaf-count").all_inner_texts()
    expected = pbmc.obs["bulk_labels"].value_counts(sort=False)
    assert [int(n) for n in counts] == expected.tolist()
    # In the colours of uns.
    rgb = shown.where.locator(".slaf-dot").first.evaluate("dot => dot.style.background")
    first = pbmc.uns["bulk_labels_colors"][0].lstrip("#")
    assert rgb == f"rgb({', '.join(str(b) for b in bytes.fromhex(first))})"

    before = shown.pixels()
    shown.type_gene("CD79A")
    shown.title("CD79A")
    expect(shown.where.locator(".slaf-note")).to_have_text("X as stored")
    assert (shown.pixels() != before).any()
    values = pbmc.obs_vector("CD79A")
    answered(
        notebook, "explorer.colouring.title, explorer.colouring.note", "('CD79A', 'X as stored')"
    )
    answered(notebook, "int(explorer.colouring.codes.argmax())", str(int(values.argmax())))
    ends = [f"{values.min():.4g}", f"{values.max():.4g}"]
    assert shown.where.locator(".slaf-ends span").all_inner_texts() == ends

    # A part of a name is completed, and what is no name is answered with one.
    shown.type_gene("CD7")
    options = shown.where.locator("datalist option")
    starting = sorted(name for name in pbmc.var_names if name.startswith("CD7"))
    expect(options).to_have_count(len(starting))
    assert [o.get_attribute("value") for o in options.all()] == starting
    shown.type_gene("CD79X")
    shown.says("There is no gene 'CD79X'. Did you mean `CD79A`")

    shown.choose("bulk_labels")
    shown.title("bulk_labels")
    dendritic = shown.where.locator(".slaf-category", has_text="Dendritic")
    dendritic.locator(".slaf-toggle").click()
    shown.says("460 shown")
    answered(
        notebook, "int(explorer.visible.sum()), explorer.hidden", "(460, frozenset({'Dendritic'}))"
    )
    everything = shown.coloured()
    dendritic.hover()
    dendritic.locator(".slaf-only").click()
    shown.says("240 shown")
    answered(notebook, "set(explorer.handle[explorer.visible].obs['bulk_labels'])", "{'Dendritic'}")
    assert 0 < shown.coloured() < everything
    shown.tab("Filter")
    shown.press("Show all cells")
    shown.says("700 shown")


def test_encircles_annotates_and_saves(notebook, dataset, pbmc):
    shown = explored(notebook, dataset)
    shown.where.get_by_role("button", name="Lasso").first.click()
    corners = shown.drag([(0.02, 0.35), (0.6, 0.4), (0.55, 0.95), (0.03, 0.9)])
    place = read_slaf(dataset).obsm["X_umap"]
    low, high = place.min(0), place.max(0)
    side = (high - low).max() * 1.04
    unit = (place - ((low + high) / 2 - side / 2)) / side
    inside = Polygon(corners).contains_points(unit)
    assert 20 < inside.sum() < 680
    shown.says(f"{inside.sum()} selected")
    answered(
        notebook, "np.flatnonzero(explorer.mask).tolist()", str(np.flatnonzero(inside).tolist())
    )
    answered(notebook, "explorer.selection.shape", f"({inside.sum()}, 765)")

    # What one selects in the other embedding is the selection of both.
    faded = shown.coloured()
    page = notebook.page
    page.keyboard.down("Shift")
    shown.drag([(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)], nth=1)
    page.keyboard.up("Shift")
    expect(shown.where.get_by_text(f"{inside.sum()} selected")).to_have_count(0)
    assert shown.coloured() != faded

    notebook.run("explorer.select(slice(0, 40))")
    shown.says("40 selected")
    shown.tab("Select")
    shown.where.get_by_placeholder("column of obs").fill("mine")
    shown.where.get_by_placeholder("what these cells are").fill("<b>odd</b>")
    shown.press("Annotate")
    shown.title("mine")
    # A name is text, whatever is in it.
    expect(shown.where.locator(".slaf-label").first).to_have_text("<b>odd</b>")
    answered(
        notebook, "(pbmc.obs['mine'] == '<b>odd</b>').to_numpy().nonzero()[0].max()", "np.int64(39)"
    )
    shown.press("Save")
    shown.says("Saved as version")
    stored = read_slaf(dataset).obs["mine"]
    assert stored[:40].eq("<b>odd</b>").all() and stored[40:].isna().all()

    shown.press("Find similar")
    shown.says("100 selected")
    answered(notebook, "int(explorer.mask[:40].sum()), int(explorer.mask.sum())", "(0, 100)")
    shown.where.get_by_placeholder("column of obs").fill("n_genes")
    shown.press("Annotate")
    shown.says("an annotation is text")

    keeps_a_picture(notebook)
    # Where widgets are shown, it is not.
    assert shown.where.locator("img").count() == 0


def keeps_a_picture(notebook: Notebook) -> None:
    """The notebook's file has one of what the explorer shows."""
    notebook.cells.last.click()
    deadline = time.monotonic() + 60
    while True:
        notebook.page.keyboard.press("Control+s")
        kept = _kept(notebook.path)
        if kept and "coloured by mine, 100 selected" in kept["text/plain"]:
            break
        assert time.monotonic() < deadline, kept and kept["text/plain"]
        time.sleep(0.5)
    picture = Image.open(io.BytesIO(b64decode(kept["image/png"])))
    assert picture.size == (1000, 430)


def _kept(path: Path) -> dict | None:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return next((o.data for o in outputs if "image/png" in o.get("data", {})), None)


def test_filters_and_compares(notebook, dataset, pbmc):
    shown = explored(notebook, dataset)
    shown.tab("Filter")
    shown.choose("percent_mito")
    expect(shown.where.locator("svg rect")).to_have_count(40)
    handle = shown.where.locator(".noUi-handle").first
    handle.focus()
    for _ in range(12):
        notebook.page.keyboard.press("ArrowRight")
    expect(shown.where.get_by_text("700 shown")).to_have_count(0)
    low = float(notebook.answer("explorer.filters['percent_mito'].low"))
    column = pbmc.obs["percent_mito"]
    assert column.min() < low and 0 < column.ge(low).sum() < 700
    answered(notebook, "int(explorer.visible.sum())", str(column.ge(low).sum()))
    shown.choose("phase")
    phases = shown.where.locator("select[multiple]").locator("visible=true")
    phases.select_option([f"S  {pbmc.obs['phase'].eq('S').sum()}"])
    both = (column.ge(low) & pbmc.obs["phase"].eq("S")).sum()
    shown.says(f"{both} shown")
    answered(notebook, "int(explorer.visible.sum())", str(both))
    shown.press("Show all cells")
    shown.says("700 shown")
    expect(shown.where.locator("svg rect")).to_have_count(0)

    b_cells = (pbmc.obs["bulk_labels"] == "CD19+ B").to_numpy()
    notebook.run("explorer.select((pbmc.obs['bulk_labels'] == 'CD19+ B').to_numpy())")
    shown.says(f"{b_cells.sum()} selected")
    shown.tab("Compare")
    shown.press("Keep as A")
    shown.choose(f"A ({b_cells.sum()} cells)")
    shown.press("Compare")
    table = shown.where.locator("table")
    expect(table.locator("tbody tr")).to_have_count(20, timeout=WAIT)
    first = table.locator("tbody tr td").first.inner_text()
    answered(notebook, "explorer.compare('A').genes['gene'][0]", f"'{first}'")
    plot = shown.where.locator("img").first
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.naturalWidth") > 200
    shown.choose("the selection")
    notebook.run("explorer.select([])")
    shown.says("0 selected")
    shown.press("Compare")
    shown.says("selection has 0 cells, and a comparison needs two or more.")


def test_webgl_and_the_processor_draw_the_same(notebook, dataset):
    shown = explored(
        notebook,
        dataset,
        "from slaf.explorer.view import View\nexplorer.show_embeddings('X_umap')\n"
        "explorer.select(slice(0, 300))\nfrom ipywidgets import VBox\n",
        "VBox([View(explorer, renderer=name).plots for name in ('canvas', 'webgl')])",
    )
    expect(shown.where.locator(".slaf-stage[data-updates]")).to_have_count(2)
    names = [stage.get_attribute("data-drawn-by") for stage in shown.stages.all()]
    assert names == ["canvas", "webgl"]
    for do in ("pass", "explorer.color_by('CD3D')", "explorer.hide('CD19+ B')"):
        if do.startswith("explorer.hide"):
            notebook.run("explorer.color_by('bulk_labels')")
        notebook.run(do)
        deadline = time.monotonic() + 30
        while True:
            # Discs of 7 pixels may lie half a pixel apart.
            ours, webgl = (shown.pixels(at).astype(int) for at in (0, 1))
            apart = (np.abs(ours - webgl).max(axis=2) > 60).mean()
            drawn = (np.ptp(ours, axis=2) > 60).mean()
            if drawn > 0.01 and apart < drawn / 3:
                break
            assert time.monotonic() < deadline, (do, apart, drawn)
            time.sleep(0.5)


def test_many_cells_are_a_picture_and_points_when_one_zooms_in(notebook, dataset):
    shown = explored(
        notebook,
        dataset,
        "from slaf.explorer.view import View\nexplorer.show_embeddings('X_umap')\n"
        "view = View(explorer, most=200)\nwidget = view.panels[0].widget\n",
        "view.widget",
    )
    answered(notebook, "len(widget.positions), len(widget.density)", f"(0, {512 * 512 * 4})")
    assert shown.coloured() > 200
    # At a cell, which is seen after all zooming.
    x, y = json.loads(notebook.answer("explorer.places['X_umap'].unit[0].tolist()"))
    shown.where.scroll_into_view_if_needed()
    box = shown.stages.first.bounding_box()
    width, height = box["width"], box["height"]
    left = box["x"] + width / 2 + (x - 0.5) * min(width, height)
    top = box["y"] + height / 2 - (y - 0.5) * min(width, height)
    notebook.page.mouse.move(left, top)
    for _ in range(4):
        notebook.page.mouse.wheel(0, -400)
    deadline = time.monotonic() + 60
    while (said := notebook.answer("len(widget.density), len(widget.positions) // 4"))[:2] != "(0":
        assert time.monotonic() < deadline, said
    n = int(said.strip("()").split(",")[1])
    assert 0 < n <= 200
    left, bottom, right, top = json.loads(notebook.answer("list(widget.window)"))
    assert 0 < right - left < 0.5 and 0 < top - bottom < 0.5
    shown.where.get_by_role("button", name="Fit").click()
    answered(notebook, "len(widget.positions)", "0")


@pytest.mark.parametrize(("kernel", "view"), [("slaf", "notebooks"), ("python3", "lab/tree")])
def test_notebook_7_and_ipykernel(browser, lab, dataset, kernel, view):
    notebook = opened(browser, lab, view, kernel)
    notebook.page.set_viewport_size({"width": 1500, "height": 1100})
    notebook.connect()
    shown = explored(notebook, dataset)
    shown.title("bulk_labels")
    shown.type_gene("CD79A")
    shown.title("CD79A")
    answered(notebook, "explorer.colouring.title", "'CD79A'")
    shown.where.get_by_role("button", name="Lasso").first.click()
    shown.drag([(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)])
    expect(shown.where.get_by_text("· 0 selected")).to_have_count(0)
    assert int(notebook.answer("int(explorer.mask.sum())")) > 500
    notebook.picture(f"explored-{kernel}")
    notebook.page.close()


def test_a_dashboard_in_voila(browser, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(DASHBOARD, tmp_path / "dashboard.ipynb")
    server = subprocess.Popen(
        ["voila", str(tmp_path / "dashboard.ipynb"), "--no-browser", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/voila/static/", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.3)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        mistakes = []
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/", timeout=120_000)
        shown = Shown(page.locator("body"))
        shown.title("bulk_labels")
        shown.type_gene("CD79A")
        shown.title("CD79A")
        shown.tab("Select")
        page.keyboard.down("Shift")
        shown.drag([(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)])
        page.keyboard.up("Shift")
        expect(page.get_by_text("· 0 selected")).to_have_count(0)
        shown.where.get_by_placeholder("what these cells are").fill("all")
        shown.press("Annotate")
        shown.title("annotation")
        assert page.locator("img").count() == 0 and not mistakes
        page.screenshot(path=tmp_path / "voila.png")
        page.close()
    finally:
        server.terminate()
        server.wait(20)
