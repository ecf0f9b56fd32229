"""Stored zeros count as zeros: they are not counted as expression of a gene."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from slaf import SLAFArray, _slaf
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.ml import GeneformerTokenizer, ScGPTTokenizer, SLAFDataLoader
from slaf.scanpy import pp, tl

CELLS, GENES = 60, 25


@pytest.fixture(scope="module", params=["as converted", "with sums"])
def pair(tmp_path_factory, request):
    """A dataset with stored zeros, and the same AnnData without."""
    rng = np.random.default_rng(5)
    x = sparse.random(CELLS, GENES, 0.6, "csr", random_state=5, dtype=np.float32)
    x.data = rng.integers(1, 9, x.nnz).astype(np.float32)
    x.data[::3] = 0
    # A cell and a gene of which every value is a stored zero.
    x.data[x.indptr[2] : x.indptr[3]] = 0
    x.data[x.indices == 3] = 0
    obs = pd.DataFrame(
        {"k": pd.Categorical(list("ab") * (CELLS // 2))}, index=[f"c{i}" for i in range(CELLS)]
    )
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)]))
    adata.var["mt"] = np.arange(GENES) < 5
    adata.layers["same"] = adata.X.copy()
    adata.raw = adata.copy()
    path = tmp_path_factory.mktemp("zeros") / "x.slaf"
    SLAFConverter().convert_anndata(adata, path)
    if request.param == "with sums":
        _slaf.index(_slaf.Dataset(str(path)), True)
    clean = adata.copy()
    clean.raw = None
    for matrix in (clean.X, clean.layers["same"]):
        matrix.eliminate_zeros()
    assert clean.X.nnz < adata.X.nnz
    return path, clean


def held(path):
    """Handles whose X is stored, set in memory, transformed, and raw."""
    handle = read_slaf(path)
    yield "stored", handle
    memory = read_slaf(path)
    memory.X = memory.X.compute()
    yield "in memory", memory
    scaled = read_slaf(path)
    scaled.X = scaled.X * 1.0
    yield "transformed", scaled
    layer = read_slaf(path)
    layer.X = layer.layers["same"]
    yield "layer", layer
    raw = handle.raw.copy()
    raw.obs["k"] = handle.obs["k"].array
    yield "raw", raw


def test_counts_of_who_expresses(pair):
    """scverse/scanpy#488, bowang-lab/scGPT#110: n_genes with zeros."""
    path, clean = pair
    dense = clean.X.toarray()
    want = clean.copy()
    sc.pp.calculate_qc_metrics(want, percent_top=(2, 8), inplace=True)
    for name, handle in held(path):
        for axis in (None, 0, 1):
            got, right = handle.X.getnnz(axis), np.count_nonzero(dense, axis=axis)
            np.testing.assert_array_equal(got, right, err_msg=name)
        assert handle.X.nnz == np.count_nonzero(dense)
        pp.calculate_qc_metrics(handle, percent_top=(2, 8))
        for frame in ("obs", "var"):
            for column in getattr(want, frame).select_dtypes("number"):
                np.testing.assert_allclose(
                    getattr(handle, frame)[column],
                    getattr(want, frame)[column],
                    rtol=1e-5,
                    err_msg=f"{name}: {column}",
                )


@pytest.mark.parametrize(
    ("function", "limits"),
    [
        ("filter_cells", {"min_genes": 9}),
        ("filter_cells", {"max_genes": 9}),
        ("filter_cells", {"min_counts": 1}),
        ("filter_genes", {"min_cells": 25}),
        ("filter_genes", {"max_cells": 25}),
    ],
)
def test_filters(pair, function, limits):
    """scverse/scanpy#488: cells pass by their zeros."""
    path, clean = pair
    want = clean.copy()
    getattr(sc.pp, function)(want, **limits)
    assert want.shape != clean.shape
    for name, handle in held(path):
        getattr(pp, function)(handle, **limits)
        assert list(handle.obs_names) == list(want.obs_names), name
        assert list(handle.var_names) == list(want.var_names), name


def test_markers_and_variable_genes(pair):
    """biocore/biom-format#727: shares of cells that only store a zero."""
    path, clean = pair
    want = clean.copy()
    sc.tl.rank_genes_groups(want, "k", method="wilcoxon", pts=True)
    hvg = sc.pp.highly_variable_genes(want, batch_key="k", n_top_genes=8, inplace=False)
    for name, handle in held(path):
        tl.rank_genes_groups(handle, "k", method="wilcoxon", pts=True, use_raw=False)
        got = handle.uns["rank_genes_groups"]
        for key in ("pts", "pts_rest"):
            pd.testing.assert_frame_equal(
                got[key].loc[clean.var_names],
                want.uns["rank_genes_groups"][key],
                check_names=False,
                obj=name,
            )
        found = pp.highly_variable_genes(handle, batch_key="k", n_top_genes=8, inplace=False)
        assert list(found["highly_variable"]) == list(hvg["highly_variable"]), name


@pytest.mark.parametrize("kind", ["geneformer", "scgpt"])
def test_tokens(pair, kind):
    """bowang-lab/scGPT#110: genes that a cell does not express as tokens."""
    path, clean = pair
    array = SLAFArray(path)
    dense = clean.X.toarray()
    make = {"geneformer": GeneformerTokenizer, "scgpt": ScGPTTokenizer}[kind]
    tokenizer = make(array, max_genes=64)
    special = list(tokenizer.special_tokens.values())
    loader = SLAFDataLoader(
        array, tokenizer_type=kind, batch_size=CELLS, max_genes=64, tensors=False, shuffle=False,
        verbose=False,
    )  # fmt: skip
    read = read_slaf(path).X.compute()
    assert (read.data == 0).any()
    for made in (tokenizer.encode(read), next(iter(loader))):
        cells = made.get("cell_ids", np.arange(CELLS))
        for cell, ids, mask in zip(cells, made["input_ids"], made["attention_mask"], strict=True):
            genes = [i for i in ids[mask] if i not in special]
            right = tokenizer.tokens[np.flatnonzero(dense[cell])]
            assert sorted(genes) == sorted(right)


def test_values_below_zero_are_not_expressed(tmp_path):
    """scverse/scanpy#3103's data: scanpy counts what is above zero."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 40)) * (rng.random((20, 40)) < 0.3)
    x[:5, :8] = -np.abs(x[:5, :8])
    obs = pd.DataFrame({"k": pd.Categorical(["a"] * 5 + ["b"] * 15)}, index=map(str, range(20)))
    adata = ad.AnnData(x, obs=obs)
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    for function, limits in (
        ("filter_cells", {"min_genes": 6}),
        ("filter_genes", {"min_cells": 3}),
    ):
        handle, want = read_slaf(tmp_path / "x.slaf"), adata.copy()
        getattr(pp, function)(handle, **limits)
        getattr(sc.pp, function)(want, **limits)
        assert handle.shape == want.shape != adata.shape
        name = "n_genes" if function == "filter_cells" else "n_cells"
        frame = "obs" if function == "filter_cells" else "var"
        assert list(getattr(handle, frame)[name]) == list(getattr(want, frame)[name])
    handle = read_slaf(tmp_path / "x.slaf")
    with np.errstate(invalid="ignore"):
        got = pp.highly_variable_genes(handle, batch_key="k", inplace=False)
        right = sc.pp.highly_variable_genes(adata, batch_key="k", inplace=False).loc[got.index]
    np.testing.assert_allclose(got["dispersions_norm"], right["dispersions_norm"], rtol=1e-9)
    assert list(got["highly_variable"]) == list(right["highly_variable"])
