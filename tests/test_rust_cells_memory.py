"""Data that is shared with Rust cells is in memory once, and nobody can change another's."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import polars as pl
import psutil
import pytest
from conftest import make_counts
from scipy import sparse
from slaf import _slaf
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf


def address(column) -> int:
    view = column.to_numpy(allow_copy=False)
    return view.__array_interface__["data"][0]


def test_sql_polars_sql_numpy_is_one_buffer(shell):
    shell.user_ns["source"] = pl.DataFrame({"n": np.arange(8000), "x": np.arange(8000.0)})
    first = pl.DataFrame(shell.run_cell_magic("sql", "", "SELECT x, n FROM source"))
    shell.user_ns["first"] = first
    second = pl.DataFrame(shell.run_cell_magic("sql", "", "SELECT x FROM first"))
    assert address(second["x"]) == address(first["x"]) == address(shell.user_ns["source"]["x"])


def test_what_was_shared_once_is_never_copied_again(rust, shell):
    shell.user_ns["frame"] = pl.DataFrame({"a": np.arange(1e6), "b": ["x" * 20] * 1_000_000})
    rust('let first = slaf::get("frame")?;')
    frame = shell.user_ns["frame"]
    # The frame itself is there now, and so are its parts.
    for part in (frame, frame.slice(10, 500), frame.select("b", c="a")):
        shared = _slaf.Shared()
        for column in part:
            _, copied = shared.add([(column.name, column)])
            assert copied == 0
    rust('slaf::put("again", first.slice(10, 5))?;')
    rust('slaf::put("mine", first)?;')
    assert _slaf.shared_bytes(shell.user_ns["mine"]["a"]) == (8_000_000, 8_000_000)
    # An alias made before sees the same columns, and a change is nobody else's.
    alias = frame
    frame[0, "a"] = -1.0
    assert alias[0, "a"] == -1 and shell.user_ns["mine"][0, "a"] == 0
    assert repr(rust('slaf::get("mine")?.num_rows()')) == "1000000"


def test_what_one_language_frees_the_other_keeps(rust, shell):
    shell.user_ns["mine"] = pl.DataFrame({"a": np.arange(1e6)})
    rust('let batch = slaf::get("mine")?;\nlet column = batch.column(0).clone();')
    del shell.user_ns["mine"]
    rust("drop(batch);")
    rust('slaf::put("yours", slaf::frame([("a", column)])?)?;')
    shell.run_line_magic("rust", "--reset")
    assert shell.user_ns["yours"]["a"].sum() == np.arange(1e6).sum()
    x = sparse.random(1000, 100, 0.1, format="csr", dtype=np.float32)
    shell.user_ns["x"] = x
    rust('let x = slaf::csr("x")?;')
    want, shell.user_ns["x"] = x.nnz, None
    assert repr(rust("x.values::<f32>()?.len()")) == str(want)


def test_a_writer_cannot_change_what_a_reader_has(rust, shell):
    shell.user_ns["frame"] = pl.DataFrame({"a": np.arange(1e5)})
    shared = _slaf.Shared()
    shared.add([("a", shell.user_ns["frame"]["a"])])
    (fd,) = shared.fds
    for write in (
        lambda: os.pwrite(fd, b"x", 0),
        lambda: os.ftruncate(fd, 0),
        lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR) and os.pwrite(fd, b"x", 0),
    ):
        with pytest.raises(PermissionError):
            write()
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    view = shell.user_ns["frame"]["a"].to_numpy(allow_copy=False)
    assert not view.flags.writeable


def proportional(*pids: int) -> int:
    """Bytes of memory of processes, shared pages counted once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += 1024 * int(line.split()[1])
    return total


def family(shell) -> list[int]:
    return [os.getpid(), *(p.pid for p in psutil.Process().children(recursive=True))]


def least_of_a_second(size: Callable[[], int]) -> int:
    """What stays: on a busy machine, memory is given back a little later."""
    found = []
    for _ in range(10):
        found.append(size())
        time.sleep(0.1)
    return min(found)


def test_a_gigabyte_reaches_rust_and_is_there_once(rust, shell):
    columns = 10

    def there_and_back(rows: int) -> list[int]:
        """What a frame takes in all processes: when Rust has it, when Python has
        it back, and when all have forgotten it."""
        before = proportional(*family(shell))
        frame = pl.DataFrame({f"c{i}": np.full(rows, float(i)) for i in range(columns)})
        shell.user_ns["big"] = frame
        del frame
        total = rust(
            'let big = slaf::get("big")?;\n'
            '(0..10).map(|i| slaf::values::<f64>(&big, &format!("c{i}")).unwrap().iter().sum::<f64>())'
            ".sum::<f64>()"
        )
        assert repr(total) == repr(float(rows * 45))
        shell.user_ns["big"].sum()
        there = proportional(*family(shell)) - before
        rust('slaf::put("back", big)?;')
        shell.user_ns["back"].sum()
        back = proportional(*family(shell)) - before
        del shell.user_ns["big"], shell.user_ns["back"]
        shell.run_line_magic("rust", "--reset")
        return [there, back, least_of_a_second(lambda: proportional(*family(shell)) - before)]

    # The code of these cells has its place from here on.
    for _ in range(2):
        there_and_back(1000)
    size = columns * 12_500_000 * 8
    there, back, after = there_and_back(12_500_000)
    assert 0.95 * size < there < 1.01 * size, there / size
    assert back < 1.01 * size, back / size
    assert after < 0.01 * size, after / size


def test_a_slice_reaches_scipy_in_the_buffers_that_rust_filled(tmp_path):
    SLAFConverter().convert_anndata(make_counts(200, 50), tmp_path / "made.slaf")
    x = read_slaf(tmp_path / "made.slaf")[20:180].X.compute()
    for part in (x.indptr, x.indices, x.data):
        owner = part
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        assert type(owner.base).__name__ == "PySliceContainer"


_SLICE = """
import sys
import time
from collections.abc import Callable
from slaf.integrations import read_slaf
handle = read_slaf(sys.argv[1])

def resident():
    with open("/proc/self/statm") as file:
        return 4096 * int(file.read().split()[1])

for _ in range(4):
    before = resident()
    x = handle.X.compute()
    size = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    print(size, resident() - before)
    del x
"""


def test_a_gigabyte_reaches_scipy_and_is_there_once(tmp_path):
    cells, genes = 10_000, 12_500
    counts = sparse.csr_matrix(
        (
            np.random.default_rng(0).integers(1, 200, cells * genes).astype(np.float32),
            np.tile(np.arange(genes, dtype=np.int32), cells),
            np.arange(cells + 1) * genes,
        ),
        shape=(cells, genes),
    )
    SLAFConverter().convert_anndata(ad.AnnData(counts), tmp_path / "large.slaf", gene_index=False)
    told = subprocess.run(
        [sys.executable, "-c", _SLICE, str(tmp_path / "large.slaf")],
        # The allocator gives back at once what is free, so that what remains is held.
        env=os.environ | {"MIMALLOC_DISALLOW_ARENA_ALLOC": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # The first reads also meet code, threads and descriptors of pages.
    taken = [int(taken) / int(size) for size, taken in map(str.split, told.splitlines())]
    assert 0.99 < min(taken[1:]) < 1.01, taken
