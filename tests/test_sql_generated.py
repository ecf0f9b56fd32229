"""Generated SQL has DuckDB's answers: conditions, groups, windows, joins, aggregates."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from sql_answers import compare

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
def test_generated_questions(sql_array, sql_duck, where, group, data):
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
    compare(sql_array, sql_duck, sql, engines=("polars", "datafusion"))
    sql = f"SELECT cell_id, donor AS d FROM cells WHERE {where} ORDER BY cell_id LIMIT 9"
    compare(sql_array, sql_duck, sql, ordered=True, engines=("polars", "datafusion"))


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
def test_generated_windows(sql_array, sql_duck, data, where):
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
    compare(sql_array, sql_duck, form.format(sql), engines=(None, "datafusion"))


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
def test_generated_joins_of_groups(sql_array, sql_duck, where, how, key, having, over, rest, tail):
    sql = (
        f"WITH few AS (SELECT * FROM cells WHERE {where}), s AS (SELECT {key}, COUNT(*) AS n, "
        f"MAX(n_genes) AS top FROM few GROUP BY {key} {having}) "
        f"SELECT c.cell_id, c.{key}, s.n, CASE WHEN s.n > 2 THEN s.top ELSE c.n_genes END AS t "
        f"FROM {over} c {how} s ON c.{key} = s.{key} {rest} {tail}"
    )
    compare(sql_array, sql_duck, sql, ordered=bool(tail), engines=(None, "datafusion"))


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
def test_generated_aggregates_of_expression(sql_array, sql_plain, sql_duck, by, wanted, where):
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
    compare(sql_array, sql_duck, sql)
    compare(sql_plain, sql_duck, sql)
