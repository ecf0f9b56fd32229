"""HDF5 files on a web server and in a bucket, read in ranges and not copied."""

from __future__ import annotations

import re
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from checks import assert_same
from conftest import make_counts
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.data.sources import remote
from slaf.integrations import read_slaf


class Server:
    """Of the files in a folder, which can do without ranges, and fail."""

    def __init__(self, folder):
        self.folder, self.ranges, self.asked, self.failing = folder, True, [], set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                server.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request) -> None:
        path = self.folder / request.path.split("?")[0].strip("/")
        if not path.exists():
            return request.send_error(404)
        content, span = path.read_bytes(), request.headers.get("Range")
        if span and self.ranges:
            start, end = map(int, re.findall(r"\d+", span))
            self.asked.append(end - start + 1)
            if len(self.asked) in self.failing:
                return request.send_error(503)
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
            content = content[start : end + 1]
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        try:
            request.wfile.write(content)
        except BrokenPipeError:
            pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_BLOCK", 1 << 14)
    (tmp_path / "web").mkdir()
    server = Server(tmp_path / "web")
    yield server
    server.http.shutdown()


@pytest.fixture
def adata(server):
    adata = make_counts(800)
    adata.strings_to_categoricals()
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(800, 3)).astype(np.float32)
    adata.layers["csc"] = adata.X.tocsc()
    adata.raw = adata.copy()
    adata.write_h5ad(server.folder / "x.h5ad", compression="gzip")
    return adata


def test_an_address_is_read_by_ranges(server, adata, tmp_path, monkeypatch):
    """scverse/anndata#1152: reading from S3 or the web without a copy"""
    monkeypatch.setattr(tempfile, "TemporaryDirectory", None)  # where a copy would be
    url = f"{server.url}/x.h5ad?download=1"
    SLAFConverter().convert(url, tmp_path / "x.slaf")
    assert_same(read_slaf(tmp_path / "x.slaf").to_adata(), adata)
    size = (server.folder / "x.h5ad").stat().st_size
    assert max(server.asked) <= remote._BLOCK < size / 5


def test_a_bucket_is_read_by_ranges(s3, adata, server, tmp_path, monkeypatch):
    """scverse/anndata#1152"""
    s3.put("ranges.h5ad", (server.folder / "x.h5ad").read_bytes())
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "_BLOCK", 1 << 17)
    SLAFConverter().convert(s3.url("ranges.h5ad"), tmp_path / "x.slaf")
    assert_same(read_slaf(tmp_path / "x.slaf").to_adata(), adata)


def test_a_server_that_stumbles(server, adata, tmp_path, monkeypatch):
    """scverse/anndata#1152"""
    monkeypatch.setattr(remote.time, "sleep", lambda _: None)
    server.failing = {5, 9, 10}
    SLAFConverter().convert(f"{server.url}/x.h5ad", tmp_path / "x.slaf")
    assert_same(read_slaf(tmp_path / "x.slaf").to_adata(), adata)
    server.failing = set(range(len(server.asked) + 9, 10_000))
    with pytest.raises(OSError, match="x.h5ad` cannot be read to its end.*503"):
        SLAFConverter().convert(f"{server.url}/x.h5ad", tmp_path / "y.slaf")
    assert not (tmp_path / "y.slaf").exists()


def test_servers_and_files_that_are_no_use(server, adata, tmp_path):
    """scverse/anndata#1152"""
    with pytest.raises(FileNotFoundError, match="nothing at `.*/y.h5ad`"):
        SLAFConverter().convert(f"{server.url}/y.h5ad", tmp_path / "x.slaf")
    (server.folder / "text.h5ad").write_text("not HDF5" * 100)
    with pytest.raises(SlafError, match="text.h5ad` is not an h5ad file"):
        SLAFConverter().convert(f"{server.url}/text.h5ad", tmp_path / "x.slaf")
    server.ranges = False
    with pytest.raises(SlafError, match="does not send parts of files. Download"):
        SLAFConverter().convert(f"{server.url}/x.h5ad", tmp_path / "x.slaf")
    server.http.server_close()
    with pytest.raises(SlafError, match="local folder"):
        SLAFConverter().convert("s3://bucket/x.zarr", tmp_path / "x.slaf", "zarr")
