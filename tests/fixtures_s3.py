"""The S3 server as a fixture. It is separate because it takes a process and a second to
start, which only tests that use it should pay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud_calls import slaf
from s3 import S3


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """One server for all tests. A test that kills it starts its own."""
    with S3() as server:
        yield server


@pytest.fixture
def cloud(s3, monkeypatch) -> S3:
    """The server, which this process uses as S3."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(scope="session")
def pbmc_url(s3, pbmc_h5ad) -> str:
    """A dataset that tests only read."""
    done = slaf(s3, "convert", pbmc_h5ad, s3.url("pbmc.slaf"))
    assert done.returncode == 0, done.stderr
    return s3.url("pbmc.slaf")


@pytest.fixture
def counts_h5ad(counts, tmp_path) -> Path:
    counts.write_h5ad(tmp_path / "counts.h5ad")
    return tmp_path / "counts.h5ad"
