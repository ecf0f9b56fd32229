"""Names in a statement: values, files, frames, views, and the tables of a dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from slaf import SlafError


def test_values_go_into_a_statement_as_values(sql_array, sql_duck):
    hostile = "'; DROP TABLE cells; --"
    one = lambda sql, **values: sql_array.query(sql, **values).item()  # noqa: E731
    assert one("SELECT $x", x=hostile) == hostile
    assert one("SELECT {{x}} || 'a'", x="it's") == "it'sa"
    assert one("SELECT '{{x}}'", x="text") == "text"
    assert one("SELECT {{n * 2}} + $n", n=4) == 12
    assert one("SELECT $n", n=-(2**63)) == -(2**63)
    assert one("SELECT $x", x=np.float32(0.5)) == 0.5
    assert one("SELECT $x IS NULL", x=None) is True
    assert one("SELECT $x", x=pd.Timestamp("2024-02-03 04:05:06")).year == 2024
    count = "SELECT COUNT(*) FROM cells WHERE "
    ((want,),) = sql_duck.sql(count + "donor IN ('d0', 'd1')").fetchall()
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
    assert sql_array.query("SELECT {{ident(c)}} FROM cells LIMIT 1", c="größe µ").width == 1


@pytest.mark.parametrize(
    ("sql", "values", "says"),
    [
        ("SELECT {{donr}}", {"donor": 1}, "There is no variable `donr`. Did you mean `donor`?"),
        ("SELECT $donr", {"donor": 1}, "There is no variable `donr`. Did you mean `donor`?"),
        ("SELECT {{1 / 0}}", {}, "`{{1 / 0}}` fails: division by zero"),
        ("SELECT 'a {{x}}'", {"x": 1}, "has a value inside of a text"),
        ("SELECT {{x", {"x": 1}, "is not closed"),
        ("SELECT $x", {"x": object()}, "`x` is a object"),
        ("SELECT $x", {"x": 2**63}, "which does not fit a BIGINT"),
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
def test_what_cannot_be_a_value_or_a_table_is_told(sql_array, sql, values, says):
    with pytest.raises(SlafError) as raised:
        sql_array.query(sql, **values)
    assert says in str(raised.value)


def test_errors_show_the_place(sql_array):
    with pytest.raises(SlafError) as raised:
        sql_array.query("SELECT batch,\n  totl_counts\nFROM cells")
    assert str(raised.value).endswith("(line 2, column 3)\n    totl_counts\n    ^")
    with pytest.raises(SlafError) as raised:
        sql_array.query("SELECT 1;\nSELECT * FROM cels")
    assert str(raised.value).endswith(
        "(line 2, column 15)\n  SELECT * FROM cels\n                ^"
    )


def test_frames_of_every_kind_are_tables(sql_array, tmp_path):
    markers = {"symbol": ["G3", "G4"], "program": ["a", "b"]}
    want = sorted(
        sql_array.query("SELECT symbol, gene_id FROM genes WHERE symbol IN ('G3', 'G4')").rows()
    )
    frame = pl.DataFrame(markers)
    sql = "SELECT m.symbol, g.gene_id FROM markers m JOIN genes g USING (symbol)"
    for value in (frame, frame.lazy(), pd.DataFrame(markers), frame.to_arrow()):
        assert sorted(sql_array.query(sql, markers=value).rows()) == want
    frame.write_parquet(tmp_path / "m.parquet")
    frame.write_csv(tmp_path / "m.csv")
    frame.write_csv(tmp_path / "m.tsv", separator="\t")
    frame.write_ipc(tmp_path / "m.arrow")
    for name in ("m.parquet", "m.csv", "m.tsv", "m.arrow", "*.parquet"):
        read = sql.replace("markers m", f"read('{tmp_path / name}') m")
        assert sorted(sql_array.query(read).rows()) == want
        assert sql_array.query(f"SELECT COUNT(*) FROM read('{tmp_path / name}')").item() == 2
    cells = f"read('{sql_array.slaf_path}/cells.lance')"
    assert sql_array.query(f"SELECT COUNT(*), MIN(n_genes) FROM {cells}").row(0)[0] == 300


def test_views_and_tables_stay_for_later_questions(sql_array):
    sql_array.query("CREATE VIEW hi AS SELECT * FROM cells WHERE n_genes > 50")
    assert (
        sql_array.query("SELECT COUNT(*) FROM hi").item()
        == sql_array.query("SELECT COUNT(*) FROM cells WHERE n_genes > 50").item()
    )
    sql_array.query("CREATE VIEW higher AS SELECT * FROM hi WHERE n_genes > 80")
    sql_array.query("CREATE TABLE top AS SELECT cell_id FROM higher; SELECT 1")
    got = sql_array.query("SELECT COUNT(*) FROM top JOIN higher USING (cell_id)").item()
    assert got == sql_array.query("SELECT COUNT(*) FROM higher").item() > 0
    kinds = dict(sql_array.query("SHOW TABLES").select("table_name", "kind").rows())
    assert kinds["cells"] == "dataset" and kinds["hi"] == "view"
    with pytest.raises(SlafError, match="There is a table `hi` already"):
        sql_array.query("CREATE VIEW hi AS SELECT 1")
    sql_array.query("CREATE OR REPLACE VIEW hi AS SELECT * FROM hi")
    with pytest.raises(SlafError, match="made of itself"):
        sql_array.query("SELECT * FROM hi")
    sql_array.query("DROP VIEW hi; DROP VIEW higher; DROP TABLE top; DROP TABLE IF EXISTS top")
    with pytest.raises(SlafError, match="no table `top`"):
        sql_array.query("SELECT * FROM top")


def test_anndatas_names_of_tables(sql_array):
    count = lambda name: sql_array.query(f"SELECT COUNT(*) FROM {name}").item()  # noqa: E731
    assert count("obs") == count("cells") and count("var") == count("genes")
    assert count("X") == count("expression") == count("layers") and count("obsp") > 0
    assert (
        sql_array.query("SELECT SUM(double) FROM layers").item()
        == 2 * sql_array.query("SELECT SUM(value) FROM X").item()
    )


def test_describe_and_summarize(sql_array):
    described = dict(sql_array.query("DESCRIBE cells").rows())
    assert described["n_genes"] == "BIGINT" and described["X_pca"] == "FLOAT[5]"
    summary = sql_array.query("SUMMARIZE SELECT n_genes, donor, total_counts FROM cells")
    assert summary["column_name"].to_list() == ["n_genes", "donor", "total_counts"]
    obs = sql_array.obs
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
    assert sql_array.query("SUMMARIZE cells").height == len(described) - 1
