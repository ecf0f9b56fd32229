"""The command `slaf`."""

from __future__ import annotations

import pytest
from commands import apart, here


def test_convert_info_query(pbmc_h5ad, tmp_path):
    target = tmp_path / "pbmc.slaf"
    done = apart("convert", pbmc_h5ad, target)
    assert done.returncode == 0, done.stderr
    assert "700 cells × 765 genes" in done.stdout
    info = here("info", target)
    assert "535,433 values" in info.stdout and "X_umap" in info.stdout
    query = here("query", target, "SELECT louvain FROM cells", "--limit", "2")
    assert "698 more rows" in query.stdout
    count = "SELECT COUNT(*) AS n FROM cells WHERE louvain = $l AND n_genes > $n"
    query = here("query", target, count, "--value", "l=1", "--value", "n=700")
    assert query.returncode == 0 and "n " in query.stdout, query.stderr
    assert (
        "reads: stored sums"
        in here(
            "query", target, "EXPLAIN SELECT SUM(value) FROM expression", "--memory", "1 GB"
        ).stdout
    )
    wrong = here("query", target, "SELECT 1", "--memory", "much")
    assert wrong.returncode == 1 and "`much` is not an amount of memory" in wrong.stderr
    written = here("query", target, "SELECT gene_id FROM genes", "-o", tmp_path / "genes.csv")
    assert written.returncode == 0
    assert len((tmp_path / "genes.csv").read_text().splitlines()) == 766


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["info", "nowhere.slaf"], "nothing at `nowhere.slaf`"),
        (["convert", "nowhere.h5ad", "x.slaf"], "nothing at `nowhere.h5ad`"),
        (["query", "nowhere.slaf", "SELECT 1"], "nothing at"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_1(arguments, says):
    done = here(*arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_has_examples():
    assert "slaf convert pbmc.h5ad pbmc.slaf" in apart("--help").stdout
