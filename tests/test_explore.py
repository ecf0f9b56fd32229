"""The explorer without a screen: what it colours, shows, selects, compares and
stores, against numpy, pandas and scanpy on the same data."""

from __future__ import annotations

import io

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import slaf
from conftest import make_counts
from matplotlib.path import Path as Polygon
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from slaf import SlafError, read_slaf
from slaf.explorer import Explorer
from slaf.explorer.density import density
from slaf.explorer.scatter import Panel, on_legend
from slaf.explorer.view import View
from slaf.scanpy import pp

matplotlib.use("Agg")


def placed(counts: ad.AnnData, seed: int = 0) -> ad.AnnData:
    """With a UMAP, of which two cells have no place, and a wider obsm."""
    rng = np.random.default_rng(seed)
    counts.obsm["X_umap"] = rng.normal(size=(counts.n_obs, 2)).astype(np.float32)
    counts.obsm["X_umap"][[4, 9], [0, 1]] = np.nan, np.inf
    counts.obsm["X_pca"] = rng.normal(size=(counts.n_obs, 5)).astype(np.float32)
    return counts


@pytest.fixture
def adata(counts) -> ad.AnnData:
    return placed(counts)


@pytest.fixture
def handle(adata, convert):
    return read_slaf(convert(adata))


@pytest.fixture
def explorer(handle) -> Explorer:
    return slaf.explore(handle)


def scaled(values: np.ndarray) -> np.ndarray:
    """The nearest of 255 steps from the least to the greatest; 255 where missing."""
    low, high = np.nanmin(values), np.nanmax(values)
    steps = np.rint((values - low) / (high - low) * 254)
    return np.where(np.isnan(values), 255, steps).astype(int)


# Places -----------------------------------------------------------------------


def test_cells_lie_where_the_embedding_says(adata, explorer):
    assert list(explorer.places) == ["X_umap"]
    place = explorer.places["X_umap"]
    np.testing.assert_array_equal(place.placed, np.isfinite(adata.obsm["X_umap"]).all(1))
    back = place.unit * place.side + place.corner
    there = place.placed
    np.testing.assert_allclose(back[there], adata.obsm["X_umap"][there], atol=1e-5)
    assert place.unit[there].min() > 0 and place.unit[there].max() < 1
    wire = place.wire()
    assert wire.dtype == np.uint16 and wire.shape == (60, 2)
    np.testing.assert_allclose(wire[there] / 65535, place.unit[there], atol=1 / 65535)


def test_several_embeddings_and_names_that_are_not_there(handle):
    assert list(slaf.explore(handle, "X_pca", "X_umap").places) == ["X_pca", "X_umap"]
    with pytest.raises(KeyError, match=r"no obsm\['X_unap'\]. Did you mean `X_umap`"):
        slaf.explore(handle, "X_unap")
    handle.obsm["line"] = np.arange(60.0)[:, None]
    with pytest.raises(SlafError, match="has one column, and a position needs two"):
        slaf.explore(handle, "line")


def test_a_frame_is_an_embedding(handle, adata):
    frame = pd.DataFrame(adata.obsm["X_pca"], index=adata.obs_names, columns=list("abcde"))
    handle.obsm["frame"] = frame
    place = slaf.explore(handle, "frame").places["frame"]
    np.testing.assert_allclose(
        place.unit * place.side + place.corner, frame.iloc[:, :2].to_numpy(), atol=1e-5
    )


def test_without_positions(counts, convert):
    with pytest.raises(SlafError, match="no obsm of two columns or more"):
        slaf.explore(read_slaf(convert(counts)))


@pytest.mark.parametrize("n", [0, 1])
def test_no_cell_and_one(handle, n):
    explorer = slaf.explore(handle[:n])
    explorer.color_by("cell_type")
    explorer.color_by("total_counts")
    explorer.color_by(gene=0)
    explorer.filter("total_counts", (0, None))
    assert len(explorer.colouring.codes) == n == explorer.visible.sum()
    explorer.lasso([(-9, -9), (9, -9), (9, 9), (-9, 9)])
    assert explorer.mask.sum() == n
    assert explorer.selection.shape == (n, 40)
    with pytest.raises(SlafError, match="a comparison needs two or more"):
        explorer.compare()


# Colours ----------------------------------------------------------------------


def test_a_gene(adata, explorer):
    values = np.asarray(adata[:, "ENSG00003"].X.todense()).ravel()
    explorer.color_by("ENSG00003")
    colouring = explorer.colouring
    assert colouring.codes.dtype == np.uint8 and colouring.palette.shape == (256, 3)
    np.testing.assert_array_equal(colouring.codes, scaled(values))
    assert colouring.ends == (values.min(), values.max())
    assert (colouring.title, colouring.note) == ("ENSG00003", "X as stored")
    explorer.color_by("ensg00003")
    assert explorer.colouring.title == "ENSG00003"
    explorer.color_by(gene=3, vmin=1, vmax=2)
    np.testing.assert_array_equal(
        explorer.colouring.codes, np.rint(np.clip(values - 1, 0, 1) * 254)
    )


def test_a_gene_after_pending_steps(adata, handle):
    with pytest.warns(UserWarning, match="zero counts"):
        pp.normalize_total(handle)
    pp.log1p(handle)
    explorer = slaf.explore(handle)
    explorer.color_by("ENSG00003")
    some = adata.X.sum(1).A1 > 0
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    values = np.asarray(adata[:, "ENSG00003"].X.todense()).ravel()
    assert explorer.colouring.note == "X after normalize_total, log1p"
    # Where no cell is without counts, the target is scanpy's.
    np.testing.assert_allclose(explorer.colouring.ends[0], values.min())
    order = np.argsort(values[some], kind="stable")
    assert (np.diff(explorer.colouring.codes[some][order].astype(int)) >= 0).all()
    exact = np.asarray(handle[:, "ENSG00003"].X.compute().todense()).ravel()
    np.testing.assert_array_equal(explorer.colouring.codes, scaled(exact))


def test_a_gene_of_a_layer_of_a_sliced_handle_by_symbol(adata, convert):
    adata.layers["double"] = adata.X * 2
    handle = read_slaf(convert(adata))[::-2]
    explorer = slaf.explore(handle, layer="double", gene_symbols="symbol")
    explorer.color_by("G7")
    values = np.asarray(adata[::-2, 7].layers["double"].todense()).ravel()
    np.testing.assert_array_equal(explorer.colouring.codes, scaled(values))
    assert explorer.colouring.note == "layer double as stored"
    assert len(explorer.colouring.codes) == 30


def test_genes_that_are_not_there_or_several(adata, convert):
    adata.var_names = ["twin", "other", "twin", *adata.var_names[3:]]
    explorer = slaf.explore(read_slaf(convert(adata)))
    with pytest.raises(KeyError, match="no column of obs or gene 'othr'. Did you mean `other`"):
        explorer.color_by("othr")
    with pytest.raises(SlafError, match=r"take one of twin \[0\], twin \[2\]"):
        explorer.color_by("twin")
    explorer.color_by("twin [2]")
    np.testing.assert_array_equal(explorer.colouring.codes, scaled(adata.X[:, 2].toarray().ravel()))
    with pytest.raises(KeyError, match="There is no gene 40; there are 40"):
        explorer.color_by(gene=40)
    assert explorer.genes.complete("tw") == ["twin [0]", "twin [2]"]
    assert explorer.genes.complete("ensg0000", 2) == ["ENSG00003", "ENSG00004"]
    assert explorer.genes.complete("x") == []


def test_categories_in_the_colours_of_uns(adata, convert):
    adata.uns["cell_type_colors"] = ["#ff0000", "lime", "#0000ff"]
    explorer = slaf.explore(read_slaf(convert(adata)))
    colouring = explorer.colouring
    # What has colours comes first.
    assert (colouring.title, colouring.note) == ("cell_type", "")
    assert colouring.categories == ("B cells", "NK", "T cells")
    codes = adata.obs["cell_type"].cat.codes.to_numpy()
    np.testing.assert_array_equal(colouring.codes, np.where(codes < 0, 3, codes))
    assert colouring.palette[:3].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    expected = adata.obs["cell_type"].value_counts(sort=False, dropna=False)
    assert colouring.counts[:3].tolist() == expected[list(colouring.categories)].tolist()
    assert colouring.counts[colouring.missing] == adata.obs["cell_type"].isna().sum()


@pytest.mark.parametrize("colours", [["#ff0000"], ["red", "no colour", "blue"]])
def test_a_palette_that_does_not_fit(adata, convert, colours):
    handle = read_slaf(convert(adata))
    handle.uns["cell_type_colors"] = colours
    explorer = slaf.explore(handle)
    assert explorer.colouring.categories == ("B cells", "NK", "T cells")
    assert "does not fit the categories" in explorer.colouring.note
    assert len(np.unique(explorer.colouring.palette[:3], axis=0)) == 3


def test_columns_of_every_kind(adata, explorer):
    obs = adata.obs
    for name in ("total_counts", "n_genes", "score", "age", "nCount.RNA", "größe µ"):
        explorer.color_by(name)
        values = obs[name].to_numpy(dtype=float, na_value=np.nan)
        np.testing.assert_array_equal(explorer.colouring.codes, scaled(values), err_msg=name)
        assert explorer.colouring.ends == (np.nanmin(values), np.nanmax(values))
    for name in ("stage", "batch", "doublet", "seen", "donor"):
        explorer.color_by(name)
        column = obs[name].astype("category").cat
        codes = column.codes.to_numpy()
        colouring = explorer.colouring
        np.testing.assert_array_equal(
            colouring.codes, np.where(codes < 0, colouring.missing, codes), err_msg=name
        )
        assert colouring.categories == tuple(map(str, column.categories))
    explorer.color_by(None)
    assert explorer.colouring.codes.max() == 0


def test_numbers_without_a_scale(handle):
    n = handle.n_obs
    handle.obs["same"] = np.full(n, 2.5)
    handle.obs["none"] = np.full(n, np.nan)
    handle.obs["far"] = np.r_[-np.inf, np.inf, np.nan, np.arange(n - 3.0)]
    handle.obs["when"] = pd.date_range("2020-01-01", periods=n)
    explorer = slaf.explore(handle)
    explorer.color_by("same")
    assert explorer.colouring.ends == (2.5, 2.5) and not explorer.colouring.codes.any()
    explorer.color_by("none")
    assert np.isnan(explorer.colouring.ends).all() and (explorer.colouring.codes == 255).all()
    explorer.color_by("far")
    assert explorer.colouring.codes[:4].tolist() == [0, 254, 255, 0]
    assert explorer.colouring.ends == (0, n - 4)
    explorer.color_by("when")
    np.testing.assert_array_equal(explorer.colouring.codes, scaled(np.arange(float(n))))
    explorer.filter("when", ("2020-01-11", pd.Timestamp("2020-01-20")))
    assert np.flatnonzero(explorer.visible).tolist() == list(range(10, 20))


def test_300_categories_and_too_many(handle):
    cells = make_counts(cells=600).obs
    many = placed(make_counts(cells=600))
    many.obs["many"] = pd.Categorical([f"c{i % 300:03}" for i in range(len(cells))])
    many.obs["ids"] = [f"id {i}" for i in range(len(cells))]
    explorer = slaf.explore(handle)
    explorer.handle.obs["few"] = "one"
    explorer.color_by("few")
    assert explorer.colouring.categories == ("one",)
    from slaf.explorer import colours

    colouring = colours.of_categories("many", many.obs["many"])
    assert colouring.codes.dtype == np.uint16 and len(colouring.palette) == 301
    np.testing.assert_array_equal(colouring.codes, np.arange(600) % 300)
    assert len(np.unique(colouring.palette[:300], axis=0)) > 290
    with pytest.raises(SlafError, match="has 3,000 different values; a legend has at most 2,000"):
        colours.of_categories("ids", pd.Series([f"id {i}" for i in range(3000)]))


# Views ------------------------------------------------------------------------


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


def test_what_the_browser_is_sent(adata, explorer):
    explorer.color_by("cell_type")
    explorer.filter("batch", "batch1")
    explorer.select([1, 2, 3])
    panel = Panel(explorer, explorer.places["X_umap"], most=1000, renderer="auto")
    shown = adata.obs["batch"].eq("batch1").to_numpy() & explorer.places["X_umap"].placed
    expected = shown + 2 * np.isin(np.arange(60), [1, 2, 3])
    np.testing.assert_array_equal(wired(panel, "flags", np.uint8), expected)
    np.testing.assert_array_equal(wired(panel, "codes", np.uint8), explorer.colouring.codes)
    xy = wired(panel, "positions", np.uint16).reshape(-1, 2)
    np.testing.assert_array_equal(xy, explorer.places["X_umap"].wire())
    explorer.color_by("score")
    panel.changed("colours")
    np.testing.assert_array_equal(wired(panel, "codes", np.uint8), explorer.colouring.codes)
    assert panel.widget.high and panel.widget.density == b""


def test_of_many_cells_what_is_seen_is_sent(adata, explorer):
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
def test_a_picture(handle, size):
    n, key = size
    explorer = slaf.explore(handle[:n], "X_umap", "X_pca")
    explorer.color_by(key)
    explorer.select(slice(0, n // 2))
    picture = np.array(Image.open(io.BytesIO(explorer.picture())).convert("RGB")).astype(int)
    assert picture.shape == (430, 1000, 3)
    coloured = (np.ptp(picture[:, :800], axis=2) > 60).sum()
    assert (coloured > 50) == (n == 60)


def test_in_a_notebook_that_nobody_looks_at(adata, convert):
    path = convert(adata)
    source = f"import slaf\nslaf.explore(slaf.read_slaf({str(path)!r}))"
    notebook = new_notebook(cells=[new_code_cell(source)])
    NotebookClient(notebook, kernel_name="slaf", timeout=120).execute()
    outputs = notebook.cells[0].outputs
    kinds = [sorted(output.data) for output in outputs]
    widget = "application/vnd.jupyter.widget-view+json"
    assert kinds == [[widget, "text/plain"], [widget, "image/png", "text/plain"]]
    assert outputs[0].data["text/plain"] == "Explorer: 60 cells on X_umap"
    assert outputs[1].data[widget]["model_id"] == ""


# Filters ----------------------------------------------------------------------


def test_filters_of_several_columns(adata, explorer):
    obs = adata.obs
    explorer.filter("total_counts", (10, 40))
    explorer.filter("cell_type", ["T cells", None])
    explorer.filter("score", (None, 0.5))
    expected = (
        obs["total_counts"].between(10, 40)
        & (obs["cell_type"].eq("T cells") | obs["cell_type"].isna())
        & obs["score"].le(0.5)
    ).to_numpy()
    assert 0 < expected.sum() < 60
    np.testing.assert_array_equal(explorer.visible, expected)
    explorer.filter("score")
    expected = obs["total_counts"].between(10, 40) & ~obs["cell_type"].isin(["B cells", "NK"])
    np.testing.assert_array_equal(explorer.visible, expected)
    explorer.show_all()
    assert explorer.visible.all()
    explorer.filter("doublet", True)
    np.testing.assert_array_equal(explorer.visible, obs["doublet"])


def test_filters_that_make_no_sense(explorer):
    with pytest.raises(KeyError, match="no column 'cell_typ'. Did you mean `cell_type`"):
        explorer.filter("cell_typ", ["NK"])
    with pytest.raises(KeyError, match=r"no 'T cell'. Did you mean `T cells`"):
        explorer.filter("cell_type", "T cell")
    with pytest.raises(ValueError, match=r"has numbers: filter it by `\(low, high\)`"):
        explorer.filter("score", 3)
    with pytest.raises(ValueError, match="No number lies from 3 to 2"):
        explorer.filter("score", (3, 2))
    assert explorer.visible.all()


def test_the_legend_hides_and_isolates(adata, explorer):
    types = adata.obs["cell_type"]
    with pytest.raises(SlafError, match="The colours are no categories"):
        explorer.hide("NK")
    explorer.color_by("cell_type")
    explorer.hide("B cells")
    np.testing.assert_array_equal(explorer.visible, types.ne("B cells"))
    explorer.hide("NK")
    explorer.show("B cells")
    np.testing.assert_array_equal(explorer.visible, types.ne("NK"))
    explorer.isolate("T cells")
    np.testing.assert_array_equal(explorer.visible, types.eq("T cells"))
    assert explorer.hidden == {"B cells", "NK", "(missing)"}
    # They stay hidden while other colours are looked at, and are known by their column.
    explorer.color_by("batch")
    assert explorer.hidden == frozenset() and list(explorer.filters) == ["cell_type"]
    np.testing.assert_array_equal(explorer.visible, types.eq("T cells"))
    explorer.filter("cell_type")
    assert explorer.visible.all()
    with pytest.raises(KeyError, match="no 'batch3'. Did you mean"):
        explorer.isolate("batch3")


# Selections -------------------------------------------------------------------


def test_selections(adata, explorer):
    assert explorer.selection.shape == (0, 40) and not explorer.mask.any()
    wanted = np.arange(60) % 3 == 0
    for cells in (wanted, np.flatnonzero(wanted), list(adata.obs_names[wanted])):
        explorer.select(cells)
        np.testing.assert_array_equal(explorer.mask, wanted)
    chosen = explorer.selection
    assert list(chosen.obs_names) == list(adata.obs_names[wanted])
    np.testing.assert_array_equal(chosen.X.compute().toarray(), adata.X[wanted].toarray())
    with pytest.raises(KeyError, match="cell-61"):
        explorer.select(["cell-61"])
    np.testing.assert_array_equal(explorer.mask, wanted)
    for nothing in (None, []):
        explorer.select(nothing)
        assert not explorer.mask.any()


def test_the_lasso_takes_shown_cells_inside(adata, explorer):
    corners = np.array([(-1.1, -0.9), (1.3, -1.0), (0.2, 1.4)])
    explorer.lasso(corners)
    xy = adata.obsm["X_umap"]
    inside = Polygon(corners).contains_points(np.nan_to_num(xy, nan=99, posinf=99))
    assert 0 < inside.sum() < 60
    np.testing.assert_array_equal(explorer.mask, inside)
    explorer.filter("batch", "batch1")
    explorer.lasso(corners)
    np.testing.assert_array_equal(explorer.mask, inside & adata.obs["batch"].eq("batch1"))
    with pytest.raises(ValueError, match="three corners or more"):
        explorer.lasso(corners[:2])


def test_annotations_are_stored(adata, convert):
    path = convert(adata)
    explorer = slaf.explore(read_slaf(path))
    assert explorer.save() is None
    with pytest.raises(SlafError, match="Nothing is selected"):
        explorer.annotate("mine", "x")
    first, second = np.arange(60) < 20, np.arange(60) >= 40
    explorer.select(first)
    explorer.annotate("mine", "<script>")
    explorer.select(second)
    explorer.annotate("mine ", "late")
    explorer.annotate("batch", "batch3")
    explorer.annotate("cell_type", "NK")
    expected = pd.Series(np.where(first, "<script>", np.where(second, "late", None)))
    before = explorer.handle.slaf.version
    assert explorer.save() == before + 1
    stored = read_slaf(path).obs
    assert stored["mine"].astype(object).where(stored["mine"].notna(), None).tolist() == (
        expected.tolist()
    )
    assert (
        stored["batch"].tolist()
        == adata.obs["batch"].astype(object).where(~second, "batch3").tolist()
    )
    types = adata.obs["cell_type"].astype(object).where(~second, "NK")
    assert stored["cell_type"].astype(object).fillna("").tolist() == types.fillna("").tolist()
    with pytest.raises(SlafError, match=r"obs\['n_genes'\] holds int64, and an annotation is text"):
        explorer.annotate("n_genes", "many")
    with pytest.raises(ValueError, match="one of them is empty"):
        explorer.annotate("mine", " ")


def test_an_annotation_is_seen_at_once(explorer):
    explorer.color_by("cell_type")
    explorer.filter("cell_type", ["NK"])
    explorer.select([0, 1, 2])
    explorer.annotate("cell_type", "odd")
    assert "odd" in explorer.colouring.categories
    assert explorer.colouring.codes[0] == explorer.colouring.categories.index("odd")


def test_a_sliced_handle_is_annotated_and_refuses_to_be_saved(handle, recwarn):
    part = handle[10:30]
    explorer = slaf.explore(part)
    explorer.select([0])
    explorer.annotate("mine", "first")
    assert part.obs["mine"].tolist()[:2] == ["first", np.nan] or part.obs["mine"][0] == "first"
    assert "mine" not in handle.obs.columns and not recwarn.list
    with pytest.raises(ValueError, match="Only a handle of all cells and genes"):
        explorer.save()


def test_similar_cells(adata, explorer):
    pca = adata.obsm["X_pca"]
    chosen = [3, 17]
    explorer.select(chosen)
    found = explorer.find_similar(5)
    distance = np.min([((pca - pca[at]) ** 2).sum(1) for at in chosen], axis=0)
    distance[chosen] = np.inf
    assert found.tolist() == np.argsort(distance)[:5].tolist()
    assert np.flatnonzero(explorer.mask).tolist() == sorted(found.tolist())
    assert len(explorer.find_similar(1000)) == 55
    explorer.select()
    with pytest.raises(SlafError, match="Nothing is selected"):
        explorer.find_similar()


# Comparisons ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["t-test", "wilcoxon"])
def test_two_selections_are_compared_as_scanpy_does(pbmc, pbmc_slaf, method):
    logs = pbmc.raw.to_adata()
    handle = read_slaf(pbmc_slaf)
    handle.X = logs.X
    explorer = slaf.explore(handle)
    labels = pbmc.obs["bulk_labels"]
    explorer.select((labels == "CD19+ B").to_numpy())
    explorer.keep("B")
    explorer.select((labels == "Dendritic").to_numpy())
    found = explorer.compare("B", method=method, b=explorer.mask, n_genes=30)
    assert (found.a, found.b) == ("B", "b")
    logs.uns.pop("log1p", None)
    sc.tl.rank_genes_groups(
        logs, "bulk_labels", groups=["CD19+ B"], reference="Dendritic", method=method, pts=True
    )
    expected = sc.get.rank_genes_groups_df(logs, "CD19+ B").head(30)
    genes = found.genes
    assert genes["gene"].tolist()[:10] == expected["names"].tolist()[:10]
    np.testing.assert_allclose(genes["score"], expected["scores"], rtol=1e-4)
    np.testing.assert_allclose(genes["log2_fold_change"], expected["logfoldchanges"], rtol=1e-4)
    np.testing.assert_allclose(genes["p_value_adjusted"], expected["pvals_adj"], rtol=1e-3)
    pts = logs.uns["rank_genes_groups"]["pts"]
    np.testing.assert_allclose(genes["share_a"], pts.loc[genes["gene"], "CD19+ B"])
    np.testing.assert_allclose(genes["share_b"], pts.loc[genes["gene"], "Dendritic"])


def test_a_selection_against_the_shown_rest_and_its_plot(adata, explorer):
    explorer.filter("batch", "batch1")
    shown = adata.obs["batch"].eq("batch1").to_numpy()
    chosen = shown & (np.arange(60) < 30)
    explorer.select(chosen)
    found = explorer.compare(n_genes=8)
    assert (found.a, found.b, len(found.genes)) == ("selection", "rest", 8)
    shares = found.genes.set_index("gene")
    gene = shares.index[0]
    has = adata[:, gene].X.toarray().ravel() > 0
    assert shares.loc[gene, "share_a"] == pytest.approx(has[chosen].mean())
    assert shares.loc[gene, "share_b"] == pytest.approx(has[shown & ~chosen].mean())
    figure = found.plot(5)
    texts = {text.get_text() for axes in figure.axes for text in axes.get_xticklabels()}
    assert set(found.genes["gene"][:5]) <= texts
    groups = {text.get_text() for axes in figure.axes for text in axes.get_yticklabels()}
    assert {"selection", "rest"} <= groups


def test_comparisons_that_make_no_sense(explorer):
    with pytest.raises(SlafError, match="selection has 0 cells"):
        explorer.compare()
    explorer.select([1, 2, 3])
    with pytest.raises(SlafError, match="2 cells would be in both selection and b"):
        explorer.compare(b=[2, 3, 4])
    with pytest.raises(KeyError, match="No selection was kept as 'A'; there is none"):
        explorer.compare("A")
    explorer.keep("A")
    with pytest.raises(SlafError, match="A cannot be compared with itself"):
        explorer.compare("A", "A")


def test_who_watches_is_told(explorer):
    told = []
    explorer.watch(told.append)
    explorer.color_by("batch")
    explorer.hide("batch1")
    explorer.select([1])
    explorer.keep("A")
    assert told == ["colours", "visible", "selection", "kept"]
    assert repr(explorer).startswith("Explorer: 60 cells on X_umap, coloured by batch, ")
    assert repr(explorer).endswith(" shown, 1 selected")
