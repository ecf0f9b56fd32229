"""What the explorer draws: densities, data for the browser, widgets and pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
import slaf
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from slaf.explorer.density import density
from slaf.explorer.scatter import Panel, on_legend
from slaf.explorer.view import View
from slaf.ground import progress


def test_a_density_is_the_mean_colour_and_the_count_of_its_cells():
    rng = np.random.default_rng(0)
    unit = rng.random((5000, 2)).astype(np.float32)
    codes = rng.integers(0, 4, 5000).astype(np.uint8)
    palette = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], dtype=np.uint8)
    box = (0.25, 0.5, 0.75, 1.0)
    rgba = density(unit, codes, palette, side=8, box=box)
    column = ((unit[:, 0] - 0.25) * 16).astype(int)
    row = ((1.0 - unit[:, 1]) * 16).astype(int)
    inside = (unit[:, 0] >= 0.25) & (column < 8) & (unit[:, 1] > 0.5) & (row < 8)
    counts = np.zeros((8, 8))
    for y in range(8):
        for x in range(8):
            here = inside & (column == x) & (row == y)
            counts[y, x] = here.sum()
            np.testing.assert_allclose(rgba[y, x, :3], palette[codes[here]].mean(0), atol=1)
    opacity = 90 + 165 * np.log1p(counts) / np.log1p(counts.max())
    np.testing.assert_allclose(rgba[..., 3], opacity, atol=1)
    # Of numbers the colour of the mean; missing ones only where there are no others.
    here = np.full((3, 2), 0.5)
    scale = np.arange(12, dtype=np.uint8).reshape(4, 3)
    colour = density(here, np.array([0, 2, 3]), scale, side=1, numbers=True)
    assert colour[0, 0].tolist() == [*scale[1], 255]
    assert density(here[:1], np.array([3]), scale, side=1, numbers=True)[0, 0, 0] == 9
    chosen = np.array([True, False, False])
    faded = density(here, np.zeros(3, int), palette, side=1, selected=chosen)
    share = 0.2 + 0.8 / 3
    np.testing.assert_allclose(faded[0, 0, :3], palette[0] * share + 235 * (1 - share), atol=1)
    assert not density(here[:0], np.zeros(0, int), palette, side=2).any()


def wired(panel, name: str, dtype) -> np.ndarray:
    return np.frombuffer(getattr(panel.widget, name), dtype)


def test_what_the_browser_is_sent(embedded, explorer):
    explorer.color_by("cell_type")
    explorer.filter("batch", "batch1")
    explorer.select([1, 2, 3])
    panel = Panel(explorer, explorer.places["X_umap"], most=1000, renderer="auto")
    shown = embedded.obs["batch"].eq("batch1").to_numpy() & explorer.places["X_umap"].placed
    expected = shown + 2 * np.isin(np.arange(60), [1, 2, 3])
    np.testing.assert_array_equal(wired(panel, "flags", np.uint8), expected)
    np.testing.assert_array_equal(wired(panel, "codes", np.uint8), explorer.colouring.codes)
    xy = wired(panel, "positions", np.uint16).reshape(-1, 2)
    np.testing.assert_array_equal(xy, explorer.places["X_umap"].wire())
    explorer.color_by("score")
    panel.changed("colours")
    np.testing.assert_array_equal(wired(panel, "codes", np.uint8), explorer.colouring.codes)
    assert panel.widget.high and panel.widget.density == b""


def test_of_many_cells_what_is_seen_is_sent(embedded, explorer):
    explorer.filter("batch", "batch1")
    place = explorer.places["X_umap"]
    panel = Panel(explorer, place, most=10, renderer="auto")
    assert panel.widget.positions == b"" and len(panel.widget.density) == 4 * 512 * 512
    corner = np.array([0.4, 0.4, 0.5, 0.5])
    panel.widget.window = corner.tolist()
    left, bottom, right, top = panel.widget.density_box
    assert (left, right) == pytest.approx((0.375, 0.525))
    x, y = place.unit.T
    inside = (x >= left) & (x <= right) & (y >= bottom) & (y <= top) & explorer.visible
    assert 0 < inside.sum() <= 10 and panel.widget.density == b""
    xy = wired(panel, "positions", np.uint16).reshape(-1, 2)
    np.testing.assert_array_equal(xy, place.wire(inside))
    explorer.color_by("score")
    panel.changed("colours")
    np.testing.assert_array_equal(wired(panel, "codes", np.uint8), explorer.colouring.codes[inside])


def test_the_view_follows_and_says_mistakes(explorer):
    explorer.handle.obs["odd"] = ["<script>alert(1)</script>"] * 60
    view = View(explorer)
    explorer.color_by("batch")
    legend = view.legend
    assert (legend.title, legend.labels) == ("batch", ["batch1", "batch2"])
    on_legend(legend, explorer)(legend, {"type": "hide", "at": 0}, [])
    assert legend.hidden == [0] and explorer.hidden == {"batch1"}
    assert f"{explorer.visible.sum()} shown" in view.status.value
    assert "2 without a place in X_umap" in view.status.value
    view.colours.gene.value = "ENSG0000"
    assert view.colours.gene.options[0] == "ENSG00000" and explorer.colouring.title == "batch"
    view.colours.gene.value = "ENSG00003"
    assert (legend.title, legend.note) == ("ENSG00003", "X as stored")
    assert explorer.colouring.title == "ENSG00003" and legend.ends[0] == "0"
    view.colours.gene.value = "<b>"
    assert "There is no gene &#x27;&lt;b&gt;&#x27;" in view.colours.near.value
    view.run(lambda: explorer.annotate("<i>", "x"))
    assert "Nothing is selected" in view.mistake.value
    view.filters.open("odd")
    assert "<script>" not in view.filters.list.children[0].children[0].children[0].value
    view.run(lambda: explorer.filter("<i>", "x"))
    assert "&lt;i&gt;" in view.mistake.value
    explorer.filter("score", (0, None))
    slider = view.filters.rows["score"].children[2]
    assert slider.lower == 0 and slider.upper == slider.max
    slider.value = (0.25, slider.max)
    assert explorer.filters["score"].low == 0.25 and explorer.filters["score"].high is None
    explorer.filter("score", (-1e6, 1e6))
    assert view.filters.rows["score"].children[2].value == (slider.min, slider.max)
    explorer.filter("score")
    assert "score" not in view.filters.rows
    explorer.show_embeddings("X_pca", "X_umap")
    assert [panel.widget.name for panel in view.panels] == ["X_pca", "X_umap"]


@pytest.mark.parametrize("size", [(60, "cell_type"), (60, "score"), (0, "score"), (1, None)])
def test_a_picture(embedded_handle, size):
    n, key = size
    explorer = slaf.explore(embedded_handle[:n], "X_umap", "X_pca")
    explorer.color_by(key)
    explorer.select(slice(0, n // 2))
    picture = np.array(Image.open(io.BytesIO(explorer.picture())).convert("RGB")).astype(int)
    assert picture.shape == (430, 1000, 3)
    coloured = (np.ptp(picture[:, :800], axis=2) > 60).sum()
    assert (coloured > 50) == (n == 60)


def test_in_a_notebook_that_nobody_looks_at(embedded, convert):
    path = convert(embedded)
    source = f"import slaf\nslaf.explore(slaf.read_slaf({str(path)!r}))"
    notebook = new_notebook(cells=[new_code_cell(source)])
    NotebookClient(notebook, kernel_name="slaf", timeout=120).execute()
    outputs = notebook.cells[0].outputs
    kinds = [sorted(output.data) for output in outputs]
    widget = "application/vnd.jupyter.widget-view+json"
    assert kinds == [[widget, "text/plain"], [widget, "image/png", "text/plain"]]
    assert outputs[0].data["text/plain"] == "Explorer: 60 cells on X_umap"
    assert outputs[1].data[widget]["model_id"] == ""


def test_a_comparison_shows_its_progress_in_the_explorer(explorer, monkeypatch):
    monkeypatch.setattr(progress, "_DELAY", 0)
    explorer.select(range(20))
    explorer.keep("A")
    view, shown = View(explorer), []
    view.progress.observe(lambda change: shown.append(change["new"]), "value")
    view.run(lambda: explorer.compare("A"))
    assert any("genes by group: " in html for html in shown), shown
    assert shown[-1] == ""
