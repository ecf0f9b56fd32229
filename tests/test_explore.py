"""The explorer without a screen: positions, filters, selections, annotations and
comparisons, compared with numpy, pandas and scanpy."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import slaf
from matplotlib.path import Path as Polygon
from slaf import SlafError, read_slaf

matplotlib.use("Agg")

# Places -----------------------------------------------------------------------


def test_cells_lie_where_the_embedding_says(embedded, explorer):
    assert list(explorer.places) == ["X_umap"]
    place = explorer.places["X_umap"]
    np.testing.assert_array_equal(place.placed, np.isfinite(embedded.obsm["X_umap"]).all(1))
    back = place.unit * place.side + place.corner
    there = place.placed
    np.testing.assert_allclose(back[there], embedded.obsm["X_umap"][there], atol=1e-5)
    assert place.unit[there].min() > 0 and place.unit[there].max() < 1
    wire = place.wire()
    assert wire.dtype == np.uint16 and wire.shape == (60, 2)
    np.testing.assert_allclose(wire[there] / 65535, place.unit[there], atol=1 / 65535)


def test_several_embeddings_and_names_that_are_not_there(embedded_handle):
    assert list(slaf.explore(embedded_handle, "X_pca", "X_umap").places) == ["X_pca", "X_umap"]
    with pytest.raises(KeyError, match=r"no obsm\['X_unap'\]. Did you mean `X_umap`"):
        slaf.explore(embedded_handle, "X_unap")
    embedded_handle.obsm["line"] = np.arange(60.0)[:, None]
    with pytest.raises(SlafError, match="has one column, and a position needs two"):
        slaf.explore(embedded_handle, "line")


def test_a_frame_is_an_embedding(embedded_handle, embedded):
    frame = pd.DataFrame(embedded.obsm["X_pca"], index=embedded.obs_names, columns=list("abcde"))
    embedded_handle.obsm["frame"] = frame
    place = slaf.explore(embedded_handle, "frame").places["frame"]
    np.testing.assert_allclose(
        place.unit * place.side + place.corner, frame.iloc[:, :2].to_numpy(), atol=1e-5
    )


def test_without_positions(counts, convert):
    with pytest.raises(SlafError, match="no obsm of two columns or more"):
        slaf.explore(read_slaf(convert(counts)))


@pytest.mark.parametrize("n", [0, 1])
def test_no_cell_and_one(embedded_handle, n):
    explorer = slaf.explore(embedded_handle[:n])
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


# Filters ----------------------------------------------------------------------


def test_filters_of_several_columns(embedded, explorer):
    obs = embedded.obs
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


def test_the_legend_hides_and_isolates(embedded, explorer):
    types = embedded.obs["cell_type"]
    with pytest.raises(SlafError, match="The colours are not categories"):
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


def test_selections(embedded, explorer):
    assert explorer.selection.shape == (0, 40) and not explorer.mask.any()
    wanted = np.arange(60) % 3 == 0
    for cells in (wanted, np.flatnonzero(wanted), list(embedded.obs_names[wanted])):
        explorer.select(cells)
        np.testing.assert_array_equal(explorer.mask, wanted)
    chosen = explorer.selection
    assert list(chosen.obs_names) == list(embedded.obs_names[wanted])
    np.testing.assert_array_equal(chosen.X.compute().toarray(), embedded.X[wanted].toarray())
    with pytest.raises(KeyError, match="cell-61"):
        explorer.select(["cell-61"])
    np.testing.assert_array_equal(explorer.mask, wanted)
    for nothing in (None, []):
        explorer.select(nothing)
        assert not explorer.mask.any()


def test_the_lasso_takes_shown_cells_inside(embedded, explorer):
    corners = np.array([(-1.1, -0.9), (1.3, -1.0), (0.2, 1.4)])
    explorer.lasso(corners)
    xy = embedded.obsm["X_umap"]
    inside = Polygon(corners).contains_points(np.nan_to_num(xy, nan=99, posinf=99))
    assert 0 < inside.sum() < 60
    np.testing.assert_array_equal(explorer.mask, inside)
    explorer.filter("batch", "batch1")
    explorer.lasso(corners)
    np.testing.assert_array_equal(explorer.mask, inside & embedded.obs["batch"].eq("batch1"))
    with pytest.raises(ValueError, match="three corners or more"):
        explorer.lasso(corners[:2])


def test_annotations_are_stored(embedded, convert):
    path = convert(embedded)
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
        == embedded.obs["batch"].astype(object).where(~second, "batch3").tolist()
    )
    types = embedded.obs["cell_type"].astype(object).where(~second, "NK")
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


def test_a_sliced_handle_is_annotated_and_refuses_to_be_saved(embedded_handle, recwarn):
    part = embedded_handle[10:30]
    explorer = slaf.explore(part)
    explorer.select([0])
    explorer.annotate("mine", "first")
    assert part.obs["mine"].tolist()[:2] == ["first", np.nan] or part.obs["mine"][0] == "first"
    assert "mine" not in embedded_handle.obs.columns and not recwarn.list
    with pytest.raises(ValueError, match="Only a handle of all cells and genes"):
        explorer.save()


def test_similar_cells(embedded, explorer):
    pca = embedded.obsm["X_pca"]
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


def test_a_selection_against_the_shown_rest_and_its_plot(embedded, explorer):
    explorer.filter("batch", "batch1")
    shown = embedded.obs["batch"].eq("batch1").to_numpy()
    chosen = shown & (np.arange(60) < 30)
    explorer.select(chosen)
    found = explorer.compare(n_genes=8)
    assert (found.a, found.b, len(found.genes)) == ("selection", "rest", 8)
    shares = found.genes.set_index("gene")
    gene = shares.index[0]
    has = embedded[:, gene].X.toarray().ravel() > 0
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
