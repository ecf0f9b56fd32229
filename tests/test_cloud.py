"""Datasets on object storage: what a bucket gives is what a folder gives, also while
the server fails; and where it keeps failing, a sentence comes in the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import dense, make_counts
from polars.testing import assert_frame_equal
from s3 import S3
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from test_convert import assert_same
from test_errors import refusal

QUESTIONS = [
    "SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain ORDER BY louvain",
    "SELECT cell_integer_id, COUNT(*) AS n, MAX(value) AS top FROM expression "
    "GROUP BY cell_integer_id ORDER BY cell_integer_id",
    "SELECT * FROM expression WHERE cell_integer_id BETWEEN 300 AND 309 "
    "AND gene_integer_id < 40 ORDER BY cell_integer_id, gene_integer_id",
]
#: Faults that an answer survives.
PASSING = {
    "slow": {"latency": 0.05},
    "refusing": {"error_every": 5},
    "failing": {"error_every": 4, "error_status": 500},
    "down at first": {"error_next": 3},
    "cutting": {"drop_every": 7, "methods": ["GET"]},
    "cutting a lot": {"drop_every": 2, "methods": ["GET"], "match": ".lance/"},
    "all of it": {"latency": 0.01, "error_every": 5, "drop_every": 7, "methods": ["GET"]},
}
passing = pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)


@pytest.fixture
def cloud(s3, monkeypatch) -> S3:
    """The server, where this process looks for S3."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(scope="module")
def pbmc_url(s3, pbmc_h5ad) -> str:
    done = slaf(s3, "convert", pbmc_h5ad, s3.url("pbmc.slaf"))
    assert done.returncode == 0, done.stderr
    return s3.url("pbmc.slaf")


@pytest.fixture
def counts_h5ad(counts, tmp_path) -> Path:
    counts.write_h5ad(tmp_path / "counts.h5ad")
    return tmp_path / "counts.h5ad"


def environment(server: S3 | None, **changes: str) -> dict[str, str]:
    """Ours without what leads to other clouds."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | (server.environment if server else {}) | changes


def slaf(server: S3 | None, *arguments: object, **changes: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "slaf.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(server, **changes),
    )


def start(server: S3, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "slaf.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(server),
    )


def complaint(returncode: int, stderr: str, names: str) -> str:
    """The sentence with which a command has failed, which says where."""
    assert returncode == 1, stderr
    lines = [line for line in stderr.splitlines() if not line.endswith(" s left")]
    assert len(lines) == 1, stderr
    assert_plain(lines[0], names)
    assert lines[0].startswith("slaf: ")
    return lines[0]


def assert_plain(message: str, names: str) -> None:
    """A sentence for people: no library's words, no place in a source."""
    assert names in message
    assert not re.search(r"panick|Traceback|LanceError|\.rs\b|Generic S3|<\?xml|\n", message)
    assert message.rstrip()[-1] in ".?`)"


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def writes(server: S3) -> int:
    return sum(request.method == "PUT" for request in server.log())


def whole(path: str | Path) -> ad.AnnData:
    return read_slaf(path).to_adata()


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


# Faults that pass ---------------------------------------------------------


@passing
def test_reading_survives(cloud, pbmc_url, pbmc_slaf, pbmc, faults):
    with cloud.faults(**faults) as fault:
        got = [SLAFArray(pbmc_url).query(sql) for sql in QUESTIONS]
        part = read_slaf(pbmc_url)[100:200, ::5].X.compute()
        everything = whole(pbmc_url)
    assert fault.hits
    for sql, answer in zip(QUESTIONS, got, strict=True):
        assert_frame_equal(answer, SLAFArray(pbmc_slaf).query(sql))
    np.testing.assert_array_equal(dense(part), dense(pbmc.X)[100:200, ::5])
    assert_same(everything, pbmc)


@passing
def test_writing_survives(cloud, counts, counts_h5ad, faults, request):
    url = cloud.url(f"written {request.node.callspec.id}.slaf")
    with cloud.faults(**faults) as fault:
        SLAFConverter().convert(counts_h5ad, url)
    if "match" not in faults:
        assert fault.hits
    assert_same(whole(url), counts)
    assert "WRONG" not in slaf(cloud, "validate", url).stdout


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8, 13])
def test_an_answer_to_a_write_is_lost(cloud, counts, counts_h5ad, nth):
    """What was asked is done, and nobody is told: it may fail, but then it has not
    happened."""
    url = cloud.url(f"lost-{nth}.slaf")
    with cloud.faults(drop_every=nth, methods=["PUT", "POST", "DELETE"]) as fault:
        done = slaf(cloud, "convert", counts_h5ad, url)
    assert fault.hits
    if done.returncode != 0:
        complaint(done.returncode, done.stderr, url)
        with pytest.raises((FileNotFoundError, SlafError)):
            SLAFArray(url)
        again = slaf(cloud, "convert", counts_h5ad, url)
        assert again.returncode == 0, again.stderr
    assert_same(whole(url), counts)


@pytest.mark.parametrize("match", ["_versions", "versions/", "config.json", ".lance"])
def test_a_lost_answer_appends_nothing_twice(cloud, counts, counts_h5ad, tmp_path, match):
    """The client asks once more, is told that the version is there, and must not take
    its own for somebody else's."""
    url = cloud.url(f"twice-{match.strip('./_')}-{match[0] == '_'}.slaf")
    SLAFConverter().convert(counts_h5ad, url)
    more = make_counts(seed=1)
    more.obs_names = [f"more-{name}" for name in more.obs_names]
    more.write_h5ad(tmp_path / "more.h5ad")
    with cloud.faults(drop_next=1, methods=["PUT"], match=match) as fault:
        done = slaf(cloud, "append", tmp_path / "more.h5ad", url)
    assert fault.hits
    want = dense(counts.X)
    if done.returncode == 0:
        want = np.vstack([want, dense(more.X)])
    else:
        complaint(done.returncode, done.stderr, url)
    got = whole(url)
    np.testing.assert_array_equal(dense(got.X), want)
    assert got.n_obs == len(want) == len(SLAFArray(url).obs)
    checked = slaf(cloud, "validate", url)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# Faults that do not -------------------------------------------------------


@pytest.mark.parametrize("command", ["info", "query", "validate", "convert", "append", "export"])
def test_a_server_that_refuses_for_ever(s3, pbmc_url, counts_h5ad, tmp_path, command):
    url, arguments = pbmc_url, {"query": ["SELECT COUNT(*) FROM cells"]}
    arguments["export"] = [tmp_path / "out.h5ad"]
    called = [command, url, *arguments.get(command, [])]
    if command in ("convert", "append"):
        url = s3.url("never.slaf") if command == "convert" else url
        called = [command, counts_h5ad, url]
    with s3.faults(error_every=1):
        done = slaf(s3, *called)
    complaint(done.returncode, done.stderr, url)
    assert not s3.keys("never.slaf/")
    assert not (tmp_path / "out.h5ad").exists()


def test_a_table_that_is_refused_for_ever(s3, pbmc_url):
    """The dataset opens; its rows do not come."""
    with s3.faults(error_every=1, methods=["GET"], match="expression.lance/data"):
        done = slaf(s3, "query", pbmc_url, "SELECT SUM(value) FROM expression WHERE value > 1")
    complaint(done.returncode, done.stderr, pbmc_url)


def test_answers_that_are_always_cut(s3, pbmc_url):
    with s3.faults(drop_every=1, methods=["GET"], match=".lance/data"):
        done = slaf(s3, "query", pbmc_url, "SELECT SUM(value) FROM expression WHERE value > 1")
    complaint(done.returncode, done.stderr, pbmc_url)


def test_the_rights_are_missing(s3, pbmc_url):
    with s3.faults(error_every=1, error_status=403):
        done = slaf(s3, "info", pbmc_url)
    assert "denied" in complaint(done.returncode, done.stderr, pbmc_url)


@pytest.fixture
def mortal(counts_h5ad):
    """A server of one's own, with a dataset."""
    with S3() as server:
        done = slaf(server, "convert", counts_h5ad, server.url("counts.slaf"))
        assert done.returncode == 0, done.stderr
        yield server


def test_a_dead_server(mortal, counts_h5ad):
    mortal.kill()
    url = mortal.url("counts.slaf")
    for called in (["info", url], ["query", url, "SELECT 1"], ["convert", counts_h5ad, url]):
        done = slaf(mortal, *called)
        complaint(done.returncode, done.stderr, url)


@pytest.mark.parametrize("command", ["query", "append", "convert"])
def test_a_server_that_dies_meanwhile(mortal, counts_h5ad, command):
    url = mortal.url("new.slaf" if command == "convert" else "counts.slaf")
    called = [command, counts_h5ad, url]
    if command == "query":
        called = [command, url, "SELECT SUM(value) FROM expression"]
    mortal.forget()
    with mortal.faults(latency=0.3):
        process = start(mortal, *called)
        wait_for(lambda: mortal.requests >= 3, process)
        mortal.kill()
        _, stderr = process.communicate(timeout=120)
    complaint(process.returncode, stderr, url)


def test_nobody_has_given_credentials(s3, pbmc_url, tmp_path):
    kept = {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
    done = slaf(None, "info", pbmc_url, HOME=str(tmp_path), **kept)
    assert "credentials" in complaint(done.returncode, done.stderr, pbmc_url)


def test_no_such_bucket(s3, counts_h5ad):
    url = "s3://no-such-place/x.slaf"
    done = slaf(s3, "info", url)
    message = complaint(done.returncode, done.stderr, url)
    assert "no such bucket" in message or "nothing at" in message
    done = slaf(s3, "convert", counts_h5ad, url)
    assert "no such bucket" in complaint(done.returncode, done.stderr, url)


def test_nothing_there(cloud):
    url = cloud.url("none.slaf")
    assert url in refusal(FileNotFoundError, SLAFArray, url)
    assert url in refusal(FileNotFoundError, read_slaf, url)


@pytest.mark.parametrize("url", ["s4://bucket/x.slaf", "http://host/x.slaf", "x://"])
def test_a_scheme_that_is_none(url, counts_h5ad):
    scheme = url[: url.index("/")]
    assert scheme in refusal(SlafError, SLAFArray, url)
    assert scheme in refusal(SlafError, SLAFConverter().convert, counts_h5ad, url)


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_wrong_config(cloud, content):
    cloud.put("wrong.slaf/config.json", content)
    assert cloud.url("wrong.slaf") in refusal(SlafError, SLAFArray, cloud.url("wrong.slaf"))


@pytest.mark.parametrize("part", [0, 1 / 2])
def test_a_table_that_is_cut_off(cloud, counts_h5ad, part):
    url = cloud.url(f"cut-{part}.slaf")
    SLAFConverter().convert(counts_h5ad, url)
    for key in cloud.keys(f"cut-{part}.slaf/expression.lance/data/"):
        content = cloud.get(key)
        cloud.put(key, content[: int(part * len(content))])
    message = refusal(SlafError, lambda: read_slaf(url).X.compute())
    assert_plain(message, url)


# Conversions that end before their time -----------------------------------


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95, 1.0])
def test_a_killed_conversion_can_be_run_again(s3, tmp_path, share):
    adata = make_counts(cells=9000, genes=30)
    adata.write_h5ad(tmp_path / "some.h5ad")
    folder = f"kill-{share}/"
    s3.forget()
    done = slaf(s3, "convert", tmp_path / "some.h5ad", s3.url(folder + "whole.slaf"))
    assert done.returncode == 0, done.stderr
    until = max(1, int(writes(s3) * share))
    url = s3.url(folder + "half.slaf")
    s3.forget()
    with s3.faults(latency=0.1, methods=["PUT", "POST"]):
        process = start(s3, "convert", tmp_path / "some.h5ad", url)
        wait_for(lambda: writes(s3) >= until, process)
        process.kill()
        process.communicate()
        # Nothing of it is under way any more.
        time.sleep(0.5)
    # The configuration is the last that is written; with it all is there.
    if folder + "half.slaf/config.json" not in s3.keys(folder):
        opened = slaf(s3, "info", url)
        complaint(opened.returncode, opened.stderr, url)
        again = slaf(s3, "convert", tmp_path / "some.h5ad", url)
        assert again.returncode == 0, again.stderr
        assert not [key for key in s3.keys(folder) if ".partial" in key]
    assert "WRONG" not in slaf(s3, "validate", url).stdout
    done = slaf(s3, "export", url, tmp_path / "back.h5ad")
    assert done.returncode == 0, done.stderr
    back = ad.read_h5ad(tmp_path / "back.h5ad")
    np.testing.assert_array_equal(dense(back.X), dense(adata.X))
    pd.testing.assert_frame_equal(back.obs, adata.obs)


# Training -----------------------------------------------------------------


def test_random_batches_stream_from_a_bucket(cloud, pbmc, pbmc_url):
    """Each rank reads its own part, and what it trains on is what a folder gives."""
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


def test_a_loop_says_that_the_server_is_gone(pbmc_h5ad, tmp_path):
    script = tmp_path / "loop.py"
    script.write_text(
        "import sys\n"
        "from slaf.ml import SLAFDataLoader\n"
        "loader = SLAFDataLoader(sys.argv[1], raw_mode=True, buffer=64, n_epochs=1000)\n"
        "for batch in loader:\n"
        "    print('batch', flush=True)\n"
    )
    with S3() as server:
        done = slaf(server, "convert", pbmc_h5ad, server.url("x.slaf"))
        assert done.returncode == 0, done.stderr
        process = subprocess.Popen(
            [sys.executable, script, server.url("x.slaf")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(server),
        )
        assert process.stdout.readline() == "batch\n"
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("OSError: `s3://") and "cannot be reached" in last
