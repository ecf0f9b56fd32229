"""Datasets on object storage: a bucket gives the same results as a folder."""

from __future__ import annotations

import os

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from checks import assert_same, refusal
from cloud_calls import QUESTIONS, slaf, whole
from conftest import dense, make_counts
from polars.testing import assert_frame_equal
from slaf import SLAFArray
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

# The same as in a folder --------------------------------------------------


def test_everything_of_a_dataset_survives_in_a_bucket(cloud, pbmc, pbmc_url):
    got = whole(pbmc_url)
    assert_same(got, pbmc)
    np.testing.assert_array_equal(dense(got.raw.X), dense(pbmc.raw.X))
    pd.testing.assert_frame_equal(got.raw.var, pbmc.raw.var)


def test_metadata_of_every_kind(cloud, counts, counts_h5ad):
    SLAFConverter().convert(counts_h5ad, cloud.url("kinds.slaf"))
    assert_same(whole(cloud.url("kinds.slaf")), counts)


def test_an_anndata_in_memory(cloud, counts):
    SLAFConverter().convert_anndata(counts, cloud.url("memory.slaf"))
    assert_same(whole(cloud.url("memory.slaf")), counts)


@pytest.mark.parametrize("sql", QUESTIONS)
@pytest.mark.parametrize("engine", [None, "datafusion"])
def test_answers(cloud, pbmc_url, pbmc_slaf, sql, engine):
    got, want = (SLAFArray(at).query(sql, engine=engine) for at in (pbmc_url, pbmc_slaf))
    assert_frame_equal(got, want)


@pytest.mark.parametrize(
    "key",
    [
        np.s_[5:50, ::3],
        np.s_[[600, 3, 3, 41], 10:],
        np.s_[:, [7, 700]],
        np.s_[np.arange(700) % 2 == 0, :20],
        np.s_[-1, :],
        np.s_[:0, :],
    ],
    ids=str,
)
def test_slices(cloud, pbmc_url, pbmc_slaf, key):
    got, want = (read_slaf(at)[key] for at in (pbmc_url, pbmc_slaf))
    np.testing.assert_array_equal(dense(got.X.compute()), dense(want.X.compute()))
    pd.testing.assert_frame_equal(got.obs, want.obs)


def test_a_slash_at_the_end_means_nothing(cloud, pbmc_url):
    assert SLAFArray(pbmc_url + "/").shape == SLAFArray(pbmc_url).shape


@pytest.mark.parametrize("name", ["a b/c+d&e", "größe", "100%", "a%20b", "a#b", "a?b"])
def test_names_that_an_address_quotes(cloud, counts, counts_h5ad, name):
    url = cloud.url(f"quoted/{name}.slaf")
    SLAFConverter().convert(counts_h5ad, url)
    assert_same(whole(url), counts)
    assert cloud.keys(f"quoted/{name}.slaf/config.json")


def test_storage_options_in_place_of_the_environment(s3, pbmc_url, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    options = {
        "aws_endpoint": s3.endpoint,
        "aws_access_key_id": "tests",
        "aws_secret_access_key": "tests",
        "aws_region": "us-east-1",
    }
    assert SLAFArray(pbmc_url, storage_options=options).shape == (700, 765)
    assert read_slaf(pbmc_url, storage_options=options).shape == (700, 765)


def test_a_slice_does_not_read_the_dataset(cloud, pbmc_url):
    size = sum(len(cloud.get(key)) for key in cloud.keys("pbmc.slaf/expression.lance/"))
    handle = read_slaf(pbmc_url)
    cloud.forget()
    handle[10:12].X.compute()
    assert 0 < cloud.bytes_sent < size / 2


def test_an_existing_dataset_is_not_replaced_unasked(cloud, counts_h5ad, pbmc_url):
    message = refusal(FileExistsError, SLAFConverter().convert, counts_h5ad, pbmc_url)
    assert pbmc_url in message
    assert SLAFArray(pbmc_url).shape == (700, 765)


def test_overwriting_leaves_nothing_of_the_old(cloud, counts, counts_h5ad, tmp_path):
    url = cloud.url("replaced.slaf")
    SLAFConverter().convert(counts_h5ad, url)
    before = set(cloud.keys("replaced.slaf/"))
    other = make_counts(cells=30, seed=2)
    SLAFConverter().convert_anndata(other, url, overwrite=True)
    assert_same(whole(url), other)
    lance = {key for key in before if key.endswith(".lance")}
    assert lance and not lance & set(cloud.keys("replaced.slaf/"))


def test_memory_is_a_place_as_others(counts, counts_h5ad, convert):
    url = "memory://tests/counts.slaf"
    SLAFConverter().convert(counts_h5ad, url)
    assert_same(whole(url), counts)
    sql = "SELECT * FROM expression ORDER BY cell_integer_id, gene_integer_id"
    assert_frame_equal(SLAFArray(url).query(sql), SLAFArray(convert(counts)).query(sql))
    assert "nothing at" in refusal(FileNotFoundError, SLAFArray, "memory://tests/none.slaf")


# The command --------------------------------------------------------------


def test_a_life_in_a_bucket(s3, counts, counts_h5ad, tmp_path):
    url = s3.url("life.slaf")
    more = make_counts(seed=1)
    more.obs_names = [f"more-{name}" for name in more.obs_names]
    more.write_h5ad(tmp_path / "more.h5ad")

    def run(*arguments: object) -> str:
        done = slaf(s3, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "60 cells × 40 genes" in run("convert", counts_h5ad, url)
    assert "60 cells × 40 genes" in run("info", url)
    assert "120 cells × 40 genes" in run("append", tmp_path / "more.h5ad", url)
    run("query", url, "SELECT * FROM cells", "--output", tmp_path / "cells.csv")
    names = pl.read_csv(tmp_path / "cells.csv")["cell_id"].to_list()
    assert names == [*counts.obs_names, *more.obs_names]
    assert "60 cells × 40 genes" in run("info", url, "--version", "1")
    assert "WRONG" not in run("validate", url)
    run("index", url)
    assert "WRONG" not in run("validate", url)
    listed = run("history", url).splitlines()
    assert len(listed) >= 2 and "60 × 40" in listed[-1] and "120 × 40" in listed[0]
    before = len(s3.keys("life.slaf/"))
    run("vacuum", url, "--keep", "1")
    assert len(s3.keys("life.slaf/")) < before
    assert len(run("history", url).splitlines()) == 1
    assert "WRONG" not in run("validate", url)
    assert slaf(s3, "info", url, "--version", "1").returncode == 1
    run("export", url, tmp_path / "back.h5ad")
    back = ad.read_h5ad(tmp_path / "back.h5ad")
    want = np.vstack([dense(counts.X), dense(more.X)])
    np.testing.assert_array_equal(dense(back.X), want)
    assert list(back.obs_names) == names


def test_files_in_a_bucket(s3, counts, counts_h5ad, tmp_path):
    s3.put("in.h5ad", counts_h5ad.read_bytes())
    done = slaf(s3, "convert", s3.url("in.h5ad"), tmp_path / "in.slaf")
    assert done.returncode == 0, done.stderr
    assert_same(whole(tmp_path / "in.slaf"), counts)
    done = slaf(s3, "export", tmp_path / "in.slaf", s3.url("out.h5ad"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "out.h5ad").write_bytes(s3.get("out.h5ad"))
    np.testing.assert_array_equal(dense(ad.read_h5ad(tmp_path / "out.h5ad").X), dense(counts.X))


# Training -----------------------------------------------------------------


def test_random_batches_stream_from_a_bucket(cloud, pbmc, pbmc_url):
    """Each rank reads its own part, and gets the same batches as from a folder."""
    from slaf.ml import SLAFDataLoader

    x, seen = dense(pbmc.X), []
    more = {"batch_size": 32, "raw_mode": True, "raw_format": "csr", "verbose": False}
    for rank in range(2):
        loader = SLAFDataLoader(pbmc_url, rank=rank, world_size=2, buffer=128, **more)
        with cloud.faults(latency=0.02, error_every=9):
            for batch in loader:
                cells = np.asarray(batch["cell_ids"])
                np.testing.assert_array_equal(batch["x"].toarray(), x[cells].astype(np.float32))
                seen.extend(cells.tolist())
    assert sorted(seen) == list(range(700))
