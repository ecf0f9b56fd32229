"""A dataset without values, and values that are stored more than once: X contains what was
found, summed, or a sentence says why not."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem
from checks import assert_same
from conftest import dense, make_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from slaf import SlafError
from slaf.cli import main
from slaf.data import SLAFConverter
from slaf.data.sources.base import canonical
from slaf.integrations import read_slaf

# Backed ----------------------------------------------------------------------

BEFORE = {
    "nothing": lambda backed: backed,
    "some cells": lambda backed: (backed[:2].to_memory(), backed)[1],
    "to_memory": lambda backed: (backed.to_memory(), backed)[1],
    "closed": lambda backed: (backed.file.close(), backed)[1],
    "a view": lambda backed: backed[5:50:3, 2:30],
    "a view, then closed": lambda backed: (backed[5:50:3, 2:30], backed.file.close())[0],
    "cells in no order": lambda backed: backed[[7, 3, 50]],
}


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_a_backed_file_that_was_closed_keeps_x(tmp_path, before, kind):
    """scverse/anndata#1723, scverse/anndata#718"""
    adata = make_counts()
    adata.raw = adata.copy()
    adata.layers["twice"] = adata.X * 2
    adata.X = dense(adata.X) if kind == "dense" else adata.X.asformat(kind)
    adata.write_h5ad(tmp_path / "x.h5ad")
    backed = before(ad.read_h5ad(tmp_path / "x.h5ad", backed="r"))
    SLAFConverter().convert_anndata(backed, tmp_path / "x.slaf")
    got = read_slaf(tmp_path / "x.slaf").to_adata()
    want = adata[backed.obs_names, backed.var_names]
    np.testing.assert_array_equal(dense(got.X), dense(want.X))
    np.testing.assert_array_equal(dense(got.layers["twice"]), dense(want.layers["twice"]))
    np.testing.assert_array_equal(dense(got.raw.X), dense(adata.raw[backed.obs_names].X))


def test_a_backed_file_without_x_has_none(tmp_path):
    """scverse/anndata#1723"""
    adata = make_counts()
    del adata.X
    adata.write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    SLAFConverter().convert_anndata(backed, tmp_path / "x.slaf")
    assert read_slaf(tmp_path / "x.slaf").to_adata().X is None


# MuData ----------------------------------------------------------------------


@pytest.fixture
def modalities() -> dict[str, ad.AnnData]:
    rna = make_counts()
    rna.strings_to_categoricals()
    rna.obsm["X_pca"] = np.ones((60, 2), np.float32)
    rna.raw = rna.copy()
    protein = ad.AnnData(
        np.arange(120, dtype=np.float32).reshape(60, 2),
        obs=pd.DataFrame(index=rna.obs_names),
        var=pd.DataFrame(index=["CD3", "CD4"]),
    )
    return {"rna": rna, "prot": protein}


@pytest.fixture(params=["x.h5mu", "x.h5ad", "x.h5"])
def h5mu(tmp_path, modalities, request):
    """As mudata writes it, its mark in front of HDF5's, under any name."""
    with h5py.File(tmp_path / request.param, "w", userblock_size=512) as file:
        file.attrs["encoding-type"], file.attrs["encoding-version"] = "MuData", "0.1.0"
        file.create_group("mod").attrs["mod-order"] = list(modalities)
        for name, adata in modalities.items():
            write_elem(file["mod"], name, adata)
        write_elem(file, "obs", pd.DataFrame(index=modalities["rna"].obs_names))
        write_elem(file, "var", pd.DataFrame(index=["g1"]))
    with open(tmp_path / request.param, "r+b") as file:
        file.write(b"MuData (format-version=0.1.0;creator=muon;creator-version=0.3.1)")
    return tmp_path / request.param


def test_a_modality_of_mudata_is_named(h5mu, modalities, tmp_path):
    """ilia-kats/MuData#9, PMBio/MuDataSeurat#9, scverse/muon#17"""
    for name, adata in modalities.items():
        SLAFConverter().convert(h5mu, tmp_path / f"{name}.slaf", modality=name)
        assert_same(read_slaf(tmp_path / f"{name}.slaf").to_adata(), adata)
    target = str(tmp_path / "cli.slaf")
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(h5mu), target, "--modality", "prot"])
    assert ended.value.code == 0
    assert read_slaf(target).var_names.tolist() == ["CD3", "CD4"]


def test_mudata_without_a_modality_says_which_there_are(h5mu, tmp_path):
    """ilia-kats/MuData#9"""
    for wrong in (None, "ran"):
        with pytest.raises(SlafError, match=r"is MuData, with the modalities `rna`, `prot`.*rna"):
            SLAFConverter().convert(h5mu, tmp_path / "x.slaf", modality=wrong)
    assert not (tmp_path / "x.slaf").exists()


def test_a_mudata_object(modalities, tmp_path):
    """scverse/muon#17"""

    class MuData:
        mod = modalities

    with pytest.raises(SlafError, match="the modalities `rna`, `prot`"):
        SLAFConverter().convert_anndata(MuData(), tmp_path / "x.slaf")
    SLAFConverter().convert_anndata(MuData(), tmp_path / "x.slaf", modality="prot")
    assert_same(read_slaf(tmp_path / "x.slaf").to_adata(), modalities["prot"])


def test_a_modality_of_what_is_no_mudata(tmp_path):
    """scverse/muon#17"""
    make_counts().write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(SlafError, match="not MuData"):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf", modality="rna")
    with pytest.raises(SlafError, match="not MuData"):
        SLAFConverter().convert_anndata(make_counts(), tmp_path / "x.slaf", modality="rna")


# Places that are stored more than once ---------------------------------------


def repeated(dtype: str, cells: int = 30, genes: int = 20) -> sparse.csr_matrix:
    """Columns in no order, some twice or three times in a row."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, cells)
    indices = rng.integers(0, genes, counts.sum())
    data = rng.integers(1, 9, counts.sum()).astype(dtype)
    indptr = np.concatenate(([0], np.cumsum(counts)))
    matrix = sparse.csr_matrix((data, indices.astype(np.int32), indptr), (cells, genes))
    assert not matrix.has_canonical_format
    return matrix


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("from_file", [True, False])
def test_genes_that_a_cell_names_twice_are_summed(tmp_path, dtype, from_file):
    """chanzuckerberg/cellxgene-census#715"""
    x = repeated(dtype)
    want = x.toarray()
    adata = ad.AnnData(shape=x.shape)
    adata.X = x.copy()
    adata.layers["csc"] = x.T.tocsr().T
    adata.layers["csr"] = x.copy()
    square = repeated(dtype, 30, 30)
    adata.obsp["near"] = square
    adata.raw = adata.copy()
    assert adata.layers["csc"].format == "csc"
    if from_file:
        adata.write_h5ad(tmp_path / "x.h5ad")
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    else:
        SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    got = read_slaf(tmp_path / "x.slaf")
    assert got.X.nnz == (want != 0).sum()
    back = got.to_adata()
    for found in (back.X, back.raw.X, back.layers["csc"], back.layers["csr"]):
        assert found.dtype == dtype
        np.testing.assert_array_equal(dense(found), want)
    np.testing.assert_array_equal(dense(back.obsp["near"]), square.toarray())


@pytest.mark.parametrize("genomes", [("matrix",), ("hg19",), ("hg19", "mm10")])
def test_a_10x_file_that_names_a_gene_twice(tmp_path, genomes):
    """chanzuckerberg/cellxgene-census#715"""
    x = repeated("int32")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in genomes:
            group = file.create_group(name)
            for key in ("data", "indices", "indptr"):
                group[key] = getattr(x, key)
            group["shape"] = [20, 30]
            group["barcodes"] = np.array([f"c{i}" for i in range(30)], "S")
            ids = np.array([f"{name}-{i}" for i in range(20)], "S")
            if name == "matrix":
                for key in ("id", "name", "feature_type", "genome"):
                    group[f"features/{key}"] = ids
            else:
                group["genes"] = group["gene_names"] = ids
    SLAFConverter().convert(tmp_path / "x.h5", tmp_path / "x.slaf")
    want = np.hstack([x.toarray()] * len(genomes))
    got = read_slaf(tmp_path / "x.slaf")
    assert got.X.nnz == (want != 0).sum()
    np.testing.assert_array_equal(got.X.toarray(), want)


def test_sums_that_do_not_fit_are_refused(tmp_path):
    """chanzuckerberg/cellxgene-census#715"""
    adata = ad.AnnData(shape=(1, 3))
    indices, indptr = np.array([1, 1], np.int32), np.array([0, 2])
    for dtype, value in (("uint8", 200), ("int64", 2**62), ("int32", 2**30), ("uint16", 40_000)):
        data = np.array([value, value], dtype)
        adata.X = sparse.csr_matrix((data, indices, indptr), (1, 3))
        adata.write_h5ad(tmp_path / "x.h5ad")
        with pytest.raises(SlafError, match=f"does not fit {dtype}"):
            SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
        assert not (tmp_path / "x.slaf").exists()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_rows_of_any_order_are_what_scipy_makes_of_them(data):
    """scipy/scipy#5807: duplicates and unsorted indices"""
    width = data.draw(st.integers(1, 6))
    rows = data.draw(st.lists(st.lists(st.integers(0, width - 1), max_size=8), max_size=6))
    indices = np.array([column for row in rows for column in row], np.int32)
    values = np.array([data.draw(st.integers(-9, 9)) for _ in indices], np.int32)
    # A block in the middle of a file: its offsets do not begin at zero.
    indptr = np.cumsum([data.draw(st.integers(0, 100)), *map(len, rows)])
    got = canonical(indptr, indices, values, "int32")
    shape = (len(rows), width)
    want = sparse.csr_matrix((values, indices, indptr - indptr[0]), shape)
    want.sum_duplicates()
    np.testing.assert_array_equal(got[0] - got[0][0], want.indptr)
    np.testing.assert_array_equal(got[1], want.indices)
    np.testing.assert_array_equal(got[2], want.data)
