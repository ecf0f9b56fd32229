"""`slaf validate` and `slaf index` on workers: the same results as without, to the last
bit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from checks import problems, refusal
from commands import here
from conftest import make_counts, more_cells
from fixtures_workers import of_some, of_two
from inside import SUMS
from slaf import SlafError, _slaf
from slaf.data import SLAFConverter, upkeep
from slaf.data.upkeep import index, validate
from slaf.dataset import Dataset
from slaf.datasets import synthetic
from slaf.ground.workers import working
from slaf.integrations import read_slaf
from slaf.sql.session import ask
from worker_calls import index_part_that_kills

#: A part has 4,194,304 rows, so these have three.
CELLS, GENES, PARTS = 8_000, 24_000, 3


@pytest.fixture(scope="session")
def parted(tmp_path_factory) -> Path:
    """A dataset with several parts, whose values are fractions, and its X."""
    adata = synthetic(CELLS, GENES)
    adata.X.data /= np.float32(3)
    # Empty cells, in the middle and at the end.
    kept = np.ones((CELLS, 1), np.float32)
    kept[[10, 11, CELLS - 1]] = 0
    adata.X = adata.X.multiply(kept).tocsr()
    adata.X.eliminate_zeros()
    path = tmp_path_factory.mktemp("parted") / "x.slaf"
    SLAFConverter().convert_anndata(adata, path)
    assert _slaf.index_parts(_slaf.Dataset(str(path))) == PARTS
    return path


@pytest.fixture
def copied(parted, tmp_path) -> Path:
    shutil.copytree(parted, tmp_path / "x.slaf")
    return tmp_path / "x.slaf"


def companions(path: Path) -> list[pl.DataFrame]:
    """The sums of cells and genes, and the copy of X by gene."""
    dataset = Dataset.open(str(path))
    noted = dataset.notes["companions"]["versions"]
    assert set(noted) == {"cell_sums.lance", "gene_sums.lance", "expression_by_gene.lance"}
    return [ask(dataset, f"SELECT * FROM read('{path}/{name}')") for name in sorted(noted)]


def same(got: list[pl.DataFrame], want: list[pl.DataFrame]) -> None:
    for ours, theirs in zip(got, want, strict=True):
        assert ours.schema == theirs.schema
        for column in ours.columns:
            assert ours[column].to_numpy().tobytes() == theirs[column].to_numpy().tobytes(), column


@of_some
def test_a_validation(workers, parted):
    before = workers.tally.tasks
    found = validate(Dataset.open(str(parted)))
    assert workers.tally.tasks - before == 2 * PARTS
    with working(None):
        assert found == validate(Dataset.open(str(parted)))
    assert len(found) == 9 and not any(problem for _, problem in found)


@of_two
def test_an_index(crowd, parted, copied, monkeypatch):
    """It has what the conversion has written, although a worker is killed."""
    monkeypatch.setattr(upkeep, "part_to_index", index_part_that_kills)
    before = crowd.tally.tasks
    with working(crowd):
        index(Dataset.open(str(copied)))
    assert Path(f"{copied}.mark").exists()
    assert crowd.tally.tasks - before == PARTS
    same(companions(copied), companions(parted))
    assert Dataset.open(str(copied)).version == Dataset.open(str(parted)).version + 1
    assert problems(copied) == []


def test_an_index_in_this_process_is_the_same(parted, copied):
    index(Dataset.open(str(copied)))
    same(companions(copied), companions(parted))


def test_the_sums_are_those_of_the_matrix(parted):
    x = read_slaf(parted).X.compute().astype(np.float64)
    for of_genes, axis in ((False, 1), (True, 0)):
        sums = pl.DataFrame(_slaf.Dataset(str(parted)).sums(of_genes, SUMS))
        np.testing.assert_array_equal(sums["nnz"], x.getnnz(axis))
        np.testing.assert_allclose(sums["total"], np.asarray(x.sum(axis)).ravel())
        for name, reduce in (("min", np.minimum), ("max", np.maximum)):
            rows = x.tocsr() if axis else x.tocsc()
            starts = rows.indptr[:-1][np.diff(rows.indptr) > 0]
            found = sums[name].to_numpy()[np.diff(rows.indptr) > 0]
            np.testing.assert_array_equal(found, reduce.reduceat(rows.data, starts))


# What is wrong ------------------------------------------------------------

REWRITE = """
    import sys, lance, numpy, pyarrow
    table = lance.dataset(sys.argv[1]).to_table()
    names = table.column_names
    columns = {{name: table[name].to_numpy().copy() for name in names}}
    {change}
    table = pyarrow.table(columns, schema=table.schema)
    import shutil; shutil.rmtree(sys.argv[1])
    lance.write_dataset(table, sys.argv[1])
"""


def rewrite(path: Path, change: str) -> None:
    script = textwrap.dedent(REWRITE).format(change=change)
    done = subprocess.run([os.environ["SLAFDB_PYTHON"], "-c", script, str(path)], text=True)
    assert done.returncode == 0


CELL, GENE = "columns['cell_integer_id']", "columns['gene_integer_id']"


@pytest.mark.skipif("SLAFDB_PYTHON" not in os.environ, reason="it writes what is wrong")
@pytest.mark.parametrize(
    "table, change, told",
    [
        (
            "expression",
            f"{CELL}[[5, -5]] = {CELL}[[-5, 5]]",
            "row 6 belongs to cell 0, out of its order",
        ),
        ("expression", f"{GENE}[7_000_000] = 65_000", "it holds gene 65000 of"),
        ("expression", f"{GENE}[5_000_001] = {GENE}[5_000_000]", "twice"),
        ("expression", f"{CELL}[4_194_300:4_194_310] = 7_999", "belongs to cell"),
        ("expression_by_gene", "columns['value'][-1] += 9", "gene"),
        ("expression_by_gene", "columns['cell_delta'][0] = 9_000", "of `expression_by_gene`"),
    ],
)
def test_what_is_wrong_is_told_alike(by_two, copied, table, change, told):
    rewrite(copied / f"{table}.lance", change)
    found = validate(Dataset.open(str(copied)))
    with working(None):
        assert found == validate(Dataset.open(str(copied)))
    assert any(told in (problem or "") for _, problem in found), found


@pytest.mark.skipif("SLAFDB_PYTHON" not in os.environ, reason="it writes what is wrong")
def test_what_is_out_of_order_is_not_indexed(by_two, copied):
    rewrite(copied / "expression.lance", f"{CELL}[[5, -5]] = {CELL}[[-5, 5]]")
    config = (copied / "config.json").read_bytes()
    told = refusal(SlafError, lambda: index(Dataset.open(str(copied))))
    assert "belongs to cell" in told
    assert (copied / "config.json").read_bytes() == config


# The commands -------------------------------------------------------------


def test_the_commands(parted, copied):
    options = ("--workers", "processes", "--n-workers", 2)
    done = here("index", copied, *options)
    assert done.returncode in (0, None), done.stderr
    same(companions(copied), companions(parted))
    done = here("validate", copied, *options)
    assert done.returncode in (0, None) and done.stdout.count("ok ") == 9
    assert "--workers" in here("validate", copied, "--n-workers", 2).stderr
    assert "--vector" in here("index", copied, "--vector", "X_pca", *options).stderr


# Others, and deaths -------------------------------------------------------


def test_a_dataset_that_is_appended_to_meanwhile(by_two, tmp_path):
    """A validation is of the version that was opened; an index of it is refused."""
    path = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(make_counts(), path)
    opened = Dataset.open(str(path))
    more_cells().write_h5ad(tmp_path / "more.h5ad")
    with working(None):
        want = validate(opened)
        SLAFConverter().append(tmp_path / "more.h5ad", path)
    assert validate(opened) == want
    told = refusal(OSError, lambda: index(opened))
    assert "changed by somebody else" in told
    assert problems(path) == [] and Dataset.open(str(path)).version == opened.version + 1


def test_a_folder_that_cannot_be_written(by_two, tmp_path):
    path = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(make_counts(), path)
    # A file where a folder has to be; permissions do not stop root.
    shutil.rmtree(path / "gene_sums.lance")
    (path / "gene_sums.lance").write_text("a file")
    config = (path / "config.json").read_bytes()
    told = refusal((SlafError, OSError), lambda: index(Dataset.open(str(path))))
    assert "gene_sums.lance" in told or str(path) in told
    assert (path / "config.json").read_bytes() == config


DIE = """
    import os, signal
    from slaf.data import upkeep
    from slaf.dataset import Dataset
    from slaf.distributed import Executor, executor
    def dying(self, work, tasks, map=Executor.map):
        for number, found in enumerate(map(self, work, tasks)):
            yield found
            if number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
    if __name__ == "__main__":
        Executor.map = dying
        with executor("processes", n_workers=2):
            upkeep.index(Dataset.open({path!r}))
"""


def test_a_killed_index_leaves_the_dataset_as_it_was(parted, copied, tmp_path):
    script = tmp_path / "die.py"
    script.write_text(textwrap.dedent(DIE).format(path=str(copied)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert Dataset.open(str(copied)).version == Dataset.open(str(parted)).version
    same(companions(copied), companions(parted))
    assert problems(copied) == []
    index(Dataset.open(str(copied)))
    same(companions(copied), companions(parted))
