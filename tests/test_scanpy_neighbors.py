"""Neighbours, doublets and labels of a reference: as scanpy has them in memory."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from fixtures_scanpy import dense
from scipy import sparse
from slaf.integrations import read_slaf
from slaf.scanpy import pp, tl

pytestmark = pytest.mark.usefixtures("quiet")


# Neighbours -------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"transformer": "exact"},
        {"transformer": "exact", "n_neighbors": 7, "n_pcs": 20, "method": "gauss"},
        {"transformer": "exact", "use_rep": "X_umap", "key_added": "near"},
        {"transformer": "exact", "metric": "cosine"},
        {"n_neighbors": 9},
    ],
    ids=str,
)
def test_neighbours(twins, options, monkeypatch):
    monkeypatch.setattr("slaf.pp.neighbors._BLOCK", 128)
    pp.neighbors(twins.handle, **options)
    sc.pp.neighbors(twins.adata, **{**options, "transformer": "sklearn"})
    key = options.get("key_added", "neighbors")
    ours, theirs = twins.handle.uns[key], twins.adata.uns[key]
    assert dict(ours) == dict(theirs)
    for name in (theirs["distances_key"], theirs["connectivities_key"]):
        np.testing.assert_allclose(
            dense(twins.handle.obsp[name]), dense(twins.adata.obsp[name]), rtol=1e-3, atol=1e-4
        )


def test_neighbours_of_equal_cells(real):
    handle = read_slaf(real[0])[:50].copy()
    handle.obsm["X_pca"] = np.repeat(np.eye(2, dtype=np.float32), 25, axis=0)
    pp.neighbors(handle, transformer="exact", n_neighbors=5)
    graph = handle.obsp["distances"]
    assert graph.nnz == 50 * 4
    assert not graph.diagonal().any()
    assert graph.max() == 0


def test_neighbours_of_no_embedding(real):
    handle = read_slaf(real[0])
    with pytest.raises(ValueError, match="in an embedding, not in X"):
        pp.neighbors(handle, use_rep="X")
    with pytest.raises(ValueError, match="in an embedding, not in X"):
        pp.neighbors(handle[:, :40].copy())
    with pytest.raises(ValueError, match="'euclidean' or 'cosine', not 'manhattan'"):
        pp.neighbors(handle, transformer="exact", metric="manhattan")
    del handle.obsm["X_pca"]
    pp.neighbors(handle, n_pcs=12, transformer="exact")
    assert handle.obsm["X_pca"].shape == (700, 12)


# Doublets and references ------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.2},
        {"threshold": 0.2, "sim_doublet_ratio": 1.5, "random_state": 3, "n_neighbors": 8},
        {"threshold": 0.2, "batch_key": "stage", "n_prin_comps": 10, "log_transform": True},
        {"threshold": None},
    ],
    ids=str,
)
def test_doublets(real, options):
    if options["threshold"] is None:
        pytest.importorskip("skimage")
    path, adata = real
    handle, adata = read_slaf(path), adata.copy()
    if "batch_key" in options:
        adata.obs["stage"] = adata.obs["stage"].cat.remove_unused_categories()
    pp.scrublet(handle, **options)
    sc.pp.scrublet(adata, verbose=False, **options)
    for name in ("doublet_score", "predicted_doublet"):
        np.testing.assert_allclose(
            handle.obs[name].astype(float), adata.obs[name].astype(float), rtol=1e-5
        )
    assert handle.obs["predicted_doublet"].dtype == bool
    ours, theirs = handle.uns["scrublet"], adata.uns["scrublet"]
    assert ours.keys() == theirs.keys()
    if "batch_key" in options:
        ours, theirs = ours["batches"]["late"], theirs["batches"]["late"]
    np.testing.assert_allclose(ours["doublet_scores_sim"], theirs["doublet_scores_sim"], rtol=1e-5)
    assert ours["parameters"] == theirs["parameters"]
    assert handle.X.pending == ()


def test_cells_with_too_few_genes_are_no_doublets(real):
    handle = read_slaf(real[0])
    x = handle.X.compute().tolil()
    x[[3, 9]] = 0
    handle.X = sparse.csr_matrix(x)
    adata = handle.to_adata()
    pp.scrublet(handle, threshold=0.2)
    sc.pp.scrublet(adata, threshold=0.2, verbose=False)
    np.testing.assert_allclose(handle.obs["doublet_score"], adata.obs["doublet_score"], rtol=1e-5)
    missing = handle.obs["predicted_doublet"].isna().to_numpy()
    assert list(np.flatnonzero(missing)) == [3, 9]
    with pytest.raises(ValueError, match="no batch for"):
        pp.scrublet(handle, threshold=0.2, batch_key="donor")


@pytest.fixture
def mapped(real):
    """A reference and new cells, with the same components and neighbours."""
    path, adata = real
    handle, adata = read_slaf(path), adata.copy()
    for module, data in ((pp, handle), (sc.pp, adata)):
        module.normalize_total(data, target_sum=1e4)
        module.log1p(data)
        module.highly_variable_genes(data)
    ours, theirs = ((data[:500].copy(), data[500:].copy()) for data in (handle, adata))
    for parts in (ours, theirs):
        for key in ("X_pca", "X_umap"):
            del parts[1].obsm[key]
    reference = theirs[0]
    sc.pp.pca(reference, n_comps=20)
    sc.pp.neighbors(reference)
    sc.tl.umap(reference)
    for section in ("obsm", "varm", "obsp", "uns"):
        for key, value in getattr(reference, section).items():
            getattr(ours[0], section)[key] = value
    return ours, theirs


def test_labels_of_a_reference(mapped):
    (ref, new), (theirs_ref, theirs) = mapped
    labels = ["bulk_labels", "phase"]
    try:
        sc.tl.ingest(theirs, theirs_ref, obs=labels)
    except TypeError:
        # scanpy 1.11 and pynndescent 0.7.
        with pytest.raises(ImportError, match="pip install 'pynndescent<0.7'"):
            tl.ingest(new, ref, obs=labels)
        return
    copy = tl.ingest(new, ref, obs=labels, inplace=False)
    assert "X_pca" not in new.obsm
    assert set(copy.obsm) == set(theirs.obsm)
    for key in ("X_pca", "rep"):
        np.testing.assert_allclose(copy.obsm[key], theirs.obsm[key], atol=1e-4)
    # What rounding does to UMAP's descent it does to scanpy's, too.
    assert np.median(np.abs(copy.obsm["X_umap"] - theirs.obsm["X_umap"])) < 0.1
    for name in labels:
        assert (copy.obs[name].to_numpy() == theirs.obs[name].to_numpy()).mean() > 0.98


def test_references_that_do_not_fit(mapped):
    (ref, new), _ = mapped
    with pytest.raises(ValueError, match="other genes"):
        tl.ingest(new[:, ::-1], ref)
    with pytest.raises(KeyError, match="bulk_label.*Did you mean.*bulk_labels"):
        tl.ingest(new, ref, obs="bulk_label")
    del ref.uns["pca"]
    with pytest.raises(ValueError, match="run `pp.pca` on it first"):
        tl.ingest(new, ref)
