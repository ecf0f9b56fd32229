"""A loader that cannot continue raises an error in the loop: bad values and options, lost
files, threads, forks, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from batches import N, flat, ids, loader_of
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf


def test_errors_are_raised_in_the_loop(loader_counts, tmp_path):
    wrong = loader_counts[:100].copy()
    wrong.X = wrong.X.astype(np.float32)
    wrong.X[77, 11] = -2.5
    SLAFConverter().convert_anndata(wrong, tmp_path / "x.slaf")
    with pytest.raises(SlafError, match=r"Cell 77, gene 11 holds -2.5, which is no count"):
        list(loader_of(tmp_path / "x.slaf"))
    assert len(flat(ids(loader_of(tmp_path / "x.slaf", raw_mode=True)))) == 100


def test_a_file_that_is_lost_under_way_is_an_error(loader_counts, tmp_path):
    target = tmp_path / "x.slaf"
    SLAFConverter(max_rows_per_file=700).convert_anndata(loader_counts, target)
    loader = loader_of(target, prefetch=1)
    batches = iter(loader)
    next(batches)
    for file in (target / "expression.lance" / "data").iterdir():
        file.write_bytes(b"")
    with pytest.raises((SlafError, OSError)):
        list(batches)


def test_what_cannot_be_is_refused(loader_array):
    for text, more in (
        ("no column `cell_typ`. Did you mean `cell_type`", {"labels": ["cell_typ"]}),
        ("batch_size is at least 1", {"batch_size": 0}),
        ("exclude each other", {"weights": "score", "balance_by": "batch"}),
        ("holds no numbers", {"weights": "batch"}),
        ("299 weights for 300 cells", {"weights": np.ones(299)}),
        ("A weight is -1", {"weights": np.full(300, -1.0)}),
        ("All weights are 0", {"weights": np.zeros(300)}),
        ("Rank 2 is not among 2", {"rank": 2, "world_size": 2}),
        ("belong together", {"rank": 2}),
        ("fewer cells than the 301 processes", {"rank": 0, "world_size": 301}),
        ("leaves out batches of fewer than 400", {"batch_size": 400, "drop_last": True}),
        ("No cell is left", {"cells": "batch = 'no'"}),
        ("selected twice", {"cells": [1, 2, 1]}),
        ('"geneformer" or "scgpt", not \'bert\'', {"tokenizer_type": "bert"}),
        ("compat is one of", {"compat": "geneformer-v3"}),
        ("raw_format is one of", {"raw_mode": True, "raw_format": "dense"}),
        ("`input_ids` already", {"labels": ["input_ids"]}),
        ("mix has 2 numbers for 1", {"mix": [1, 2]}),
    ):
        if more.get("labels") == ["input_ids"]:
            handle = read_slaf(loader_array.slaf_path)
            handle.obs["input_ids"] = 1
            source = handle
        else:
            source = loader_array
        with pytest.raises(ValueError) as raised:
            loader_of(source, **more)
        assert text in str(raised.value), (text, str(raised.value))


def test_leaving_a_loop_ends_its_threads_work(loader_array):
    # Without an end: who waits for it waits for ever.
    loader = loader_of(loader_array, n_epochs=10**9, prefetch=2)
    for _ in zip(range(3), loader, strict=False):
        pass
    batches = iter(loader)
    next(batches)
    batches.close()
    assert next(batches, None) is None


def test_batches_for_several_threads(loader_array):
    """Two loops over one loader are two iterations; each is whole."""
    loader = loader_of(loader_array)
    seen: dict[int, list[int]] = {}

    def run(key: int) -> None:
        seen[key] = flat(ids(loader))

    threads = [threading.Thread(target=run, args=(key,)) for key in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(N))


def test_a_forked_process_is_told(loader_array):
    loader = loader_of(loader_array)
    next(iter(loader))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            list(loader)
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"cannot be used in a forked process" in os.read(reader, 1000)


def test_an_interrupt_is_heeded(loader_array, tmp_path):
    script = tmp_path / "loop.py"
    script.write_text(
        "from slaf.ml import SLAFDataLoader\n"
        f"loader = SLAFDataLoader({loader_array.slaf_path!r}, n_epochs=10**9, verbose=False)\n"
        "print('begun', flush=True)\n"
        "for batch in loader: pass\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert errors.endswith("KeyboardInterrupt\n") and process.returncode == -signal.SIGINT
