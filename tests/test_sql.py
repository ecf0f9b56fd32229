"""SQL: the same answer as DuckDB gives over the same tables, whichever engine
runs it."""

from __future__ import annotations

import math

import duckdb
import polars as pl
import pytest
from conftest import make_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> SLAFArray:
    target = tmp_path_factory.mktemp("sql") / "made.slaf"
    SLAFConverter().convert_anndata(make_counts(300, 60, seed=3), target)
    return SLAFArray(target)


@pytest.fixture(scope="module")
def duck(array):
    connection = duckdb.connect()
    for name in ("cells", "genes", "expression"):
        frame = pl.DataFrame(array._dataset.read(name, list(array._columns[name])))
        # DuckDB refuses arithmetic that leaves uint16.
        wide = frame.with_columns(pl.col(pl.UInt16, pl.UInt32).cast(pl.Int64))
        connection.register(name, wide.to_arrow())
    return connection


def rows(frame: pl.DataFrame) -> list[tuple]:
    def plain(value):
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return value
        if isinstance(value, (int, float)) or type(value).__name__ == "Decimal":
            value = float(value)
            return "nan" if math.isnan(value) else float(f"{value:.6g}")
        return str(value)

    return [tuple(plain(v) for v in row) for row in frame.rows()]


def key(row: tuple) -> tuple:
    return tuple(
        (v is None, str(type(v)), v if not isinstance(v, bool) else int(v))
        if v is not None
        else (True, "", 0)
        for v in row
    )


def compare(array, duck, sql: str, ordered: bool = False) -> None:
    want = rows(duck.sql(sql).pl())
    for engine in (None, "datafusion"):
        got = rows(array.query(sql, engine=engine))
        if not ordered:
            got, want = sorted(got, key=key), sorted(want, key=key)
        assert got == want, f"{engine}: {sql}"


UNORDERED = [
    "SELECT COUNT(*) AS n FROM expression",
    "SELECT COUNT(score), COUNT(*), MIN(total_counts), MAX(batch) FROM cells",
    "SELECT cell_type, COUNT(*) AS n, AVG(total_counts) AS m, SUM(n_genes) AS s FROM cells GROUP BY cell_type",
    "SELECT batch, cell_type, SUM(score) FROM cells WHERE score > 0.5 GROUP BY batch, cell_type",
    "SELECT SUM(score) FROM cells WHERE batch = 'none'",
    "SELECT cell_id FROM cells WHERE donor IS NULL AND NOT doublet",
    "SELECT cell_id FROM cells WHERE cell_type IN ('T cells', 'NK') AND total_counts BETWEEN 10 AND 40",
    "SELECT cell_id FROM cells WHERE cell_type NOT IN ('T cells') OR doublet = true",
    "SELECT cell_id FROM cells WHERE NOT (cell_type = 'NK' OR n_genes <> 5)",
    "SELECT gene_id FROM genes WHERE gene_id LIKE 'ENSG0001%' AND mt = false",
    "SELECT n_genes / 2 AS h, n_genes / 7.0 AS s, n_genes % 7 AS r FROM cells",
    "SELECT value - 10 AS d, value * value AS q, gene_integer_id - 30 AS g FROM expression WHERE cell_integer_id < 20",
    "SELECT SUM(value) / COUNT(*) AS mean FROM expression",
    "SELECT COUNT(*) - COUNT(donor) AS nulls, -COUNT(*) AS neg FROM cells",
    "SELECT MEDIAN(n_genes) FROM cells",
    "SELECT STDDEV(total_counts), VAR_POP(total_counts), CORR(total_counts, n_genes) FROM cells",
    "SELECT COUNT(DISTINCT donor), COUNT(DISTINCT batch) FROM cells",
    "SELECT g.symbol, COUNT(*) AS n, AVG(e.value) AS m FROM expression e JOIN genes g USING (gene_integer_id) GROUP BY g.symbol",
    "SELECT c.cell_type, g.gene_id, AVG(e.value) m FROM expression e JOIN cells c ON e.cell_integer_id = c.cell_integer_id JOIN genes g ON e.gene_integer_id = g.gene_integer_id WHERE g.symbol IN ('G1','G2') GROUP BY 1, 2",
    "SELECT cell_id FROM cells WHERE total_counts > (SELECT AVG(total_counts) FROM cells)",
    "SELECT cell_id FROM cells c WHERE EXISTS (SELECT 1 FROM expression e WHERE e.cell_integer_id = c.cell_integer_id AND e.value > 8)",
    "SELECT cell_id, (SELECT SUM(value) FROM expression e WHERE e.cell_integer_id = c.cell_integer_id) AS s FROM cells c",
    "SELECT c.cell_id, e.value FROM cells c LEFT JOIN expression e ON c.cell_integer_id = e.cell_integer_id AND e.value > 5",
    "SELECT c.cell_id, e.value FROM cells c LEFT JOIN expression e ON c.cell_integer_id = e.cell_integer_id AND e.gene_integer_id = 7",
    "SELECT batch, cell_type, COUNT(*) FROM cells GROUP BY ROLLUP (batch, cell_type)",
    "SELECT batch, COUNT(*) FILTER (WHERE doublet) AS d FROM cells GROUP BY batch HAVING COUNT(*) > 3",
    "SELECT batch, AVG(total_counts) OVER (PARTITION BY batch ORDER BY cell_integer_id) FROM cells",
    "SELECT cell_integer_id, SUM(n_genes) OVER (ORDER BY batch) FROM cells",
    "SELECT NTILE(4) OVER (ORDER BY cell_integer_id) AS q, cell_id FROM cells",
    "SELECT cell_id, AVG(n_genes) OVER (ORDER BY cell_integer_id ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING) FROM cells",
    "SELECT cell_type, cell_id FROM cells QUALIFY ROW_NUMBER() OVER (PARTITION BY cell_type ORDER BY total_counts DESC, cell_id) <= 3",
    "SELECT donor FROM cells WHERE doublet EXCEPT SELECT donor FROM cells WHERE NOT doublet UNION SELECT batch FROM cells",
    "SELECT donor FROM cells INTERSECT SELECT donor FROM cells WHERE doublet",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n",
    "WITH hi AS (SELECT * FROM cells WHERE total_counts > 20) SELECT batch, COUNT(*) FROM hi GROUP BY batch",
    "SELECT CASE WHEN n_genes > 50 THEN 'hi' ELSE 'lo' END AS k, COUNT(*) FROM cells GROUP BY k",
    "SELECT COALESCE(donor, 'none') AS d, LENGTH(cell_id), UPPER(batch) FROM cells",
    'SELECT "größe µ" > 0, "nCount_RNA" FROM cells',
    "SELECT LN(1 + value / 10 * 1e4) FROM expression WHERE gene_integer_id = 3",
    "SELECT * FROM (SELECT batch, COUNT(*) AS n FROM cells GROUP BY batch) AS cells",
    "SELECT cell_id FROM cells WHERE cell_integer_id IN (SELECT cell_integer_id FROM expression WHERE value > 9)",
    "SELECT DISTINCT batch, doublet FROM cells",
    "SELECT cell_id FROM cells WHERE donor NOT IN ('d0') OR donor NOT IN ('d1')",
    "SELECT cell_id FROM cells WHERE donor <> 'd0' OR 'd1' <> donor",
    "SELECT cell_id FROM cells WHERE NOT (donor = 'd0' AND donor IN ('d1', 'd2'))",
    "SELECT donor IN ('d0') AND donor NOT IN ('d0'), donor = 'd1' OR donor = 'd2' FROM cells",
    "SELECT cell_id FROM cells WHERE n_genes = ANY (SELECT n_genes FROM cells WHERE batch = 'batch1' AND n_genes > 90)",
    "SELECT cell_id FROM cells WHERE n_genes <> ALL (SELECT n_genes FROM cells WHERE batch = 'batch1')",
    "SELECT a.cell_id FROM cells a SEMI JOIN expression e ON a.cell_integer_id = e.cell_integer_id",
    "SELECT a.cell_id FROM cells a ANTI JOIN expression e ON a.cell_integer_id = e.cell_integer_id",
    "SELECT LENGTH(ARRAY_AGG(batch)), VARIANCE(total_counts), QUANTILE_CONT(total_counts, 0.9) FROM cells",
    "SELECT batch LIKE 'batch!_' ESCAPE '!', batch LIKE 'b%!1' ESCAPE '!', 'a\\_b' LIKE 'a\\_b', 'a_b' LIKE 'a\\_b' FROM cells",
    "SELECT IF(doublet, 'a', batch), NULLIF(batch, 'batch1'), IFNULL(donor, '-') FROM cells",
    "(SELECT cell_id FROM cells ORDER BY cell_id LIMIT 2) UNION ALL (SELECT gene_id FROM genes ORDER BY gene_id LIMIT 2)",
    "SELECT batch, doublet, SUM(total_counts) FROM cells GROUP BY GROUPING SETS ((batch), (doublet), ())",
    "SELECT * EXCLUDE (cell_start_index, age, seen, donor, stage) FROM cells WHERE cell_integer_id < 3",
    "SELECT g.gene_id, t.v FROM genes g, LATERAL (SELECT MAX(value) AS v FROM expression e WHERE e.gene_integer_id = g.gene_integer_id) t",
    "SELECT SPLIT_PART(cell_id, '-', 2), cell_id || '/' || batch, SUBSTR(cell_id, 1, 3), REPLACE(batch, 'batch', 'B') FROM cells",
    "SELECT PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY total_counts) FROM cells",
    "SELECT STRING_AGG(batch, ',' ORDER BY cell_integer_id) FROM cells",
    "SELECT CAST(total_counts / 4 AS INT) AS q, n_genes // 7 AS d FROM cells",
]

ORDERED = [
    "SELECT cell_id FROM cells ORDER BY cell_id LIMIT 7 OFFSET 2",
    "SELECT cell_id, score FROM cells ORDER BY score DESC, cell_id LIMIT 400",
    "SELECT cell_id, donor FROM cells ORDER BY donor, cell_id",
    "SELECT cell_id, donor FROM cells ORDER BY donor DESC NULLS FIRST, cell_id",
    "SELECT batch, AVG(total_counts) AS m FROM cells GROUP BY batch ORDER BY AVG(total_counts) DESC",
    "SELECT batch, COUNT(*) AS n FROM cells GROUP BY batch ORDER BY COUNT(*), batch",
    "SELECT cell_type, COUNT(*) AS n FROM cells GROUP BY cell_type ORDER BY n DESC, cell_type",
    "WITH cells AS (SELECT * FROM cells WHERE n_genes > 50) SELECT cell_id FROM cells ORDER BY cell_id",
]


@pytest.mark.parametrize("sql", UNORDERED)
def test_a_question_has_duckdbs_answer(array, duck, sql):
    compare(array, duck, sql)


@pytest.mark.parametrize("sql", ORDERED)
def test_an_ordered_question_has_duckdbs_order(array, duck, sql):
    compare(array, duck, sql, ordered=True)


columns = {
    "n_genes": ("number", [0, 5, 50, 98, -1]),
    "total_counts": ("number", [0, 12.5, 30]),
    "batch": ("text", ["batch1", "batch2", "x'y"]),
    "donor": ("text", ["d0", "d1", ""]),
    "doublet": ("bool", ["true", "false"]),
    "age": ("number", [3, 40]),
}


@st.composite
def conditions(draw, depth: int = 2) -> str:
    if depth and draw(st.booleans()):
        left, right = draw(conditions(depth - 1)), draw(conditions(depth - 1))
        return f"({left} {draw(st.sampled_from(['AND', 'OR']))} {right})"
    column = draw(st.sampled_from(list(columns)))
    kind, values = columns[column]
    value = draw(st.sampled_from(values))
    if kind == "text":
        value = "'" + value.replace("'", "''") + "'"
    form = draw(
        st.sampled_from(
            [
                "{c} = {v}",
                "{c} <> {v}",
                "{c} >= {v}",
                "{c} < {v}",
                "NOT {c} = {v}",
                "{c} IS NULL",
                "{c} IN ({v})",
                "{c} NOT IN ({v})",
            ]
        )
    )
    return form.format(c=column, v=value)


@settings(max_examples=150, deadline=None)
@given(
    where=conditions(), group=st.sampled_from(["batch", "donor", "doublet", None]), data=st.data()
)
def test_generated_questions(array, duck, where, group, data):
    aggregates = data.draw(
        st.lists(
            st.sampled_from(
                [
                    "COUNT(*)",
                    "COUNT(age)",
                    "SUM(n_genes)",
                    "AVG(total_counts)",
                    "MIN(n_genes)",
                    "MAX(donor)",
                    "SUM(score)",
                ]
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    named = ", ".join(f"{a} AS a{i}" for i, a in enumerate(aggregates))
    if group is None:
        compare(array, duck, f"SELECT {named} FROM cells WHERE {where}")
    else:
        compare(array, duck, f"SELECT {group}, {named} FROM cells WHERE {where} GROUP BY {group}")
    compare(
        array,
        duck,
        f"SELECT cell_id, donor AS d FROM cells WHERE {where} ORDER BY cell_id LIMIT 9",
        ordered=True,
    )


def test_polars_runs_plain_questions_to_metadata_and_says_so(array):
    engine = lambda sql: array._ask(sql).engine  # noqa: E731
    assert (
        engine(
            "SELECT batch, COUNT(*) AS n FROM cells WHERE n_genes > 3 GROUP BY batch ORDER BY n"
        )[0]
        == "polars"
    )
    assert engine("SELECT SUM(value) FROM expression") == (
        "datafusion",
        "a table of expression values",
    )
    assert engine("SELECT c.cell_id FROM cells c JOIN cells d USING (cell_id)")[0] == "datafusion"


def test_filters_columns_and_limits_reach_lance(array):
    plan = array.query(
        "EXPLAIN SELECT gene_integer_id FROM expression WHERE cell_integer_id = 5 LIMIT 3"
    ).rows()
    text = str(plan)
    assert "cell_integer_id = " in text and "LanceRead" in text
    assert (
        "projection=[gene_integer_id]" in text
        or "projection=[cell_integer_id, gene_integer_id]" in text
    )


def test_a_derived_tables_name_does_not_outlive_its_statement(array):
    before = array.query("SELECT COUNT(*) AS n FROM cells").item()
    array.query("SELECT * FROM (SELECT 1 AS x) AS cells")
    assert array.query("SELECT COUNT(*) AS n FROM cells").item() == before


def test_the_tutorials_double_quoted_strings_run_and_warn(array):
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
        got = array.query(tutorial)
    assert set(got["cell_type"]) == {"T cells", "B cells"}


def test_columns_of_one_name_are_numbered(array, duck):
    sql = """
    SELECT * FROM expression e JOIN genes g ON e.gene_integer_id = g.gene_integer_id
    WHERE g.symbol = 'G1' AND e.cell_integer_id < 50
    """
    got, want = array.query(sql), duck.sql(sql).pl()
    assert got.columns == want.columns
    assert sorted(rows(got)) == sorted(rows(want))


def test_letter_case_of_names_does_not_matter(array):
    got = array.query("SELECT COUNT(*) AS N, Max(N_GENES) AS m FROM Cells WHERE Batch = 'batch1'")
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
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT FROM cells", "A SELECT names no columns"),
        (
            "SELECT batch, COUNT(*) AS n FROM cells GROUP BY n, batch",
            "stands where none can be computed",
        ),
        ("DROP TABLE cells", "only read"),
        ("INSERT INTO cells VALUES (1)", "only read"),
        ("CREATE TABLE x AS SELECT 1", "only read"),
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
def test_a_wrong_statement_gets_one_clear_sentence(array, sql, says):
    with pytest.raises(SlafError) as raised:
        array.query(sql)
    message = str(raised.value)
    assert says in message
    assert "DataFusion" not in message and "panicked" not in message


def test_results_share_the_engines_buffers(array):
    answer = array._ask("SELECT value FROM expression")
    import pyarrow as pa

    first, second = (pa.table(answer).column(0).chunk(0).buffers()[1].address for _ in range(2))
    assert first == second
    # One chunk a batch, so that nothing is joined: the first begins at the same address.
    assert pl.DataFrame(answer).to_arrow().column(0).chunk(0).buffers()[1].address == first
