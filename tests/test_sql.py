"""SQL: the same answer as DuckDB gives over the same tables, whichever engine
runs it, and whichever way it is read."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sql_corpus
from conftest import make_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import answer, engine_of
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> SLAFArray:
    target = tmp_path_factory.mktemp("sql") / "made.slaf"
    adata = make_counts(300, 60, seed=3)
    rng = np.random.default_rng(0)
    adata.obsm["X_pca"] = rng.normal(size=(300, 5)).astype(np.float32)
    adata.varm["PCs"] = rng.normal(size=(60, 4))
    adata.layers["double"] = adata.X * 2
    adata.obsp["near"] = sparse.random(300, 300, 0.02, "csr", random_state=1)
    SLAFConverter().convert_anndata(adata, target)
    return SLAFArray(target)


@pytest.fixture(scope="module")
def plain(array, tmp_path_factory) -> SLAFArray:
    """The same without the gene-major copy and sums."""
    target = tmp_path_factory.mktemp("sql") / "plain.slaf"
    SLAFConverter().convert(array.slaf_path, target, gene_index=False)
    return SLAFArray(target)


@pytest.fixture(scope="module")
def duck(array):
    connection = duckdb.connect()
    for name in ("cells", "genes", "expression"):
        frame = pl.DataFrame(engine_of(array).read(name, list(dataset_of(array).columns[name])))
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
            # Halves such as 3.234375 are not where it is rounded.
            return "nan" if math.isnan(value) else float(f"{value * (1 + 3e-8):.6g}")
        return str(value)

    return [tuple(plain(v) for v in row) for row in frame.rows()]


def key(row: tuple) -> tuple:
    return tuple(
        (v is None, str(type(v)), v if not isinstance(v, bool) else int(v))
        if v is not None
        else (True, "", 0)
        for v in row
    )


def kind(dtype) -> str:
    """What kind of values a type of DuckDB or polars holds."""
    name = str(dtype).upper()
    if name.endswith("]") or name.startswith(("LIST", "ARRAY")):
        return "list"
    for kind, names in {
        "integer": ("INT", "UINT", "BIGINT", "HUGEINT", "SMALLINT", "TINYINT", "UBIGINT"),
        "float": ("FLOAT", "DOUBLE", "DECIMAL"),
        "text": ("VARCHAR", "STRING"),
        "time": ("DATE", "TIMESTAMP", "TIME"),
        "boolean": ("BOOL",),
    }.items():
        if name.startswith(names):
            return kind
    return name


def compare(array, duck, sql: str, ordered: bool = False, engines=(None,)) -> None:
    relation = duck.sql(sql)
    want, types = rows(relation.pl()), [kind(t) for t in relation.types]
    for engine in engines:
        frame = array.query(sql, engine=engine)
        got = rows(frame)
        if not ordered:
            got, want = sorted(got, key=key), sorted(want, key=key)
        assert got == want, f"{engine}: {sql}"
        kinds = [kind(dtype) for dtype in frame.dtypes]
        # A column of nothing but NULL may have any type.
        pairs = [pair for pair in zip(kinds, types, strict=True) if "NULL" not in pair]
        assert all(a == b for a, b in pairs), f"{engine}: {sql}: {pairs}"


@pytest.mark.parametrize("sql", sql_corpus.UNORDERED)
def test_a_question_has_duckdbs_answer(array, plain, duck, sql):
    compare(array, duck, sql)
    compare(plain, duck, sql)


@pytest.mark.parametrize("sql", sql_corpus.ORDERED)
def test_an_ordered_question_has_duckdbs_order(array, duck, sql):
    compare(array, duck, sql, ordered=True)


def polars_runs(array, sql: str) -> bool:
    try:
        array.query(sql, engine="polars")
    except SlafError as error:
        assert "Polars does not run this statement" in str(error)
        return False
    return True


def test_what_polars_admits_it_answers_as_duckdb_does(array, duck):
    """All others it refuses: DataFusion runs them."""
    asked = [(sql, False) for sql in sql_corpus.UNORDERED]
    asked += [(sql, True) for sql in sql_corpus.ORDERED]
    admitted = [(sql, ordered) for sql, ordered in asked if polars_runs(array, sql)]
    for sql, ordered in admitted:
        compare(array, duck, sql, ordered, engines=("polars", "datafusion"))
    by_default = [answer(array, sql).engine[0] for sql, _ in asked]
    assert by_default.count("polars") >= 0.6 * len(asked)


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
        sql = f"SELECT {named} FROM cells WHERE {where}"
    else:
        sql = f"SELECT {group}, {named} FROM cells WHERE {where} GROUP BY {group}"
    compare(array, duck, sql, engines=("polars", "datafusion"))
    sql = f"SELECT cell_id, donor AS d FROM cells WHERE {where} ORDER BY cell_id LIMIT 9"
    compare(array, duck, sql, ordered=True, engines=("polars", "datafusion"))


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
def test_frames_with_columns_of_any_type(array, kind, sql):
    """Both engines give the same, or the same sentence."""

    def answer(frame, engine):
        try:
            got = array.query(sql, f=frame, engine=engine)
        except SlafError as error:
            return str(error)
        return sorted(map(repr, got.rows())), got.dtypes

    frame = pl.DataFrame({"n": [1, 2, 3], "v": of_any_type[kind]})
    want = answer(frame, "datafusion")
    assert answer(frame, None) == want and "panicked" not in str(want)
    assert answer(frame.lazy(), None) == want


def test_quotients_are_rounded_once(array, duck):
    """Polars multiplies by 1 / r where r is one value."""
    for divisor in ("49.0", "3.0", "0.1", "7.0", "(SELECT MAX(n_genes) FROM cells)"):
        for engine in ("polars", "datafusion"):
            sql = f"SELECT cell_id, n_genes / {divisor}, n_genes * 1.0 / {divisor} FROM cells"
            got = array.query(sql, engine=engine).sort("cell_id")
            want = duck.sql(sql).pl().sort("cell_id")
            assert got.rows() == want.rows()
    one = array.query("SELECT 49.0 / n FROM (SELECT 49.0 AS n FROM cells LIMIT 1) t")
    assert one.item() == 1.0


spans = ["", "ROWS UNBOUNDED PRECEDING", "ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING"]
spans += ["ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"]
orders = ["cell_integer_id", "cell_integer_id DESC", "n_genes DESC, cell_integer_id"]
orders += ["donor, cell_integer_id DESC", "age NULLS FIRST, cell_integer_id"]
tied = ["n_genes", "donor DESC", "batch, age DESC NULLS LAST"]


@st.composite
def windows(draw) -> str:
    over = draw(st.sampled_from(["", "PARTITION BY batch ", "PARTITION BY donor, doublet "]))
    if draw(st.booleans()):
        ranks = ["RANK()", "DENSE_RANK()", "PERCENT_RANK()", "CUME_DIST()", "SUM(n_genes)"]
        ranks += ["COUNT(*)", "AVG(n_genes)", "COUNT(age)", "FIRST_VALUE(batch)"]
        of, order, span = draw(st.sampled_from(ranks)), draw(st.sampled_from(tied)), ""
        if of.startswith("FIRST"):
            order = "cell_integer_id"
    else:
        sums = ["SUM(n_genes)", "AVG(age)", "COUNT(*)", "COUNT(donor)", "SUM(total_counts)"]
        numbers = ["ROW_NUMBER()", "NTILE(4)", "NTILE(500)", "LAG(donor)", "LEAD(age, 2, -1)"]
        of, order = draw(st.sampled_from(sums + numbers)), draw(st.sampled_from(orders))
        span = draw(st.sampled_from(spans)) if of in sums else ""
    return f"{of} OVER ({over}ORDER BY {order} {span})"


@settings(max_examples=150, deadline=None)
@given(data=st.data(), where=conditions())
def test_generated_windows(array, duck, data, where):
    drawn = data.draw(st.lists(windows(), min_size=1, max_size=3))
    named = ", ".join(f"{of} AS w{i}" for i, of in enumerate(drawn))
    sql = f"SELECT cell_id, {named} FROM cells WHERE {where}"
    form = data.draw(
        st.sampled_from(
            [
                "{}",
                "SELECT * FROM ({}) t ORDER BY w0, cell_id",
                "SELECT w0, COUNT(*) AS n, MAX(cell_id) AS m FROM ({}) t GROUP BY w0",
            ]
        )
    )
    compare(array, duck, form.format(sql), engines=(None, "datafusion"))


@settings(max_examples=150, deadline=None)
@given(
    where=conditions(),
    how=st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]),
    key=st.sampled_from(["batch", "donor"]),
    having=st.sampled_from(["", "HAVING COUNT(*) > 3", "HAVING MIN(n_genes) < 9 OR AVG(age) > 5"]),
    over=st.sampled_from(["cells", "few", "(SELECT * FROM cells WHERE doublet)"]),
    rest=st.sampled_from(["", "WHERE s.n IS NULL", "WHERE s.top > c.n_genes"]),
    tail=st.sampled_from(["", "ORDER BY c.cell_id, s.n LIMIT 7 OFFSET 2"]),
)
def test_generated_joins_of_groups(array, duck, where, how, key, having, over, rest, tail):
    sql = (
        f"WITH few AS (SELECT * FROM cells WHERE {where}), s AS (SELECT {key}, COUNT(*) AS n, "
        f"MAX(n_genes) AS top FROM few GROUP BY {key} {having}) "
        f"SELECT c.cell_id, c.{key}, s.n, CASE WHEN s.n > 2 THEN s.top ELSE c.n_genes END AS t "
        f"FROM {over} c {how} s ON c.{key} = s.{key} {rest} {tail}"
    )
    compare(array, duck, sql, ordered=bool(tail), engines=(None, "datafusion"))


of_cells = ["c.batch", "c.donor", "c.doublet", "c.n_genes % 3", "c.cell_integer_id"]
of_genes = ["g.symbol", "g.mt", "e.gene_integer_id", "e.gene_integer_id % 5"]
measures = [
    "COUNT(*)",
    "SUM(e.value)",
    "AVG(e.value)",
    "MIN(e.value)",
    "MAX(e.value)",
    "STDDEV(e.value)",
    "VAR_POP(e.value)",
    "SUM(e.value * c.n_genes)",
    "AVG(LN(1 + e.value))",
    "COUNT(c.age)",
    "SUM(e.value) FILTER (WHERE c.doublet)",
    "COUNT(*) FILTER (WHERE g.mt AND e.value > 2)",
    "COUNT(DISTINCT e.value)",
    "MAX(c.donor)",
]
limits = [
    "e.value > 2",
    "e.value <> 1",
    "g.symbol IN ('G3', 'G7', 'G20')",
    "g.mt",
    "c.batch = 'batch1'",
    "c.donor IS NULL",
    "e.cell_integer_id < 100",
    "e.gene_integer_id IN (3, 50)",
    "c.n_genes > e.value * 5",
    "e.cell_integer_id % 2 = 0",
]


@settings(max_examples=150, deadline=None)
@given(
    by=st.lists(st.sampled_from(of_cells + of_genes), max_size=3, unique=True),
    wanted=st.lists(st.sampled_from(measures), min_size=1, max_size=4, unique=True),
    where=st.lists(st.sampled_from(limits), max_size=3, unique=True),
)
def test_generated_aggregates_of_expression(array, plain, duck, by, wanted, where):
    """By either order, from sums or by arrays or by hashing: one answer."""
    items = [f"{k} AS k{i}" for i, k in enumerate(by)] + [
        f"{m} AS m{i}" for i, m in enumerate(wanted)
    ]
    sql = (
        f"SELECT {', '.join(items)} FROM expression e "
        "JOIN cells c ON e.cell_integer_id = c.cell_integer_id "
        "JOIN genes g ON g.gene_integer_id = e.gene_integer_id"
    )
    if where:
        sql += " WHERE " + " AND ".join(where)
    if by:
        sql += " GROUP BY " + ", ".join(by)
    compare(array, duck, sql)
    compare(plain, duck, sql)


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
def test_the_engine_says_why_it_runs_a_statement(array, sql, why):
    assert explained(array, sql).startswith(f"engine: {why}\n")
    assert explained(array, sql, engine="datafusion").startswith("engine: datafusion (asked for)")


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
def test_only_the_rows_that_are_left_are_read(array, duck, sql, reads):
    sql = sql.replace("$markers", "markers")
    ((want,),) = duck.sql(reads).fetchall()
    of = array.query("SELECT COUNT(*) FROM expression").item()
    markers = pl.DataFrame({"g": [3, 4]})
    plan = explained(array, sql, markers=markers)
    assert f"reads: {want:,} of {of:,} rows of expression" in plan
    got = answer(array, sql, markers=markers)
    assert got.profile[0] == want


def test_sums_answer_without_a_row_of_expression(array, plain):
    sql = "SELECT gene_integer_id, COUNT(*), SUM(value), AVG(value) FROM expression GROUP BY 1"
    assert "stored sums" in explained(array, sql)
    assert answer(array, sql).profile[0] == 0
    assert "stored sums" not in explained(plain, sql)
    analyzed = "\n".join(plain.query(f"EXPLAIN ANALYZE {sql}")["plan"])
    rows = plain.query("SELECT COUNT(*) FROM expression").item()
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
def test_a_wrong_statement_gets_one_clear_sentence(array, sql, says):
    with pytest.raises(SlafError) as raised:
        array.query(sql)
    message = str(raised.value)
    assert says in message
    assert "DataFusion" not in message and "panicked" not in message


def test_results_share_the_engines_buffers(array):
    got = answer(array, "SELECT value FROM expression")
    import pyarrow as pa

    first, second = (pa.table(got).column(0).chunk(0).buffers()[1].address for _ in range(2))
    assert first == second
    # One chunk a batch, so that nothing is joined: the first begins at the same address.
    assert pl.DataFrame(got).to_arrow().column(0).chunk(0).buffers()[1].address == first


# Names, values and tables of the session --------------------------------------


def test_values_go_into_a_statement_as_values(array, duck):
    hostile = "'; DROP TABLE cells; --"
    one = lambda sql, **values: array.query(sql, **values).item()  # noqa: E731
    assert one("SELECT $x", x=hostile) == hostile
    assert one("SELECT {{x}} || 'a'", x="it's") == "it'sa"
    assert one("SELECT '{{x}}'", x="text") == "text"
    assert one("SELECT {{n * 2}} + $n", n=4) == 12
    assert one("SELECT $n", n=-(2**63)) == -(2**63)
    assert one("SELECT $x", x=np.float32(0.5)) == 0.5
    assert one("SELECT $x IS NULL", x=None) is True
    assert one("SELECT $x", x=pd.Timestamp("2024-02-03 04:05:06")).year == 2024
    count = "SELECT COUNT(*) FROM cells WHERE "
    ((want,),) = duck.sql(count + "donor IN ('d0', 'd1')").fetchall()
    for donors in (["d0", "d1"], {"d0", "d1"}, np.array(["d0", "d1"]), pd.Series(["d0", "d1"])):
        assert one(count + "donor IN $donors", donors=donors) == want
        assert one(count + "donor IN ({{donors}})", donors=donors) == want
    frame = pl.DataFrame({"d": ["d0", "d1"]})
    assert one(count + "donor IN $frame", frame=frame) == want
    assert one(count + "donor IN $none", none=[]) == 0
    assert one(count + "donor NOT IN $none", none=[]) == 300
    assert one(count + "cell_integer_id IN $many", many=range(5000)) == 300
    assert one("SELECT MAX({{ident(column)}}) FROM cells", column="n_genes") == one(
        "SELECT MAX(n_genes) FROM cells"
    )
    assert array.query("SELECT {{ident(c)}} FROM cells LIMIT 1", c="größe µ").width == 1


@pytest.mark.parametrize(
    ("sql", "values", "says"),
    [
        ("SELECT {{donr}}", {"donor": 1}, "There is no variable `donr`. Did you mean `donor`?"),
        ("SELECT $donr", {"donor": 1}, "There is no variable `donr`. Did you mean `donor`?"),
        ("SELECT {{1 / 0}}", {}, "`{{1 / 0}}` fails: division by zero"),
        ("SELECT 'a {{x}}'", {"x": 1}, "has a value inside of a text"),
        ("SELECT {{x", {"x": 1}, "is not closed"),
        ("SELECT $x", {"x": object()}, "`x` is a object"),
        ("SELECT $x", {"x": 2**63}, "which no BIGINT holds"),
        ("SELECT $x", {"x": pl.DataFrame({"a": [1]})}, "is a frame, where a value is expected"),
        ("SELECT 1 IN $x", {"x": pl.DataFrame({"a": [1], "b": [1]})}, "has 2 columns"),
        ("SELECT * FROM read('nothing.parquet')", {}, "There is no file `nothing.parquet`"),
        ("SELECT * FROM read('x.xlsx')", {}, "There is no file"),
        ("SELECT * FROM sampel(cells, 3)", {}, "no table function `sampel`. Did you mean `sample`"),
        ("SELECT * FROM sample(cells)", {}, "called as `sample(cells, 1000, seed)`"),
        ("SELECT * FROM knn(cells, 'X_pac', [1.0], 3)", {}, "`X_pac`. Did you mean `X_pca`"),
        (
            "SELECT * FROM knn(cells, 'X_pca', [1.0], 3)",
            {},
            "of 5 numbers is compared with one of 1",
        ),
        ("SELECT distance(n_genes, [1]) FROM cells", {}, "compares two vectors"),
        ("SELECT * FROM knn(cells, 'X_pca', [0, 0, 0, 0, 0], 3, 'l3')", {}, "no metric `l3`"),
    ],
)
def test_what_cannot_be_a_value_or_a_table_is_told(array, sql, values, says):
    with pytest.raises(SlafError) as raised:
        array.query(sql, **values)
    assert says in str(raised.value)


def test_errors_show_the_place(array):
    with pytest.raises(SlafError) as raised:
        array.query("SELECT batch,\n  totl_counts\nFROM cells")
    assert str(raised.value).endswith("(line 2, column 3)\n    totl_counts\n    ^")
    with pytest.raises(SlafError) as raised:
        array.query("SELECT 1;\nSELECT * FROM cels")
    assert str(raised.value).endswith(
        "(line 2, column 15)\n  SELECT * FROM cels\n                ^"
    )


def test_frames_of_every_kind_are_tables(array, tmp_path):
    markers = {"symbol": ["G3", "G4"], "program": ["a", "b"]}
    want = sorted(
        array.query("SELECT symbol, gene_id FROM genes WHERE symbol IN ('G3', 'G4')").rows()
    )
    frame = pl.DataFrame(markers)
    sql = "SELECT m.symbol, g.gene_id FROM markers m JOIN genes g USING (symbol)"
    for value in (frame, frame.lazy(), pd.DataFrame(markers), frame.to_arrow()):
        assert sorted(array.query(sql, markers=value).rows()) == want
    frame.write_parquet(tmp_path / "m.parquet")
    frame.write_csv(tmp_path / "m.csv")
    frame.write_csv(tmp_path / "m.tsv", separator="\t")
    frame.write_ipc(tmp_path / "m.arrow")
    for name in ("m.parquet", "m.csv", "m.tsv", "m.arrow", "*.parquet"):
        read = sql.replace("markers m", f"read('{tmp_path / name}') m")
        assert sorted(array.query(read).rows()) == want
        assert array.query(f"SELECT COUNT(*) FROM read('{tmp_path / name}')").item() == 2
    cells = f"read('{array.slaf_path}/cells.lance')"
    assert array.query(f"SELECT COUNT(*), MIN(n_genes) FROM {cells}").row(0)[0] == 300


def test_views_and_tables_stay_for_later_questions(array):
    array.query("CREATE VIEW hi AS SELECT * FROM cells WHERE n_genes > 50")
    assert (
        array.query("SELECT COUNT(*) FROM hi").item()
        == array.query("SELECT COUNT(*) FROM cells WHERE n_genes > 50").item()
    )
    array.query("CREATE VIEW higher AS SELECT * FROM hi WHERE n_genes > 80")
    array.query("CREATE TABLE top AS SELECT cell_id FROM higher; SELECT 1")
    got = array.query("SELECT COUNT(*) FROM top JOIN higher USING (cell_id)").item()
    assert got == array.query("SELECT COUNT(*) FROM higher").item() > 0
    kinds = dict(array.query("SHOW TABLES").select("table_name", "kind").rows())
    assert kinds["cells"] == "dataset" and kinds["hi"] == "view"
    with pytest.raises(SlafError, match="There is a table `hi` already"):
        array.query("CREATE VIEW hi AS SELECT 1")
    array.query("CREATE OR REPLACE VIEW hi AS SELECT * FROM hi")
    with pytest.raises(SlafError, match="made of itself"):
        array.query("SELECT * FROM hi")
    array.query("DROP VIEW hi; DROP VIEW higher; DROP TABLE top; DROP TABLE IF EXISTS top")
    with pytest.raises(SlafError, match="no table `top`"):
        array.query("SELECT * FROM top")


def test_anndatas_names_of_tables(array):
    count = lambda name: array.query(f"SELECT COUNT(*) FROM {name}").item()  # noqa: E731
    assert count("obs") == count("cells") and count("var") == count("genes")
    assert count("X") == count("expression") == count("layers") and count("obsp") > 0
    assert (
        array.query("SELECT SUM(double) FROM layers").item()
        == 2 * array.query("SELECT SUM(value) FROM X").item()
    )


def test_describe_and_summarize(array):
    described = dict(array.query("DESCRIBE cells").rows())
    assert described["n_genes"] == "BIGINT" and described["X_pca"] == "FLOAT[5]"
    summary = array.query("SUMMARIZE SELECT n_genes, donor, total_counts FROM cells")
    assert summary["column_name"].to_list() == ["n_genes", "donor", "total_counts"]
    obs = array.obs
    row = summary.row(0, named=True)
    assert (row["min"], row["max"], row["count"]) == (
        str(obs["n_genes"].min()),
        str(obs["n_genes"].max()),
        300,
    )
    assert row["avg"] == pytest.approx(obs["n_genes"].mean())
    assert row["std"] == pytest.approx(obs["n_genes"].std())
    assert row["q50"] == pytest.approx(obs["n_genes"].median(), abs=2)
    missing = summary.row(1, named=True)
    assert missing["null_percentage"] == pytest.approx(100 * obs["donor"].null_count() / 300)
    assert missing["avg"] is None
    assert array.query("SUMMARIZE cells").height == len(described) - 1


# This field's functions --------------------------------------------------------


def test_nearest_neighbours_are_those_of_numpy(array):
    points = dataset_of(array).vector("cells", "X_pca").astype(float)
    query = points[7] + 0.1
    cosine = 1 - points @ query / np.linalg.norm(points, axis=1) / np.linalg.norm(query)
    for metric, distances in {
        "l2": np.linalg.norm(points - query, axis=1),
        "cosine": cosine,
        "dot": -points @ query,
    }.items():
        got = array.query(
            f"SELECT cell_integer_id, distance FROM knn(cells, 'X_pca', $q, 6, '{metric}')", q=query
        )
        nearest = np.argsort(distances, kind="stable")[:6]
        assert got["cell_integer_id"].to_list() == nearest.tolist()
        np.testing.assert_allclose(got["distance"], distances[nearest], rtol=1e-6)
    by_gene = array.query("SELECT gene_id, distance FROM knn(genes, 'PCs', $q, 3)", q=[0.0] * 4)
    assert by_gene.height == 3


def of(column: pd.Series, label: str | None) -> np.ndarray:
    return (column.isna() if label is None else column == label).to_numpy()


def test_normalized_is_scanpys(array):
    import scanpy as sc

    adata = make_counts(300, 60, seed=3)
    adata.X = adata.X.astype(np.float64)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    want = adata.X.tocoo()
    got = array.query(
        "SELECT cell_integer_id, gene_integer_id, log1p(value) AS v FROM normalized(expression)"
    )
    found = sparse.coo_matrix(
        (got["v"], (got["cell_integer_id"], got["gene_integer_id"])), shape=want.shape
    )
    np.testing.assert_allclose(found.toarray(), want.toarray(), rtol=1e-9)
    means = array.query(
        "SELECT c.cell_type, AVG(log1p(n.value)) AS m FROM normalized(expression) n "
        "JOIN cells c USING (cell_integer_id) GROUP BY c.cell_type"
    )
    for label, mean in means.rows():
        part = adata[of(adata.obs.cell_type, label)].X
        assert mean == pytest.approx(part.data.mean())


def test_pseudobulk_is_a_sum_by_group(array):
    adata = make_counts(300, 60, seed=3)
    got = array.query("SELECT * FROM pseudobulk(expression, 'cell_type', 'batch')")
    for cell_type, batch, gene, total, n in got.rows():
        cells = of(adata.obs.cell_type, cell_type) & of(adata.obs.batch, batch)
        column = adata[cells, gene].X.toarray()
        assert (total, n) == (column.sum(), (column > 0).sum())
    assert got["total"].sum() == adata.X.sum()


def test_a_pivot_turns_values_into_columns(array):
    obs = array.obs
    got = array.query(
        "SELECT * FROM (SELECT cell_type, batch, n_genes FROM cells) "
        "PIVOT (AVG(n_genes) FOR batch IN ('batch1', 'batch2' AS b2)) ORDER BY cell_type"
    )
    assert got.columns == ["cell_type", "batch1", "b2"]
    want = obs.group_by("cell_type", "batch").agg(pl.col("n_genes").mean())
    for cell_type, batch, mean in want.rows():
        name = {"batch1": "batch1", "batch2": "b2"}[batch]
        row = got.filter(pl.col("cell_type").eq_missing(pl.lit(cell_type)))
        assert row[name].item() == pytest.approx(mean)


def test_a_sample_is_random_and_repeats(array):
    draw = lambda seed: array.query(f"SELECT * FROM sample(cells, 50, {seed})")  # noqa: E731
    assert draw(1).equals(draw(1)) and draw(1).columns == draw(2).columns
    one, two = (set(draw(seed)["cell_id"]) for seed in (1, 2))
    assert len(one) == len(two) == 50 and 0 < len(one & two) < 40
    assert array.query("SELECT COUNT(*) FROM sample(expression, 10)").item() == 10
    # Every cell is as likely: 300 draws of 50 of 300 cells.
    drawn = np.zeros(300)
    for seed in range(300):
        ids = array.query(f"SELECT cell_integer_id FROM sample(cells, 50, {seed})")
        drawn[ids["cell_integer_id"].to_numpy()] += 1
    # Binomial(300, 1/6): mean 50, standard deviation 6.5.
    assert abs(drawn - 50).max() < 33


# Memory -------------------------------------------------------------------------


def test_a_large_answer_is_spilled_and_is_the_same(array):
    sql = "SELECT * FROM expression ORDER BY value DESC, cell_integer_id, gene_integer_id"
    assert array.query(sql, memory=200_000).equals(array.query(sql))


def test_too_little_memory_is_told(array):
    with pytest.raises(SlafError, match="needs more memory than the 1.0 KB"):
        array.query("SELECT cell_id, MEDIAN(n_genes) FROM cells GROUP BY cell_id", memory=1000)


def test_a_limit_is_of_the_answer(array):
    assert array.query("SELECT * FROM expression", limit=7).height == 7
    assert array.query("SELECT COUNT(*) FROM expression", limit=7).item() > 7
    assert answer(array, "SELECT value FROM expression", limit=7).profile[0] == 7
