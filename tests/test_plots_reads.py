"""What plots read, store and return."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import make_counts
from datashader.mpl_ext import DSArtist
from drawings import drawing, same
from matplotlib import colors, pyplot
from scipy import sparse
from slaf import pl, read_slaf
from slaf.data import SLAFConverter
from slaf.scanpy import pp

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


@pytest.fixture
def handle(pbmc_slaf):
    return read_slaf(pbmc_slaf)


# What is read -----------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """4,000 cells × 3,000 genes, a tenth of it stored: 1.2 million values."""
    rng = np.random.default_rng(0)
    x = sparse.random(4000, 3000, 0.1, "csr", dtype=np.float32, rng=rng)
    x.data = np.round(x.data * 9 + 1)
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical(rng.choice([f"k{i}" for i in range(40)], 4000)),
            "total": x.sum(axis=1).A1,
        },
        index=[f"c{i}" for i in range(4000)],
    )
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(3000)]))
    adata.obsm["X_umap"] = rng.normal(size=(4000, 2)).astype(np.float32)
    folder = tmp_path_factory.mktemp("wide")
    adata.write_h5ad(folder / "wide.h5ad")
    SLAFConverter().convert(folder / "wide.h5ad", folder / "wide.slaf")
    return folder / "wide.slaf"


def bytes_read(work) -> int:
    """That this process has read from files while it did `work`."""
    told = lambda: int(Path("/proc/self/io").read_text().split()[1])  # noqa: E731
    before = told()
    work()
    return told() - before


THIRTY = [f"g{i}" for i in range(0, 3000, 100)]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("dotplot", {"var_names": THIRTY, "groupby": "kind"}),
        ("matrixplot", {"var_names": THIRTY, "groupby": "kind"}),
        ("heatmap", {"var_names": THIRTY, "groupby": "kind"}),
        ("violin", {"keys": ["g7", "total"], "groupby": "kind", "stripplot": False}),
        ("umap", {"color": ["g7", "kind"]}),
        ("scatter", {"x": "g7", "y": "total"}),
    ],
)
def test_few_genes_are_read(name, given, wide):
    plot = lambda: getattr(pl, name)(read_slaf(wide), show=False, **given)  # noqa: E731
    plot()
    everything = bytes_read(lambda: read_slaf(wide).X.compute())
    assert bytes_read(plot) < everything / 10


def test_a_dot_plot_makes_no_table_of_cells(wide, monkeypatch):
    """What reaches scanpy has a row for each group, not for each cell."""
    shapes = []
    dotplot = sc.pl.dotplot
    monkeypatch.setattr(
        sc.pl,
        "dotplot",
        lambda adata, *a, **k: shapes.append(adata.shape) or dotplot(adata, *a, **k),
    )
    pl.dotplot(read_slaf(wide), THIRTY, "kind", show=False)
    assert shapes == [(40, 30)]


@pytest.mark.parametrize("name", ["umap", "violin", "rank_genes_groups"])
def test_no_matrix_is_read_where_none_is_drawn(name, handle, monkeypatch):
    from slaf.lazy.matrix import LazyExpressionMatrix

    given = {
        "umap": {"color": ["louvain", "n_counts"]},
        "violin": {"keys": "n_counts", "groupby": "louvain"},
        "rank_genes_groups": {},
    }[name]
    monkeypatch.setattr(LazyExpressionMatrix, "compute", lambda *a, **k: pytest.fail("read"))
    getattr(pl, name)(handle, show=False, **given)


# What is kept -----------------------------------------------------------------


def test_colours_are_kept(handle):
    given = handle.uns["louvain_colors"]
    pl.umap(handle, color=["phase", "louvain"], show=False)
    assert list(handle.uns["phase_colors"]) == ["#1f77b4", "#ff7f0e", "#2ca02c"]
    assert handle.uns["louvain_colors"] is given
    pl.umap(handle, color="phase", palette=["red", "green", "blue"], show=False)
    assert list(handle.uns["phase_colors"]) == ["#ff0000", "#008000", "#0000ff"]


def test_a_view_keeps_colours_of_its_own(handle):
    view = handle[:100]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pl.violin(view, "n_genes", groupby="phase", show=False)
    assert "phase_colors" in view.uns and "phase_colors" not in handle.uns


def test_trees_are_kept(handle, pbmc):
    pl.dotplot(handle, "LYZ", "louvain", dendrogram="mine", show=False)
    adata = pbmc.copy()
    sc.tl.dendrogram(adata, "louvain")
    found, expected = handle.uns["mine"], adata.uns["dendrogram_louvain"]
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["correlation_matrix"], expected["correlation_matrix"])
    np.testing.assert_array_equal(found["linkage"], expected["linkage"])
    assert found["categories_ordered"] == expected["categories_ordered"]
    assert found["use_rep"] is None and found["groupby"] == ["louvain"]


def test_obs_is_left_alone(handle):
    handle.obs["text"] = np.where(handle.obs["n_genes"] > 300, "many", "few")
    pl.dotplot(handle, "LYZ", "text", show=False)
    assert not isinstance(handle.obs["text"].dtype, pd.CategoricalDtype)


# What is returned, saved and shown --------------------------------------------


@pytest.fixture
def figures(tmp_path):
    """Where scanpy saves to."""
    before = sc.settings.figdir
    sc.settings.figdir = tmp_path
    yield tmp_path
    sc.settings.figdir = before


def test_axes_files_and_figures(handle, figures):
    _, (left, right) = pyplot.subplots(1, 2)
    assert pl.umap(handle, color="phase", ax=left, show=False) is left
    pl.matrixplot(handle, ["LYZ"], "phase", ax=right, show=False)
    assert pl.dotplot(handle, ["LYZ"], "phase", show=False).keys() >= {"mainplot_ax"}
    assert pl.dotplot(handle, ["LYZ"], "phase", save="_a.png") is None
    pl.umap(handle, color="LYZ", save=".png", shade=True)
    pl.highest_expr_genes(handle, 3, save="_b.pdf", show=False)
    saved = {path.name for path in figures.iterdir()}
    assert saved == {"dotplot__a.png", "umap.png", "highest_expr_genes_b.pdf"}
    assert type(pl.umap(handle, return_fig=True)).__name__ == "Figure"
    assert isinstance(pl.dotplot(handle, ["LYZ"], "phase", return_fig=True), sc.pl.DotPlot)


def test_anndata_goes_to_scanpy(pbmc):
    adata = pbmc.copy()
    given = {"color": "phase", "show": False}
    same(drawing(lambda: pl.umap(adata, **given)), drawing(lambda: sc.pl.umap(adata, **given)))
    assert "phase_colors" in adata.uns


def test_signatures_are_scanpys():
    from slaf.scanpy import pl as same_module

    assert same_module is pl
    for name in set(pl.__all__) - {"qc"}:
        ours = list(inspect.signature(getattr(pl, name)).parameters)
        theirs = list(inspect.signature(getattr(sc.pl, name)).parameters)
        assert [p for p in ours if p not in ("shade", "max_cells", "kwargs")] == [
            p for p in theirs if p != "kwargs"
        ]


# Very many cells --------------------------------------------------------------


@pytest.mark.parametrize("name", ["heatmap", "tracksplot"])
def test_some_of_too_many_cells(name, handle):
    with pytest.warns(UserWarning, match="300 of 700 cells are drawn"):
        axes = getattr(pl, name)(handle, ["LYZ"], "phase", max_cells=300, show=False)
    sizes = handle.obs["phase"].value_counts(sort=False).to_numpy()
    if name == "heatmap":
        image = axes["heatmap_ax"].images[0].get_array()
        assert image.shape == (300, 1)
        borders = [line[0, 1] + 0.5 for line in axes["heatmap_ax"].collections[0].get_segments()]
        drawn = np.diff([0, *borders, 300])
        np.testing.assert_allclose(drawn, sizes * 300 / 700, atol=1)
    else:
        assert axes["track_axes"][0].get_xlim()[1] == 300


def pictures(ax):
    """What datashader has put on `ax`, drawn."""
    ax.figure.canvas.draw()
    return [artist for artist in ax.get_children() if isinstance(artist, DSArtist)]


def test_numbers_are_shaded_in_scanpys_colours(handle, pbmc):
    mask = (pbmc.obs["n_genes"] > 100).to_numpy()
    mask[::5] = False
    shaded = pl.umap(handle, color="LYZ", mask_obs=mask, shade=True, show=False)
    points = sc.pl.umap(pbmc.copy(), color="LYZ", mask_obs=mask, show=False)
    drawn = points.collections[0]
    assert not any(len(c.get_offsets()) == 700 for c in shaded.collections)
    assert shaded.get_xlim() == points.get_xlim() and shaded.get_ylim() == points.get_ylim()
    below, above = pictures(shaded)
    missing, picture = np.asarray(below.get_array()), np.asarray(above.get_array())
    assert (missing[..., 3] > 0).any() and (picture[..., 3] == 0).any()
    values = np.ma.masked_invalid(above.get_ds_data().data).compressed()
    assert len(values) <= mask.sum() and np.isin(values, drawn.get_array()).all()
    assert values.max() == np.nanmax(drawn.get_array())
    assert (above.norm.vmin, above.norm.vmax) == (0, values.max())
    colour = np.unique(picture[picture[..., 3] > 0], axis=0)
    known = np.round(drawn.cmap(np.arange(256)) * 255).astype(int)
    assert all((np.abs(known - c).max(axis=1) <= 1).any() for c in colour.astype(int))


def test_categories_are_shaded_in_their_colours(handle):
    ax = pl.umap(handle, color="louvain", shade=True, show=False)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == list(handle.obs["louvain"].cat.categories)
    counts = pictures(ax)[0].get_ds_data()
    of_colour = dict(zip(counts["colour"].values, counts.sum(["x", "y"]).values, strict=True))
    sizes = handle.obs["louvain"].value_counts(sort=False)
    expected = dict(zip(map(colors.to_hex, handle.uns["louvain_colors"]), sizes, strict=True))
    assert {k[:7]: int(v) for k, v in of_colour.items()} == expected


def test_shaded_from_half_a_million(handle, monkeypatch):
    from slaf.pl import shading

    monkeypatch.setattr(shading, "SHADED_FROM", 699)
    assert len(pictures(pl.umap(handle, show=False))) == 1
    assert len(pictures(pl.umap(handle, show=False, shade=False))) == 0
    assert len(pictures(pl.umap(handle, color=["LYZ", "phase"], show=False)[1])) == 1
    monkeypatch.setattr(shading, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="slaf-jupyter\\[plots\\]"):
        assert len(pictures(pl.umap(handle, show=False))) == 0
    with pytest.raises(ImportError, match="slaf-jupyter\\[plots\\]"):
        pl.umap(handle, shade=True)


# Quality control --------------------------------------------------------------


def test_quality_control(convert):
    adata = make_counts()
    handle = read_slaf(convert(adata))
    for module, data in ((pp, handle), (sc.pp, adata)):
        module.calculate_qc_metrics(data, qc_vars=["mt"], percent_top=None, inplace=True)
    assert pl.qc(handle, show=True) is None
    axes = pl.qc(handle, show=False)
    keys = ["n_genes_by_counts", "total_counts", "pct_counts_mt"]
    for ax, key in zip(axes, keys, strict=False):
        heights = np.concatenate([c.get_offsets()[:, 1] for c in ax.collections[1:]])
        np.testing.assert_allclose(np.sort(heights), np.sort(adata.obs[key].dropna()), rtol=1e-5)
    points = axes[-1].collections[0]
    offsets = np.asarray(points.get_offsets())
    order = np.lexsort(offsets.T)
    expected = adata.obs[["total_counts", "n_genes_by_counts"]].to_numpy(float)
    np.testing.assert_allclose(offsets[order], expected[np.lexsort(expected.T)], rtol=1e-5)
    bar = axes[-1].figure.axes[-1]
    axes[-1].figure.draw_without_rendering()
    assert bar not in axes and bar.get_position().x0 > axes[-1].get_position().x1
    assert [axes[-1].get_xlabel(), axes[-1].get_ylabel()] == ["total_counts", "n_genes_by_counts"]
    assert len(pl.qc(handle, groupby="batch", share="pct_counts_mt", show=False)) == 4
    del handle.obs["pct_counts_mt"]
    assert len(pl.qc(handle, show=False)) == 3
