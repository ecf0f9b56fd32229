"""Writers that are killed: their work continues where it stopped, or has had no effect."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import anndata as ad
import numpy as np
import pytest
from checks import assert_same, problems
from conftest import dense, make_counts, more_cells
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slafdb_calls import slafdb

DIE = """
    import os, signal, sys
    from slaf.data import SLAFConverter
    from slaf.data.sources import h5_rows
    h5_rows.BLOCK_VALUES = 60
    def die(what, done, total):
        if what == {stage!r} and done >= {at} * total:
            os.kill(os.getpid(), signal.{signal})
    converter = SLAFConverter(max_rows_per_file=100)
    converter.{call}
"""


def die(call: str, stage: str = "cells", at: float = 0.8, by: str = "SIGKILL") -> int:
    script = textwrap.dedent(DIE).format(call=call, stage=stage, at=at, signal=by)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    return done.returncode


@pytest.mark.parametrize("stage", ["cells", "raw"])
def test_a_killed_conversion_goes_on_where_it_was(h5ad, tmp_path, stage):
    adata = make_counts(300)
    adata.raw = adata.copy()
    source, target = h5ad(adata, "x"), tmp_path / "x.slaf"
    call = f"convert({str(source)!r}, {str(target)!r}, progress=die)"
    assert die(call, stage) == -signal.SIGKILL
    assert not target.exists()
    partial = tmp_path / ".x.slaf.partial"
    assert json.loads((partial / "progress.json").read_text())["cells"] > 100
    with pytest.raises(SlafError, match="config.json"):
        SLAFArray(partial)

    begun = []
    SLAFConverter().convert(source, target, progress=lambda what, done, _: begun.append(done))
    assert begun[0] > 100
    assert_same(read_slaf(target).to_adata(), adata)
    assert problems(target) == []
    assert not partial.exists()
    slafdb("read", target, tmp_path / "read.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "read.npz")["X"], dense(adata.X))


def test_a_conversion_may_die_more_than_once(h5ad, tmp_path):
    adata = make_counts(300)
    source, target = h5ad(adata, "x"), tmp_path / "x.slaf"
    call = f"convert({str(source)!r}, {str(target)!r}, progress=die)"
    for at in (0.3, 0.6, 0.9):
        assert die(call, at=at) == -signal.SIGKILL
    SLAFConverter().convert(source, target)
    assert_same(read_slaf(target).to_adata(), adata)
    assert problems(target) == []


def test_a_changed_source_is_converted_from_the_start(h5ad, tmp_path):
    source, target = h5ad(make_counts(300), "x"), tmp_path / "x.slaf"
    die(f"convert({str(source)!r}, {str(target)!r}, progress=die)")
    adata = make_counts(300, seed=7)
    h5ad(adata, "x")
    begun = []
    SLAFConverter().convert(source, target, progress=lambda what, done, _: begun.append(done))
    assert begun[0] == 0
    assert_same(read_slaf(target).to_adata(), adata)


def test_an_interrupted_conversion_can_be_taken_up(h5ad, tmp_path):
    adata = make_counts(300)
    source, target = h5ad(adata, "x"), tmp_path / "x.slaf"
    call = f"convert({str(source)!r}, {str(target)!r}, progress=die)"
    assert die(call, by="SIGINT") != 0
    assert not target.exists()
    SLAFConverter().convert(source, target)
    assert_same(read_slaf(target).to_adata(), adata)


def test_a_killed_append_is_as_if_it_had_never_begun(counts, convert, h5ad):
    dataset = convert(counts)
    more = h5ad(more_cells(cells=300), "more")
    call = f"append({str(more)!r}, {str(dataset)!r}, progress=die)"
    assert die(call) == -signal.SIGKILL
    assert SLAFArray(dataset).version == 1
    assert_same(read_slaf(dataset).to_adata(), counts)
    SLAFConverter().append(more, dataset)
    assert read_slaf(dataset).shape == (360, 40)
    assert problems(dataset) == []


def test_an_append_that_died_between_its_tables_is_not_seen(counts, convert, h5ad):
    """Lance has new versions of the tables; the dataset's manifest has not."""
    dataset = convert(counts)
    config = (dataset / "config.json").read_bytes()
    SLAFConverter().append(h5ad(more_cells(), "more"), dataset)
    (dataset / "config.json").write_bytes(config)
    (dataset / "versions" / "2.json").unlink()

    assert_same(read_slaf(dataset).to_adata(), counts)
    assert problems(dataset) == []
    SLAFConverter().append(h5ad(more_cells(2), "other"), dataset)
    got = read_slaf(dataset)
    np.testing.assert_array_equal(got.X.toarray(), dense(ad.concat([counts, more_cells(2)]).X))
    assert problems(dataset) == []


def test_two_conversions_to_one_place_do_not_mix(h5ad, tmp_path):
    source, target = h5ad(make_counts(300), "x"), tmp_path / "x.slaf"

    def second(what, done, total):
        if what == "cells" and done == 0:
            with pytest.raises(OSError, match="being written by another process"):
                SLAFConverter().convert(source, target)

    SLAFConverter().convert(source, target, progress=second)
    assert problems(target) == []
