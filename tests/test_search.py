"""Nearest neighbours: compared with sorting all distances, through an index, in SQL, and
for label transfer compared with scikit-learn."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from commands import here
from inside import engine_of
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier
from slaf import SLAFArray, SlafError, _slaf
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.tl import transfer_labels

N, D = 3000, 12
METRICS = ("l2", "cosine", "dot")


def clouds(n: int, seed: int) -> ad.AnnData:
    """Cells around eight centres, whose number is their type."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(8, D)) * 2
    kind = random.integers(0, 8, n)
    x = sparse.random(n, 6, 0.3, "csr", random_state=seed, dtype=np.float32)
    adata = ad.AnnData(x, obs=pd.DataFrame(index=[f"c{seed}-{i}" for i in range(n)]))
    adata.obs["kind"] = pd.Categorical([f"type {k}" for k in kind])
    adata.obs["half"] = np.arange(n) % 2
    adata.obsm["X_pca"] = (centres[kind] + random.normal(size=(n, D))).astype(np.float32)
    adata.varm["PCs"] = random.normal(size=(6, 4)).astype(np.float32)
    return adata


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return clouds(N, 0)


@pytest.fixture(scope="module")
def path(adata, tmp_path_factory):
    target = tmp_path_factory.mktemp("search") / "x.slaf"
    SLAFConverter().convert_anndata(adata, target)
    return target


def distances_of(metric: str, queries, vectors) -> np.ndarray:
    queries, vectors = np.float64(queries), np.float64(vectors)
    if metric == "dot":
        return -queries @ vectors.T
    return cdist(queries, vectors, "euclidean" if metric == "l2" else "cosine")


def check(found, want: np.ndarray, k: int) -> None:
    order = np.argsort(want, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, np.take_along_axis(want, order, 1), atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 300])
def test_exact(path, adata, metric, k):
    handle = read_slaf(path)
    queries = np.random.default_rng(1).normal(size=(7, D)).astype(np.float32)
    want = distances_of(metric, queries, adata.obsm["X_pca"])
    found = handle.obsm.search("X_pca", queries, k, metric=metric)
    assert found.exact
    check(found, want, k)
    one = handle.obsm.search("X_pca", queries[2], k, metric=metric)
    np.testing.assert_array_equal(one.indices, found.indices[2])
    np.testing.assert_array_equal(one.distances, found.distances[2])


def test_filters_and_views(path, adata):
    handle = read_slaf(path)
    query = adata.obsm["X_pca"][5] + 0.1
    want = distances_of("l2", query[None], adata.obsm["X_pca"])[0]
    odd = np.arange(N) % 2 == 1
    among = np.where(odd, want, np.inf)
    for chosen in (odd, "half = 1", np.flatnonzero(odd), adata.obs_names[odd]):
        found = handle.obsm.search("X_pca", query, 9, filter=chosen)
        check_row(found, among, 9)
    turned = np.flatnonzero(odd)[::-1]
    view = handle[turned]
    found = view.obsm.search("X_pca", query, 9)
    check_row(found, want[turned], 9)
    assert list(found.names[found.indices]) == list(adata.obs_names[turned][found.indices])
    inside = view.obsm.search("X_pca", query, 9, filter="kind = 'type 3'")
    only = np.where(adata.obs["kind"].to_numpy()[turned] == "type 3", want[turned], np.inf)
    check_row(inside, only, 9)
    few = handle.obsm.search("X_pca", query, 5, filter=[7, 8])
    assert set(few.indices[:2]) == {7, 8} and (few.indices[2:] == -1).all()
    assert np.isinf(few.distances[2:]).all()
    assert len(few.frame) == 2


def check_row(found, want: np.ndarray, k: int) -> None:
    order = np.argsort(want, kind="stable")[:k]
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, want[order], atol=1e-12)


def test_cells_like_these_genes_and_arrays_in_memory(path, adata):
    handle = read_slaf(path)
    like = handle.obsm.search("X_pca", ["c0-4", "c0-40"], 3)
    assert like.indices[:, 0].tolist() == [4, 40]
    assert handle.obsm.search("X_pca", "c0-4", 3).indices.tolist() == like.indices[0].tolist()
    genes = handle.varm.search("PCs", np.ones(4), 2)
    check_row(genes, distances_of("l2", np.ones((1, 4)), adata.varm["PCs"])[0], 2)
    assert list(genes.frame.columns) == ["name", "index", "distance"]
    handle.obsm["X_new"] = adata.obsm["X_pca"][:, :3]
    found = handle.obsm.search("X_new", np.zeros(3), 4)
    check_row(found, distances_of("l2", np.zeros((1, 3)), adata.obsm["X_pca"][:, :3])[0], 4)


def test_vectors_without_a_direction_have_no_neighbours(adata, tmp_path):
    some = adata[:20].copy()
    some.obsm["X_pca"][3] = 0
    some.obsm["X_pca"][4, 2] = np.nan
    SLAFConverter().convert_anndata(some, tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    for metric, absent in (("cosine", {3, 4}), ("l2", {4})):
        found = handle.obsm.search("X_pca", some.obsm["X_pca"][0], 20, metric=metric)
        assert set(range(20)) - set(found.indices) == absent


def test_sql_says_the_same(path, adata):
    array, handle = SLAFArray(path), read_slaf(path)
    query = adata.obsm["X_pca"][8] * 0.9
    for metric in METRICS:
        found = handle.obsm.search("X_pca", query, 12, metric=metric)
        sql = f"SELECT cell_integer_id, distance FROM knn(cells, 'X_pca', $q, 12, '{metric}')"
        told = array.query(sql, q=[float(x) for x in query])
        assert told["cell_integer_id"].to_list() == found.indices.tolist()
        np.testing.assert_array_equal(told["distance"], found.distances)


@pytest.fixture(scope="module")
def indexed(adata, tmp_path_factory):
    target = tmp_path_factory.mktemp("indexed") / "x.slaf"
    SLAFConverter().convert_anndata(adata, target)
    more = ["--metric", "cosine", "--partitions", "30"]
    done = here("index", target, "--vector", "X_pca", *more)
    assert done.returncode == 0, done.stderr
    assert "X_pca by cosine in 30 partitions" in done.stdout
    return target


def test_an_index_finds_nearly_all_and_all_when_it_looks_everywhere(indexed, adata):
    handle = read_slaf(indexed)
    metric, partitions, visited, recall = _slaf.vector_index(
        engine_of(handle.slaf), "cells", "X_pca"
    )
    assert (metric, partitions, visited) == ("cosine", 30, 8)
    assert 0.8 < recall <= 1
    queries = adata.obsm["X_pca"][::50] + np.float32(0.01)
    exact = handle.obsm.search("X_pca", queries, 10, metric="cosine", exact=True)
    assert exact.exact
    by_index = handle.obsm.search("X_pca", queries, 10, metric="cosine", exact=False)
    assert not by_index.exact
    pairs = zip(exact.indices, by_index.indices, strict=True)
    hits = np.mean([len(set(a) & set(b)) / 10 for a, b in pairs])
    assert hits > 0.8
    everywhere = handle.obsm.search("X_pca", queries, 10, metric="cosine", exact=False, visit=30)
    np.testing.assert_array_equal(np.sort(everywhere.indices), np.sort(exact.indices))
    np.testing.assert_allclose(everywhere.distances, exact.distances, atol=1e-5)
    assert handle.obsm.search("X_pca", queries, 10, metric="cosine").exact, "it is small"
    np.testing.assert_array_equal(handle.obsm["X_pca"], adata.obsm["X_pca"])


def test_an_index_says_when_it_does_not_fit(indexed, path, adata):
    query = adata.obsm["X_pca"][0]
    handle = read_slaf(indexed)
    for text, ask in (
        ("it is for the metric 'cosine'", lambda: handle.obsm.search("X_pca", query, exact=False)),
        (
            "it covers the whole dataset",
            lambda: handle[:9].obsm.search("X_pca", query, metric="cosine", exact=False),
        ),
        (
            "there is none; `slaf index DATASET --vector X_pca` makes it",
            lambda: read_slaf(path).obsm.search("X_pca", query, exact=False),
        ),
    ):
        with pytest.raises(ValueError) as raised:
            ask()
        assert text in str(raised.value)
    assert _slaf.vector_index(engine_of(read_slaf(path).slaf), "cells", "X_pca") is None


def test_what_cannot_be_asked_is_refused(path):
    handle = read_slaf(path)
    for error, text, more in (
        (SlafError, "The query has 3 numbers, and the vectors have 12", {"query": np.ones(3)}),
        (SlafError, "Query 0 contains NaN", {"query": np.full(D, np.nan)}),
        (SlafError, "at least one neighbour", {"k": 0}),
        (ValueError, "no metric `l3`. There are `l2`, `cosine`, `dot`", {"metric": "l3"}),
        (KeyError, "'X_pac' is not in obsm", {"key": "X_pac"}),
        (KeyError, "not valid obs names", {"query": "c0-9999"}),
        (ValueError, "not 3-d", {"query": np.ones((1, 1, D))}),
    ):
        with pytest.raises(error) as raised:
            handle.obsm.search(**({"key": "X_pca", "query": np.ones(D)} | more))
        assert text in str(raised.value)
    done = here("index", path, "--vector", "X_pac")
    assert done.returncode == 1 and "There is no embedding `X_pac`" in done.stderr


def test_labels_are_transferred_as_by_scikit_learn(path, adata, tmp_path):
    new = clouds(400, 3)
    SLAFConverter().convert_anndata(new, tmp_path / "new.slaf")
    handle, reference = read_slaf(tmp_path / "new.slaf"), read_slaf(path)
    told = transfer_labels(handle, reference, "kind", k=7, key_added="predicted")
    oracle = KNeighborsClassifier(7, weights="distance", algorithm="brute")
    oracle.fit(np.float64(adata.obsm["X_pca"]), adata.obs["kind"].astype(str))
    assert list(told["predicted"]) == list(oracle.predict(np.float64(new.obsm["X_pca"])))
    certain = oracle.predict_proba(np.float64(new.obsm["X_pca"])).max(1)
    np.testing.assert_allclose(told["predicted_confidence"], certain, rtol=1e-6)
    assert list(handle.obs["predicted"]) == list(told["predicted"])
    assert (told["predicted"].astype(str) == new.obs["kind"].astype(str)).mean() > 0.9
    own = transfer_labels(reference, reference, "kind", k=7)
    assert list(own["kind"]) == list(adata.obs["kind"]), "a cell is nearest to itself"
    with pytest.raises(KeyError, match="has no column `knd`"):
        transfer_labels(handle, reference, "knd")
