"""Object storage that fails: answers are still correct, or, if the server keeps failing,
there is a clear error."""

from __future__ import annotations

import subprocess
import sys
import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from checks import assert_same, refusal
from cloud_calls import QUESTIONS, assert_plain, complaint, environment, slaf, start, whole
from commands import apart
from conftest import dense, make_counts
from polars.testing import assert_frame_equal
from s3 import S3
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

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


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_idle(server: S3) -> None:
    """Waits until no request is under way."""
    while server.asked:
        time.sleep(0.01)


def writes(server: S3) -> int:
    return sum(request.method == "PUT" for request in server.log())


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
def mortal(counts, convert):
    """A server of one's own, with a dataset."""
    with S3() as server:
        server.upload(convert(counts), "counts.slaf")
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
        _, stderr = process.communicate()
    complaint(process.returncode, stderr, url)


def test_nobody_has_given_credentials(s3, pbmc_url, tmp_path):
    kept = {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
    done = apart("info", pbmc_url, env=environment(None, HOME=str(tmp_path), **kept))
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
        wait_until_idle(s3)
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


def test_a_loop_says_that_the_server_is_gone(pbmc_slaf, tmp_path):
    script = tmp_path / "loop.py"
    script.write_text(
        "import sys\n"
        "from slaf.ml import SLAFDataLoader\n"
        "loader = SLAFDataLoader(sys.argv[1], raw_mode=True, buffer=64, n_epochs=1000)\n"
        "for batch in loader:\n"
        "    print('batch', flush=True)\n"
    )
    with S3() as server:
        server.upload(pbmc_slaf, "x.slaf")
        process = subprocess.Popen(
            [sys.executable, script, server.url("x.slaf")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(server),
        )
        assert process.stdout.readline() == "batch\n"
    _, errors = process.communicate()
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("OSError: `s3://") and "cannot be reached" in last
