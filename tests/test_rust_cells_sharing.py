"""What Python, SQL and Rust cells share: frames, columns and matrices by name, completion,
and the list of all variables."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import make_counts
from polars.testing import assert_frame_equal
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.rust_cells.errors import RustError

# Sharing -------------------------------------------------------------------

DATES = [datetime.date(2024, 1, 2), None, datetime.date(1969, 12, 31)]
FRAMES = {
    "numbers": pl.DataFrame({"f": [1.5, None, -0.0], "u": pl.Series([1, 2, 255], dtype=pl.UInt8)}),
    "texts": pl.DataFrame({"t": ["one", None, "a text of more than twelve letters, größer"]}),
    "groups": pl.DataFrame({"c": pl.Series(["b", "a", None], dtype=pl.Categorical)}),
    "times": pl.DataFrame(
        {
            "d": DATES,
            "t": pl.Series([1, 2, None]).cast(pl.Datetime("us", "Europe/Oslo")),
            "e": pl.Series([1, 2, None]).cast(pl.Duration("ms")),
        }
    ),
    "nested": pl.DataFrame(
        {
            "l": [[1, None], [], None],
            "s": [{"a": 1, "b": "x"}, {"a": None, "b": None}, {"a": 3, "b": "z"}],
            "v": pl.Series([[1.0, 2.0], [3.0, 4.0], None], dtype=pl.Array(pl.Float32, 2)),
        }
    ),
    "flags": pl.DataFrame({"b": [True, None, False], "bin": [b"\0", b"", None]}),
    "odd names": pl.DataFrame({"größe µ\n\\n": [1], "": [2], " x ": [3]}),
    "no rows": pl.DataFrame(
        {"a": pl.Series([], dtype=pl.Int64), "t": pl.Series([], dtype=pl.String)}
    ),
}
ECHO = 'for name in NAMES { slaf::put(&format!("{name}_back"), slaf::get(name)?)?; }'


def echo(rust, shell, frames: list) -> list[pl.DataFrame]:
    """The frames as they come back from Rust."""
    names = [f"frame{i}" for i in range(len(frames))]
    shell.user_ns |= dict(zip(names, frames, strict=True))
    quoted = ", ".join(f'"{name}"' for name in names)
    rust(ECHO.replace("NAMES", f"[{quoted}]"))
    return [shell.user_ns[f"{name}_back"] for name in names]


def test_frames_come_back_the_same(rust, shell):
    frames = list(FRAMES.values())
    sliced = [frame.slice(1, 2) for frame in frames]
    chunked = [pl.concat([frame, frame], rechunk=False) for frame in frames]
    wanted = [frame.clone() for frame in [*frames, *sliced, *chunked]]
    for got, want in zip(echo(rust, shell, [*frames, *sliced, *chunked]), wanted, strict=True):
        assert_frame_equal(got, want)


@pytest.mark.parametrize(
    "make",
    [
        lambda obs: obs,
        lambda obs: pa.Table.from_pandas(obs, preserve_index=True),
        lambda obs: pl.from_pandas(obs, include_index=True).lazy(),
    ],
    ids=["pandas", "arrow", "lazy"],
)
def test_obs_frames_of_all_kinds(rust, shell, make):
    obs = make_counts().obs.rename_axis("cell_id")
    (got,) = echo(rust, shell, [make(obs)])
    want = pl.from_pandas(obs, include_index=True)
    assert set(got.columns) == set(want.columns)
    assert_frame_equal(got.select(want.columns), want, check_dtypes=False, categorical_as_str=True)


def test_columns_and_attributes(rust, shell, tmp_path):
    counts = make_counts(50, 20)
    path = tmp_path / "made.slaf"
    SLAFConverter().convert_anndata(counts, path)
    shell.user_ns["handle"] = read_slaf(path)
    shell.user_ns |= {
        "vector": np.arange(4.0),
        "series": pd.Series([1, None, 3], name="n", dtype="Int64"),
        "answer": shell.run_cell_magic("sql", "--on handle", "SELECT cell_id FROM cells LIMIT 3"),
    }
    shapes = rust(
        '["handle.obs", "vector", "series", "answer"].map(|name| {\n'
        "    let batch = slaf::get(name).unwrap();\n"
        "    (batch.num_rows(), batch.schema().field(0).name().clone())\n"
        "})"
    )
    assert repr(shapes) == '[(50, "cell_type"), (4, "value"), (3, "n"), (3, "cell_id")]'
    got = rust(
        'let x = slaf::csr("handle")?;\n(x.shape(), x.nnz(), x.values::<f32>()?.iter().sum::<f32>())'
    )
    assert repr(got) == f"((50, 20), {counts.X.nnz}, {counts.X.sum():.1f})"


def test_rows_of_matrices(rust, shell):
    rng = np.random.default_rng(0)
    for name, dtype in (("f32", np.float32), ("f64", np.float64), ("u16", np.uint16), ("i64", int)):
        x = sparse.random(300, 70, 0.1, random_state=rng, data_rvs=lambda n: rng.integers(1, 99, n))
        shell.user_ns["x"] = x = sparse.csr_matrix(x.tocsr()[5:200].astype(dtype))
        rust(
            'let x = slaf::csr("x")?;\n'
            f"let values = x.values::<{name}>()?;\n"
            "let sums: Vec<f64> = (0..x.rows()).map(|i| x.row(i).map(|k|\n"
            "    values[k] as f64 * x.indices()[k] as f64).sum()).collect();\n"
            'slaf::put("sums", slaf::frame([("s", slaf::column(sums))])?)?;'
        )
        np.testing.assert_allclose(shell.user_ns["sums"]["s"], x @ np.arange(70))
    with pytest.raises(RustError, match="The matrix holds i64, not f32. Ask for `values::<i64>`"):
        rust('slaf::csr("x")?.values::<f32>()?;')


def test_what_rust_makes_is_a_table_in_sql(rust, shell):
    rust('slaf::put("made", slaf::frame([("n", slaf::column(vec![3, 1, 2]))])?)?;')
    assert isinstance(shell.user_ns["made"], pl.DataFrame)
    got = shell.run_cell_magic("sql", "", "SELECT SUM(n) AS s FROM made WHERE n > 1")
    assert pl.DataFrame(got).item() == 5


def test_names_and_types_that_cannot_be(rust, shell):
    shell.user_ns |= {
        "colour": pl.DataFrame({"a": [1]}),
        "number": 3,
        "columns": sparse.csc_matrix(np.eye(3)),
        "things": pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}),
    }
    for code, said in [
        ('slaf::get("color")?;', "There is no variable `color`. Did you mean `colour`?"),
        ('slaf::get("colour.shap")?;', "`colour` has no `shap`. Did you mean `shape`?"),
        ('slaf::get("number")?;', "`number` is a int, which Arrow cannot carry."),
        (
            'slaf::get("columns")?;',
            "`columns` is a csc_matrix, which Arrow cannot carry. Use `slaf::csr`",
        ),
        ('slaf::csr("columns")?;', "`columns` is in CSC format, which has no rows."),
        ('slaf::csr("colour")?;', "`colour` is a DataFrame and no sparse matrix."),
        ('slaf::get("things")?;', "The column `o` holds Python objects, which Arrow cannot carry."),
        (
            'slaf::put("not a name", slaf::get("colour")?)?;',
            "`not a name` cannot be a variable's name.",
        ),
    ]:
        with pytest.raises(RustError) as caught:
            rust(code)
        assert str(caught.value).startswith(said)
    assert repr(rust('slaf::get("colour")?.num_rows()')) == "1"


# Completion, variables -------------------------------------------------------


def completions(shell, code: str) -> list[str]:
    """What the text before `|` may become."""
    from IPython.core.completer import provisionalcompleter

    cursor = code.index("|")
    code = code.replace("|", "")
    with provisionalcompleter():
        found = list(shell.Completer.completions(code, cursor))
    return [code[: c.start] + c.text for c in found]


def test_completion(rust, shell, monkeypatch):
    monkeypatch.setattr("slaf.rust_cells.magic._PATIENCE", 60)
    rust("let sizes = vec![1.5];\nfn my_function() {}")
    head = "%%rust --in a\nlet x = 1; "
    ends = lambda code: [c[len(head) :] for c in completions(shell, head + code)]  # noqa: E731
    assert "sizes" in ends("siz|")
    assert any(c.startswith("my_function") for c in ends("my_f|"))
    assert any(c.startswith("sizes.is_empty") for c in ends("sizes.is_e|"))
    assert any(c.startswith("slaf::cancelled") for c in ends("slaf::canc|"))
    # Python's own is left alone.
    shell.user_ns["an_own_name"] = 1
    assert "an_own_name" in completions(shell, "an_own_n|")


def test_variables_of_all_languages(rust, shell, tmp_path):
    SLAFConverter().convert_anndata(make_counts(20, 10), tmp_path / "made.slaf")
    names = set(shell.user_ns)
    shell.user_ns |= {
        "a_frame": pl.DataFrame({"x": np.arange(1000.0)}),
        "a_handle": read_slaf(tmp_path / "made.slaf"),
        "a_matrix": sparse.csr_matrix(np.eye(5, dtype=np.float32)),
        "a_text": "x",
        "an_array": np.zeros((2, 3)),
    }
    shell.run_cell_magic("sql", "", "CREATE VIEW a_view AS SELECT x FROM a_frame")
    rust('let a_batch = slaf::get("a_frame")?;\nlet a_number = 1;')
    mine = set(shell.user_ns) - names | {"a_view", "a_batch", "a_number"}
    told = {
        v.name: (v.type, ", ".join(v.languages), v.shape, v.bytes, v.shared)
        for v in shell.run_line_magic("slaf", "vars")
        if v.name in mine
    }
    assert told == {
        "a_frame": ("DataFrame", "Python, SQL, Rust", [1000, 1], 8000, 8000),
        "a_handle": ("LazyAnnData", "Python, SQL, Rust", [20, 10], None, None),
        "a_matrix": ("csr_matrix", "Python, Rust", [5, 5], 64, 0),
        "a_text": ("str", "Python", None, None, None),
        "an_array": ("ndarray", "Python", [2, 3], 48, 0),
        "a_view": ("view", "SQL", None, None, None),
        "a_batch": ("slaf::RecordBatch", "Rust", None, None, None),
        "a_number": ("i32", "Rust", None, None, None),
    }
    table = shell.run_line_magic("slaf", "vars")
    assert re.search(r"a_frame +DataFrame +Python, SQL, Rust +1,000 × 1 +8,000 +yes", repr(table))
    assert "<td style='text-align:left'>slaf::RecordBatch</td>" in table._repr_html_()
    for name in set(shell.user_ns) - names:
        del shell.user_ns[name]
