"""Targets to which `write_h5ad` and `slaf export` cannot write: one sentence, and nothing
is left behind."""

from __future__ import annotations

import os
import subprocess
import sys

import anndata as ad
import pytest
from slaf.cli import main
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf


@pytest.fixture
def folder(counts, tmp_path):
    SLAFConverter().convert_anndata(counts, tmp_path / "x.slaf")
    (tmp_path / "file.txt").write_text("mine")
    return tmp_path


TARGETS = [
    ("gone/x.h5ad", "no folder `.*gone`"),
    ("file.txt/x.h5ad", "no folder `.*file.txt`"),
    ("x.slaf", "is a folder"),
    ("", "is a folder"),
    ("new/", "is a folder"),
    ("n" * 300, "File name too long"),
    ("n" * 250, "File name too long"),
]


@pytest.mark.parametrize(("name", "told"), TARGETS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_place_for_a_file(name, told, overwrite, folder, capsys):
    """scverse/anndata#364"""
    before = sorted(folder.rglob("*"))
    target = f"{folder}/{name}"
    with pytest.raises(OSError, match=told) as found:
        read_slaf(folder / "x.slaf").write_h5ad(target, overwrite=overwrite)
    assert "Errno" not in str(found.value) and "partial" not in str(found.value)
    arguments = ["export", str(folder / "x.slaf"), target] + ["--overwrite"] * overwrite
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "Errno" not in lines[0]
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_one_may_not_write_to(folder, monkeypatch):
    """scverse/anndata#494"""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="may not write to the folder"):
        read_slaf(folder / "x.slaf").write_h5ad(folder / "x.h5ad")
    assert not (folder / "x.h5ad").exists()


def test_a_pipe_is_not_replaced(folder):
    """scverse/anndata#494"""
    os.mkfifo(folder / "pipe")
    with pytest.raises(FileExistsError, match="not a file that can be overwritten"):
        read_slaf(folder / "x.slaf").write_h5ad(folder / "pipe")
    assert (folder / "pipe").is_fifo()


FULL = """
import resource, signal, sys
from slaf.integrations import read_slaf
handle = read_slaf(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
try:
    handle.write_h5ad(sys.argv[2])
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="No such limits there.")
def test_a_full_disk_leaves_the_file_that_was_there(counts, folder):
    """h5py/h5py#1120"""
    counts[:3].write_h5ad(folder / "x.h5ad")
    paths = [str(folder / "x.slaf"), str(folder / "x.h5ad")]
    done = subprocess.run([sys.executable, "-c", FULL, *paths], capture_output=True, text=True)
    assert "cannot be written: File too large." in done.stdout, done
    assert ad.read_h5ad(folder / "x.h5ad").n_obs == 3
    assert not (folder / ".x.h5ad.partial").exists()
