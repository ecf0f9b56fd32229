"""`%%sql` in a plain IPython shell, without our kernel."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import make_counts
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from slaf import SLAFArray
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.notebook.magics import inspect
from slaf.sql import Prepared


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("magics") / "made.slaf"
    SLAFConverter().convert_anndata(make_counts(200, 50, seed=4), target)
    return target


@pytest.fixture
def shell(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "slaf")
    shell.user_ns["pbmc"] = SLAFArray(path)
    return shell


def cell(shell, body: str, line: str = ""):
    return shell.run_cell_magic("sql", line, body)


def frame(answer) -> pl.DataFrame:
    return pl.DataFrame(answer)


def test_values_of_variables_are_bound(shell):
    shell.user_ns |= {"batch": "batch1", "kinds": ["NK", "B cells"], "column": "n_genes"}
    sql = "SELECT COUNT(*) FROM cells WHERE batch = {{batch}} AND cell_type IN $kinds"
    want = make_counts(200, 50, seed=4).obs
    want = ((want.batch == "batch1") & want.cell_type.isin(["NK", "B cells"])).sum()
    assert frame(cell(shell, sql)).item() == want
    got = frame(cell(shell, "SELECT MAX({{ident(column)}}) AS m FROM cells"))
    assert got.item() == make_counts(200, 50, seed=4).obs.n_genes.max()
    with pytest.raises(UsageError, match="There is no variable `bach`. Did you mean `batch`"):
        cell(shell, "SELECT {{bach}}")


def test_a_cell_of_several_statements(shell, capsys):
    answer = cell(
        shell,
        "CREATE VIEW b1 AS SELECT * FROM cells WHERE batch = 'batch1';\n"
        "CREATE TABLE kinds AS SELECT DISTINCT cell_type FROM b1; -- a comment;\n"
        "SELECT COUNT(*) AS n, ';' AS s FROM kinds",
    )
    assert isinstance(shell.user_ns["kinds"], pl.DataFrame)
    assert frame(answer).row(0) == (shell.user_ns["kinds"].height, ";")
    # Both last beyond the cell.
    assert frame(cell(shell, "SELECT COUNT(*) FROM b1")).item() > 0
    assert frame(shell.run_line_magic("sql", "SELECT COUNT(*) FROM kinds")).item() == answer_of(
        answer
    )


def answer_of(answer) -> int:
    return frame(answer)["n"].item()


def test_a_lazy_answer_goes_on(shell, monkeypatch):
    cell(shell, "SELECT cell_id, n_genes, batch FROM cells", "--lazy plan <<")
    plan = shell.user_ns["plan"]
    assert isinstance(plan, pl.LazyFrame)
    assert plan.collect_schema().names() == ["cell_id", "n_genes", "batch"]
    want = pl.from_pandas(make_counts(200, 50, seed=4).obs.reset_index(drop=True))
    got = plan.filter(pl.col("n_genes") > 90).select("cell_id", "batch").collect()
    assert got["batch"].to_list() == want.filter(pl.col("n_genes") > 90)["batch"].to_list()
    asked = []
    ask = Prepared.ask
    monkeypatch.setattr(
        Prepared, "ask", lambda self, text, **kw: asked.append(text) or ask(self, text, **kw)
    )
    assert plan.select("n_genes").head(3).collect().shape == (3, 1)
    assert asked[-1].startswith('SELECT "n_genes" FROM') and asked[-1].endswith("LIMIT 3")
    batches = plan.filter(pl.col("n_genes") > 90, pl.col("batch").str.ends_with("1"))
    assert batches.collect()["n_genes"].min() > 90
    assert asked[-1].endswith('WHERE "n_genes" > 90')
    with pytest.raises(UsageError, match="gives a plan to a variable"):
        cell(shell, "SELECT 1", "--lazy")


def test_explain_and_profile(shell, capsys):
    assert (
        cell(shell, "SELECT value FROM expression WHERE cell_integer_id = 7", "--explain") is None
    )
    told = capsys.readouterr().out
    assert told.startswith("engine: datafusion") and "rows of expression, about" in told
    answer = cell(shell, "SELECT value FROM expression LIMIT 9", "--profile")
    told = capsys.readouterr().out
    assert told.startswith("9 rows in ") and "9 rows of expression read" in told
    assert len(answer) == 9
    assert len(cell(shell, "SELECT value FROM expression", "--limit 5")) == 5


def test_frames_and_slices_by_their_variables(shell, path):
    shell.user_ns["genes_of"] = pd.DataFrame({"symbol": ["G3", "G4"]})
    shell.user_ns["part"] = read_slaf(path)[10:20, [3, 4, 5]]
    got = cell(shell, "SELECT COUNT(*) FROM genes_of JOIN pbmc.genes USING (symbol)")
    assert frame(got).item() == 2
    counts = make_counts(200, 50, seed=4).X[10:20][:, [3, 4, 5]]
    got = cell(
        shell, "SELECT COUNT(*), SUM(value), COUNT(DISTINCT gene_integer_id) FROM part.expression"
    )
    assert frame(got).row(0)[:2] == (counts.nnz, counts.sum())
    assert frame(cell(shell, "SELECT COUNT(*) FROM part.cells")).item() == 10
    assert (
        frame(
            cell(shell, "SELECT COUNT(*) FROM part.X JOIN part.genes USING (gene_integer_id)")
        ).item()
        == counts.nnz
    )


def test_memory_is_configured(shell):
    shell.run_line_magic("config", "Slaf.memory = '1 KB'")
    with pytest.raises(UsageError, match="needs more memory than the 1.0 KB"):
        cell(shell, "SELECT cell_id, MEDIAN(n_genes) FROM cells GROUP BY cell_id")
    shell.run_line_magic("config", "Slaf.memory = 'much'")
    with pytest.raises(UsageError, match="`much` is not an amount of memory"):
        cell(shell, "SELECT 1")


def completions(shell, code: str) -> list[str]:
    """Of the text before `|`."""
    from IPython.core.completer import provisionalcompleter

    cursor = code.index("|")
    code = code.replace("|", "")
    with provisionalcompleter():
        found = list(shell.Completer.completions(code, cursor))
    return [code[: c.start] + c.text for c in found]


def test_completion_knows_the_place(shell):
    shell.user_ns["markers"] = pl.DataFrame({"symbol": ["G3"], "score of it": [1.0]})
    head = "%%sql\n"
    ends = lambda code: [c[len(head) :] for c in completions(shell, head + code)]  # noqa: E731
    assert ends("SELECT * FROM ce|") == ["SELECT * FROM cells"]
    assert "SELECT * FROM markers" in ends("SELECT * FROM ma|")
    assert "SELECT * FROM pbmc." in ends("SELECT * FROM pb|")
    assert "SELECT * FROM pbmc.expression" in ends("SELECT * FROM pbmc.|")
    assert "SELECT n_genes" in ends("SELECT n_g| FROM cells")
    assert "SELECT c.total_counts" in ends("SELECT c.tot| FROM cells AS c JOIN genes g")
    assert 'SELECT m."score of it"' in ends("SELECT m.sc| FROM markers m")
    assert "SELECT medi" not in ends("SELECT medi|") and "SELECT median(" in ends("SELECT medi|")
    assert "SELECT batch FROM cells WHERE" in ends("SELECT batch FROM cells WHE|")
    assert "SELECT batch FROM cells whe" not in ends("SELECT batch FROM cells whe|")
    values = ends("SELECT 1 FROM cells WHERE cell_type = 'T|")
    assert values == ["SELECT 1 FROM cells WHERE cell_type = 'T cells'"]
    values = ends("SELECT 1 FROM cells c WHERE c.cell_type IN ('NK', 'b|")
    assert values == ["SELECT 1 FROM cells c WHERE c.cell_type IN ('NK', 'B cells'"]
    assert ends("SELECT 'it|") == [] and ends("WITH x AS (SELECT 1) SELECT * FROM x|")[0].endswith(
        "FROM x"
    )
    # Python's own completion is left alone.
    assert any(c.endswith("pbmc.query") for c in completions(shell, "pbmc.que|"))


def test_inspection_tells_tables_and_columns(shell):
    def said(code: str) -> str | None:
        cursor = code.index("|")
        return inspect(shell.slaf_sessions, code.replace("|", ""), cursor)

    assert said("%%sql\nSELECT * FROM cel|ls").startswith("table cells: 200 rows × ")
    told = said("%%sql\nSELECT ba|tch FROM cells")
    obs = make_counts(200, 50, seed=4).obs
    top, n = obs.batch.value_counts().index[0], obs.batch.value_counts().iloc[0]
    assert told.startswith("column batch of cells: VARCHAR")
    assert "200 rows, 0 missing, 2 distinct, from batch1 to batch2" in told
    assert f"{n}  {top}" in told
    assert said("%%sql\nSELECT noth|ing FROM cells") is None
    assert said("1 + 1|") is None


def test_a_vector_of_numpy_is_searched(shell):
    shell.user_ns["v"] = np.zeros(2)
    shell.user_ns["points"] = pl.DataFrame({"name": ["a", "b"], "p": [[3.0, 4.0], [0.0, 1.0]]})
    got = frame(cell(shell, "SELECT name, distance(p, $v) AS d FROM points ORDER BY d"))
    assert got.rows() == [("b", 1.0), ("a", 5.0)]
