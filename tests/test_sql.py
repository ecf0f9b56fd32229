"""SQL has DuckDB's answers over the same tables, with either engine and every way of
reading."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
import sql_corpus
from conftest import make_counts
from inside import answer
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from sql_answers import compare, rows


@pytest.mark.parametrize("sql", sql_corpus.UNORDERED)
def test_a_question_has_duckdbs_answer(sql_array, sql_plain, sql_duck, sql):
    compare(sql_array, sql_duck, sql)
    compare(sql_plain, sql_duck, sql)


@pytest.mark.parametrize("sql", sql_corpus.ORDERED)
def test_an_ordered_question_has_duckdbs_order(sql_array, sql_duck, sql):
    compare(sql_array, sql_duck, sql, ordered=True)


def polars_runs(array, sql: str) -> bool:
    try:
        array.query(sql, engine="polars")
    except SlafError as error:
        assert "Polars does not run this statement" in str(error)
        return False
    return True


def test_what_polars_admits_it_answers_as_duckdb_does(sql_array, sql_duck):
    """All others it refuses: DataFusion runs them."""
    asked = [(sql, False) for sql in sql_corpus.UNORDERED]
    asked += [(sql, True) for sql in sql_corpus.ORDERED]
    admitted = [(sql, ordered) for sql, ordered in asked if polars_runs(sql_array, sql)]
    for sql, ordered in admitted:
        compare(sql_array, sql_duck, sql, ordered, engines=("polars", "datafusion"))
    by_default = [answer(sql_array, sql).engine[0] for sql, _ in asked]
    assert by_default.count("polars") >= 0.6 * len(asked)


of_any_type = {
    "decimal": pl.Series([Decimal("1.5"), None, Decimal("3")]),
    "categorical": pl.Series(["a", "b", None], dtype=pl.Categorical),
    "enum": pl.Series(["b", "a", None], dtype=pl.Enum(["b", "a"])),
    "struct": pl.Series([{"x": 1, "y": "a"}, {"x": 2, "y": None}, None]),
    "list": pl.Series([[1, 2], [], None]),
    "array": pl.Series([[1.0, 2.0], [3.0, 4.0], None], dtype=pl.Array(pl.Float64, 2)),
    "datetime": pl.Series([dt.datetime(2024, 1, 1)] * 3),
    "with a zone": pl.Series([dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)] * 3),
    "date": pl.Series([dt.date(2024, 1, 1), None, dt.date(2024, 2, 1)]),
    "time": pl.Series([dt.time(1, 2)] * 3),
    "duration": pl.Series([dt.timedelta(1)] * 3),
    "binary": pl.Series([b"a", b"", None]),
    "null": pl.Series([None] * 3),
    "int128": pl.Series([2**70, 2, None], dtype=pl.Int128),
    "uint64": pl.Series([1, 2**63, None], dtype=pl.UInt64),
    "float32": pl.Series([0.1, float("nan"), None], dtype=pl.Float32),
}


@pytest.mark.parametrize("kind", of_any_type)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n, v FROM f WHERE n > 1",
        "SELECT v, COUNT(*) AS c FROM f GROUP BY v",
        "SELECT DISTINCT v FROM f UNION SELECT v FROM f",
        "SELECT MAX(v), MIN(v), COUNT(v), COUNT(DISTINCT v) FROM f",
        "SELECT n, v IS NULL, ROW_NUMBER() OVER (PARTITION BY v ORDER BY n) FROM f",
        "SELECT x.n FROM f x JOIN f y ON x.v = y.v AND x.n = y.n ORDER BY x.v, x.n",
        "SELECT COALESCE(v, v), CASE WHEN n > 1 THEN v END FROM f",
    ],
)
def test_frames_with_columns_of_any_type(sql_array, kind, sql):
    """Both engines give the same, or the same sentence."""

    def answer(frame, engine):
        try:
            got = sql_array.query(sql, f=frame, engine=engine)
        except SlafError as error:
            return str(error)
        return sorted(map(repr, got.rows())), got.dtypes

    frame = pl.DataFrame({"n": [1, 2, 3], "v": of_any_type[kind]})
    want = answer(frame, "datafusion")
    assert answer(frame, None) == want and "panicked" not in str(want)
    assert answer(frame.lazy(), None) == want


def test_quotients_are_rounded_once(sql_array, sql_duck):
    """Polars multiplies by 1 / r where r is one value."""
    for divisor in ("49.0", "3.0", "0.1", "7.0", "(SELECT MAX(n_genes) FROM cells)"):
        for engine in ("polars", "datafusion"):
            sql = f"SELECT cell_id, n_genes / {divisor}, n_genes * 1.0 / {divisor} FROM cells"
            got = sql_array.query(sql, engine=engine).sort("cell_id")
            want = sql_duck.sql(sql).pl().sort("cell_id")
            assert got.rows() == want.rows()
    one = sql_array.query("SELECT 49.0 / n FROM (SELECT 49.0 AS n FROM cells LIMIT 1) t")
    assert one.item() == 1.0


def explained(array, sql: str, **params) -> str:
    return "\n".join(array.query(f"EXPLAIN {sql}", **params)["plan"])


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT batch FROM cells WHERE n_genes > 3", "polars (it answers right)"),
        (
            "SELECT gene_integer_id, SUM(value) AS s FROM expression GROUP BY 1 HAVING SUM(value) > 9",
            "polars (it answers right)",
        ),
        (
            "SELECT SUM(value) FROM expression",
            "datafusion (its rows are the answer as they are read)",
        ),
        (
            "SELECT batch, COUNT(*) FROM cells GROUP BY ROLLUP (batch)",
            "datafusion (ROLLUP, CUBE or GROUPING SETS)",
        ),
    ],
)
def test_the_engine_says_why_it_runs_a_statement(sql_array, sql, why):
    assert explained(sql_array, sql).startswith(f"engine: {why}\n")
    assert explained(sql_array, sql, engine="datafusion").startswith(
        "engine: datafusion (asked for)"
    )


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        # A gene is resolved first, and only its rows are read, by gene.
        (
            "SELECT c.batch, AVG(e.value) FROM expression e JOIN cells c USING (cell_integer_id) "
            "JOIN genes g USING (gene_integer_id) WHERE g.symbol = 'G3' GROUP BY c.batch",
            "SELECT COUNT(*) FROM expression WHERE gene_integer_id = 3",
        ),
        # Cells are read as ranges of rows.
        (
            "SELECT e.gene_integer_id, e.value FROM cells c JOIN expression e USING "
            "(cell_integer_id) WHERE c.cell_id IN ('cell-7', 'cell-9')",
            "SELECT COUNT(*) FROM expression WHERE cell_integer_id IN (7, 9)",
        ),
        (
            "SELECT SUM(value * 2) FROM expression WHERE cell_integer_id IN "
            "(SELECT cell_integer_id FROM cells WHERE n_genes > 95)",
            "SELECT COUNT(*) FROM expression JOIN cells USING (cell_integer_id) WHERE n_genes > 95",
        ),
        ("SELECT gene_integer_id FROM expression LIMIT 3", "SELECT 3"),
        (
            "SELECT value FROM expression WHERE cell_integer_id BETWEEN 20 AND 29",
            "SELECT COUNT(*) FROM expression WHERE cell_integer_id BETWEEN 20 AND 29",
        ),
        # Through a view, a subquery and an aggregate.
        (
            "SELECT t.s FROM (SELECT gene_integer_id, SUM(value * 2) AS s FROM expression GROUP BY "
            "1) t JOIN genes g USING (gene_integer_id) WHERE g.symbol = 'G3'",
            "SELECT COUNT(*) FROM expression WHERE gene_integer_id = 3",
        ),
        (
            "SELECT e.value FROM expression e JOIN $markers m ON e.gene_integer_id = m.g",
            "SELECT COUNT(*) FROM expression WHERE gene_integer_id IN (3, 4)",
        ),
    ],
)
def test_only_the_rows_that_are_left_are_read(sql_array, sql_duck, sql, reads):
    sql = sql.replace("$markers", "markers")
    ((want,),) = sql_duck.sql(reads).fetchall()
    of = sql_array.query("SELECT COUNT(*) FROM expression").item()
    markers = pl.DataFrame({"g": [3, 4]})
    plan = explained(sql_array, sql, markers=markers)
    assert f"reads: {want:,} of {of:,} rows of expression" in plan
    got = answer(sql_array, sql, markers=markers)
    assert got.profile[0] == want


def test_sums_answer_without_a_row_of_expression(sql_array, sql_plain):
    sql = "SELECT gene_integer_id, COUNT(*), SUM(value), AVG(value) FROM expression GROUP BY 1"
    assert "stored sums" in explained(sql_array, sql)
    assert answer(sql_array, sql).profile[0] == 0
    assert "stored sums" not in explained(sql_plain, sql)
    analyzed = "\n".join(sql_plain.query(f"EXPLAIN ANALYZE {sql}")["plan"])
    rows = sql_plain.query("SELECT COUNT(*) FROM expression").item()
    assert f"read: {rows:,} rows of expression" in analyzed and "answered: " in analyzed


def test_explicit_zeros_count_and_are_least(tmp_path):
    adata = make_counts(20, 8)
    x = adata.X.tocsr().astype(np.float32)
    x.data[::3] = 0
    adata.X = x
    SLAFConverter().convert_anndata(adata, tmp_path / "zeros.slaf")
    got = SLAFArray(tmp_path / "zeros.slaf").query(
        "SELECT COUNT(*), AVG(value), MIN(value), MAX(value) FROM expression"
    )
    assert got.row(0) == pytest.approx((x.nnz, x.data.mean(), x.data.min(), x.data.max()))


def test_a_derived_tables_name_does_not_outlive_its_statement(sql_array):
    before = sql_array.query("SELECT COUNT(*) AS n FROM cells").item()
    sql_array.query("SELECT * FROM (SELECT 1 AS x) AS cells")
    assert sql_array.query("SELECT COUNT(*) AS n FROM cells").item() == before


def test_the_tutorials_double_quoted_strings_run_and_warn(sql_array):
    tutorial = """
    SELECT
    cell_type,
    AVG(total_counts) as avg_counts
    FROM cells
    WHERE batch = "batch1"
    AND cell_type IN ("T cells", "B cells")
    GROUP BY cell_type
    ORDER BY avg_counts DESC
    """
    with pytest.warns(UserWarning, match="taken as text: 'B cells', 'T cells', 'batch1'"):
        got = sql_array.query(tutorial)
    assert set(got["cell_type"]) == {"T cells", "B cells"}


def test_columns_of_one_name_are_numbered(sql_array, sql_duck):
    sql = """
    SELECT * FROM expression e JOIN genes g ON e.gene_integer_id = g.gene_integer_id
    WHERE g.symbol = 'G1' AND e.cell_integer_id < 50
    """
    got, want = sql_array.query(sql), sql_duck.sql(sql).pl()
    assert got.columns == want.columns
    assert sorted(rows(got)) == sorted(rows(want))


def test_letter_case_of_names_does_not_matter(sql_array):
    got = sql_array.query(
        "SELECT COUNT(*) AS N, Max(N_GENES) AS m FROM Cells WHERE Batch = 'batch1'"
    )
    assert got.columns == ["N", "m"]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "SELECT totl_counts FROM cells",
            "There is no column `totl_counts`. Did you mean `total_counts`",
        ),
        ("SELECT totl_counts FROM cells c JOIN genes g ON true", "no column `totl_counts`"),
        ("SELECT * FROM cell", "There is no table `cell`. Did you mean `cells`"),
        ("SELECT * FROM cells WHERE", "found the end of the statement"),
        ("SELEC * FROM cells", "Expected: an SQL statement"),
        ("", "There is no statement"),
        ("SELECT FROM cells", "A SELECT names no columns"),
        (
            "SELECT batch, COUNT(*) AS n FROM cells GROUP BY n, batch",
            "stands where none can be computed",
        ),
        ("DROP TABLE cells", "only read"),
        ("DROP TABLE nothing", "There is no table `nothing` to drop"),
        ("INSERT INTO cells VALUES (1)", "only read"),
        (
            "SELECT medain(n_genes) FROM cells",
            "There is no function `medain`. Did you mean `median`",
        ),
        (
            "SELECT cell_id FROM cells WHERE n_genes > ALL (SELECT n_genes FROM cells)",
            "Compare with its MIN or MAX",
        ),
        ("SELECT batch, n_genes FROM cells GROUP BY batch", "n_genes"),
        ("SELECT batch + 1 FROM cells", ""),
    ],
)
def test_a_wrong_statement_gets_one_clear_sentence(sql_array, sql, says):
    with pytest.raises(SlafError) as raised:
        sql_array.query(sql)
    message = str(raised.value)
    assert says in message
    assert "DataFusion" not in message and "panicked" not in message


def test_results_share_the_engines_buffers(sql_array):
    got = answer(sql_array, "SELECT value FROM expression")
    import pyarrow as pa

    first, second = (pa.table(got).column(0).chunk(0).buffers()[1].address for _ in range(2))
    assert first == second
    # One chunk a batch, so that nothing is joined: the first begins at the same address.
    assert pl.DataFrame(got).to_arrow().column(0).chunk(0).buffers()[1].address == first


def test_a_large_answer_is_spilled_and_is_the_same(sql_array):
    sql = "SELECT * FROM expression ORDER BY value DESC, cell_integer_id, gene_integer_id"
    assert sql_array.query(sql, memory=200_000).equals(sql_array.query(sql))


def test_too_little_memory_is_told(sql_array):
    with pytest.raises(SlafError, match="needs more memory than the 1.0 KB"):
        sql_array.query("SELECT cell_id, MEDIAN(n_genes) FROM cells GROUP BY cell_id", memory=1000)


def test_a_limit_is_of_the_answer(sql_array):
    assert sql_array.query("SELECT * FROM expression", limit=7).height == 7
    assert sql_array.query("SELECT COUNT(*) FROM expression", limit=7).item() > 7
    assert answer(sql_array, "SELECT value FROM expression", limit=7).profile[0] == 7
