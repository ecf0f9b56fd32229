"""The explorer's colours for columns and genes, compared with numpy and scanpy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import slaf
from slaf import SlafError, read_slaf
from slaf.explorer.colours import of_categories
from slaf.scanpy import pp


def scaled(values: np.ndarray) -> np.ndarray:
    """The nearest of 255 steps from the least to the greatest; 255 where missing."""
    low, high = np.nanmin(values), np.nanmax(values)
    steps = np.rint((values - low) / (high - low) * 254)
    return np.where(np.isnan(values), 255, steps).astype(int)


def test_a_gene(embedded, explorer):
    values = np.asarray(embedded[:, "ENSG00003"].X.todense()).ravel()
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


def test_a_gene_after_pending_steps(embedded, embedded_handle):
    with pytest.warns(UserWarning, match="zero counts"):
        pp.normalize_total(embedded_handle)
    pp.log1p(embedded_handle)
    explorer = slaf.explore(embedded_handle)
    explorer.color_by("ENSG00003")
    some = embedded.X.sum(1).A1 > 0
    sc.pp.normalize_total(embedded)
    sc.pp.log1p(embedded)
    values = np.asarray(embedded[:, "ENSG00003"].X.todense()).ravel()
    assert explorer.colouring.note == "X after normalize_total, log1p"
    # Where no cell is without counts, the target is scanpy's.
    np.testing.assert_allclose(explorer.colouring.ends[0], values.min())
    order = np.argsort(values[some], kind="stable")
    assert (np.diff(explorer.colouring.codes[some][order].astype(int)) >= 0).all()
    exact = np.asarray(embedded_handle[:, "ENSG00003"].X.compute().todense()).ravel()
    np.testing.assert_array_equal(explorer.colouring.codes, scaled(exact))


def test_a_gene_of_a_layer_of_a_sliced_handle_by_symbol(embedded, convert):
    embedded.layers["double"] = embedded.X * 2
    handle = read_slaf(convert(embedded))[::-2]
    explorer = slaf.explore(handle, layer="double", gene_symbols="symbol")
    explorer.color_by("G7")
    values = np.asarray(embedded[::-2, 7].layers["double"].todense()).ravel()
    np.testing.assert_array_equal(explorer.colouring.codes, scaled(values))
    assert explorer.colouring.note == "layer double as stored"
    assert len(explorer.colouring.codes) == 30


def test_genes_that_are_not_there_or_several(embedded, convert):
    embedded.var_names = ["twin", "other", "twin", *embedded.var_names[3:]]
    explorer = slaf.explore(read_slaf(convert(embedded)))
    with pytest.raises(KeyError, match="no column of obs or gene 'othr'. Did you mean `other`"):
        explorer.color_by("othr")
    with pytest.raises(SlafError, match=r"take one of twin \[0\], twin \[2\]"):
        explorer.color_by("twin")
    explorer.color_by("twin [2]")
    np.testing.assert_array_equal(
        explorer.colouring.codes, scaled(embedded.X[:, 2].toarray().ravel())
    )
    with pytest.raises(KeyError, match="There is no gene 40; there are 40"):
        explorer.color_by(gene=40)
    assert explorer.genes.complete("tw") == ["twin [0]", "twin [2]"]
    assert explorer.genes.complete("ensg0000", 2) == ["ENSG00003", "ENSG00004"]
    assert explorer.genes.complete("x") == []


def test_categories_in_the_colours_of_uns(embedded, convert):
    embedded.uns["cell_type_colors"] = ["#ff0000", "lime", "#0000ff"]
    explorer = slaf.explore(read_slaf(convert(embedded)))
    colouring = explorer.colouring
    # What has colours comes first.
    assert (colouring.title, colouring.note) == ("cell_type", "")
    assert colouring.categories == ("B cells", "NK", "T cells")
    codes = embedded.obs["cell_type"].cat.codes.to_numpy()
    np.testing.assert_array_equal(colouring.codes, np.where(codes < 0, 3, codes))
    assert colouring.palette[:3].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    expected = embedded.obs["cell_type"].value_counts(sort=False, dropna=False)
    assert colouring.counts[:3].tolist() == expected[list(colouring.categories)].tolist()
    assert colouring.counts[colouring.missing] == embedded.obs["cell_type"].isna().sum()


@pytest.mark.parametrize("colours", [["#ff0000"], ["red", "no colour", "blue"]])
def test_a_palette_that_does_not_fit(embedded, convert, colours):
    handle = read_slaf(convert(embedded))
    handle.uns["cell_type_colors"] = colours
    explorer = slaf.explore(handle)
    assert explorer.colouring.categories == ("B cells", "NK", "T cells")
    assert "does not fit the categories" in explorer.colouring.note
    assert len(np.unique(explorer.colouring.palette[:3], axis=0)) == 3


def test_columns_of_every_kind(embedded, explorer):
    obs = embedded.obs
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


def test_numbers_without_a_scale(embedded_handle):
    n = embedded_handle.n_obs
    embedded_handle.obs["same"] = np.full(n, 2.5)
    embedded_handle.obs["none"] = np.full(n, np.nan)
    embedded_handle.obs["far"] = np.r_[-np.inf, np.inf, np.nan, np.arange(n - 3.0)]
    embedded_handle.obs["when"] = pd.date_range("2020-01-01", periods=n)
    explorer = slaf.explore(embedded_handle)
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


def test_300_categories_and_too_many(embedded_handle):
    many = pd.Series(pd.Categorical([f"c{i % 300:03}" for i in range(600)]))
    explorer = slaf.explore(embedded_handle)
    explorer.handle.obs["few"] = "one"
    explorer.color_by("few")
    assert explorer.colouring.categories == ("one",)

    colouring = of_categories("many", many)
    assert colouring.codes.dtype == np.uint16 and len(colouring.palette) == 301
    np.testing.assert_array_equal(colouring.codes, np.arange(600) % 300)
    assert len(np.unique(colouring.palette[:300], axis=0)) > 290
    with pytest.raises(SlafError, match="has 3,000 different values; a legend has at most 2,000"):
        of_categories("ids", pd.Series([f"id {i}" for i in range(3000)]))
