"""Datasets in and out of Ray Data."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import numpy as np
import polars as pl
import pytest
import slaf
import slaf.ray
from conftest import make_counts
from fixtures_clusters import once
from scipy import sparse
from slaf import SlafError, read_slaf
from slaf.data import SLAFConverter
from slaf.ml import SLAFDataLoader
from slaf.scanpy import pp

pytest.importorskip("ray.data")
pytestmark = pytest.mark.usefixtures("ray_workers")


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    adata = make_counts(300, 40, seed=2)
    adata.layers["half"] = adata.X * 0.5
    adata.raw = adata
    target = tmp_path_factory.mktemp("ray") / "x.slaf"
    SLAFConverter().convert_anndata(adata, target)
    return str(target)


def frame_of(rows, *by: str) -> pl.DataFrame:
    found = pl.concat([pl.DataFrame(batch) for batch in rows.iter_batches(batch_format="pyarrow")])
    return found.sort(by) if by else found


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


@pytest.mark.parametrize(
    "asked",
    [
        {"obs": ["batch", "n_genes"], "var": ["symbol"]},
        {"layer": "half"},
        {"table": "raw", "obs": ["cell_id"]},
        {"table": "layers/half", "var": "gene_id"},
    ],
    ids=str,
)
def test_long_rows_are_those_of_the_scan(path, asked):
    rows = slaf.ray.read_slaf(path, cells_per_task=70, **asked)
    scanned = {"table": "X"} | asked
    want = plain(slaf.scan(path, **scanned).collect())
    keys = ("cell_integer_id", "gene_integer_id")
    assert frame_of(rows, *keys).equals(want.sort(keys))


def test_a_handles_part_and_steps_are_read(path):
    handle = read_slaf(path)
    pp.normalize_total(handle)
    pp.log1p(handle)
    handle.obs["mine"] = np.arange(300)
    part = handle[::3, 5:30]
    rows = slaf.ray.read_slaf(part, obs=["mine"], cells_per_task=40)
    keys = ("cell_integer_id", "gene_integer_id")
    want = part.lazy("X", obs=["mine"]).collect().sort(keys)
    assert frame_of(rows, *keys).equals(want)
    joined = slaf.concat({"a": handle[:50], "b": handle[200:]}, index_unique="-")
    rows = slaf.ray.read_slaf(joined, "csr", cells_per_task=60)
    assert (csr_of(rows, joined) != joined.X.compute()).nnz == 0


def csr_of(rows, handle, batch_format="pyarrow") -> sparse.csr_matrix:
    """The rows as a matrix, in the handle's order."""
    parts, names = [], []
    for batch in rows.iter_batches(batch_size=64, batch_format=batch_format):
        parts.append(slaf.ray.to_csr(batch, handle.n_vars))
        names += [str(name) for name in np.asarray(batch["cell_id"])]
    order = [names.index(name) for name in handle.obs_names]
    return sparse.vstack(parts, format="csr")[order]


def test_rows_of_cells_are_csr(path):
    handle = read_slaf(path)
    rows = slaf.ray.read_slaf(path, "csr", obs=["batch"], cells_per_task=90)
    assert rows.count() == 300
    for batch_format in ("pyarrow", "numpy", "pandas"):
        found = csr_of(rows, handle, batch_format)
        assert found.dtype == handle.X.dtype and (found != handle.X.compute()).nnz == 0
    batches = frame_of(rows, "cell_id")
    want = handle.obs["batch"].astype(str)
    assert batches["batch"].to_list() == want[batches["cell_id"].to_list()].tolist()
    layer = csr_of(slaf.ray.read_slaf(path, "csr", layer="half"), handle)
    assert (layer != handle.layers["half"].compute()).nnz == 0


@pytest.mark.parametrize("kind", ["geneformer", "scgpt"])
def test_tokens_are_the_loaders(path, kind):
    options = {"tokenizer_type": kind, "max_genes": 24}
    options |= {"tokenizer_options": {"ties": "upper"}} if kind == "scgpt" else {}
    handle = read_slaf(path)[10:290:2]
    rows = slaf.ray.read_slaf(handle, "tokens", obs=["n_genes"], cells_per_task=50, **options)
    loader = SLAFDataLoader(handle, verbose=False, tensors=False, **options)
    want = loader.tokenizer.encode(read_slaf(path).X.compute().astype(np.float64))
    seen = []
    for batch in rows.iter_batches(batch_size=33):
        at = read_slaf(path).obs_names.get_indexer(batch["cell_id"])
        for name, values in want.items():
            assert batch[name].dtype == values.dtype
            np.testing.assert_array_equal(batch[name], values[at])
        np.testing.assert_array_equal(batch["n_genes"], read_slaf(path).obs["n_genes"].iloc[at])
        seen += at.tolist()
    assert sorted(seen) == list(range(10, 290, 2))


def test_nothing_is_read_on_building_and_tasks_follow_from_the_dataset(path):
    rows = slaf.ray.read_slaf(path, "csr", cells_per_task=100)
    assert rows.materialize().num_blocks() == 3
    sizes = [len(batch["cell_id"]) for batch in rows.iter_batches(batch_size=None)]
    assert sizes == [100] * 3


def test_a_killed_worker_loses_none_and_repeats_none(path, tmp_path):
    def deadly(batch):
        if once(tmp_path / "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    rows = slaf.ray.read_slaf(path, "csr", cells_per_task=60)
    names = [row["cell_id"] for row in rows.map_batches(deadly).iter_rows()]
    assert (tmp_path / "killed").exists()
    assert sorted(names) == sorted(read_slaf(path).obs_names)


def test_what_is_read_is_written_again(path, tmp_path):
    target = tmp_path / "new.slaf"
    names = {"obs": ["cell_id", "batch"], "var": ["gene_id"]}

    def deadly(batch):
        if once(tmp_path / "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    rows = slaf.ray.read_slaf(path, cells_per_task=40, **names).map_batches(deadly)
    slaf.ray.write_slaf(rows, target, obs=["batch"])
    assert (tmp_path / "killed").exists()
    new, old = read_slaf(target), read_slaf(path)
    x = old.X.compute()
    some = np.flatnonzero(np.diff(x.indptr))
    assert list(new.obs_names) == list(old.obs_names[some])
    genes = old.var_names.get_indexer(new.var_names)
    assert (new.X.compute() != x[some][:, genes]).nnz == 0
    assert new.obs["batch"].tolist() == old.obs["batch"].iloc[some].astype(str).tolist()
    with pytest.raises(FileExistsError, match="exists already"):
        slaf.ray.write_slaf(rows, target)


def test_what_fails_is_not_written(path, tmp_path):
    def wrong(batch):
        raise LookupError("no such gene")

    rows = slaf.ray.read_slaf(path, obs=["cell_id"], var=["gene_id"])
    with pytest.raises(Exception, match="no such gene"):
        slaf.ray.write_slaf(rows.map_batches(wrong), tmp_path / "new.slaf")
    with pytest.raises(SlafError, match="no column `cell`. Did you mean"):
        slaf.ray.write_slaf(rows, tmp_path / "new.slaf", cell="cell")
    assert not (tmp_path / "new.slaf").exists()


def test_it_is_read_as_it_was(tmp_path):
    path = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(make_counts(60, 40), path)
    rows = slaf.ray.read_slaf(path, "csr")
    later = make_counts(30, 40, seed=1)
    later.obs_names = "later-" + later.obs_names
    later.write_h5ad(tmp_path / "later.h5ad")
    SLAFConverter().append(tmp_path / "later.h5ad", path)
    assert len(rows.take_all()) == 60
    SLAFConverter().convert_anndata(make_counts(60, 40), path, overwrite=True)
    rows = slaf.ray.read_slaf(path, "csr")
    SLAFConverter().convert_anndata(make_counts(60, 40, seed=3), path, overwrite=True)
    with pytest.raises(Exception, match="was written anew since it was opened elsewhere"):
        rows.take_all()
    rows = slaf.ray.read_slaf(path, "csr")
    shutil.rmtree(path)
    with pytest.raises(Exception, match=str(path)):
        rows.take_all()


def test_secrets_of_a_bucket_are_not_sent_to_workers(s3, pbmc_url):
    options = {
        "aws_endpoint": s3.endpoint,
        "aws_access_key_id": "tests",
        "aws_secret_access_key": "tests",
        "aws_region": "us-east-1",
        "allow_http": "true",
    }
    rows = slaf.ray.read_slaf(pbmc_url, "csr", storage_options=options, cells_per_task=350)
    with pytest.raises(Exception, match="Secrets .* are not sent to other processes"):
        rows.take_all()


def test_what_is_wrong_is_told(path, monkeypatch):
    for arguments, options, words in [
        (("coo",), {}, '"long", "csr" or "tokens", not \'coo\''),
        ((), {"table": "cells"}, "`slaf.scan`"),
        ((), {"obs": ["bach"]}, "bach"),
        (("csr",), {"obs": ["bach"]}, "bach"),
        (("csr",), {"max_genes": 3}, 'is of the form "tokens"'),
        (("tokens",), {"tokenizer_type": "bert"}, "bert"),
    ]:
        with pytest.raises(Exception, match=words):
            slaf.ray.read_slaf(path, *arguments, **options)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "slaf.ray.datasource")
    with pytest.raises(ImportError, match=r"pip install 'slaf-jupyter\[ray\]'"):
        slaf.ray.read_slaf(path)
