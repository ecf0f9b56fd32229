"""`%%rust` in a plain IPython shell and in kernels: what cells keep, show and
share, and what they survive."""

from __future__ import annotations

import datetime
import mmap
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import psutil
import pyarrow as pa
import pytest
from conftest import make_counts
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from polars.testing import assert_frame_equal
from scipy import sparse
from slaf import _slaf
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.rust_cells.errors import RustError, RustInterrupt
from test_kernel import Kernel, only, stream


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """One shell, and so one Rust process, for all tests here."""
    os.environ["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))
    os.environ["SLAF_CELL_MEMORY"] = str(3 << 30)
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "slaf")
    shell.run_line_magic("rust", "1")
    yield shell
    shell.slaf_rust.close()


@pytest.fixture
def rust(shell):
    def rust(code: str, line: str = ""):
        return shell.run_cell_magic("rust", line, code)

    return rust


# Cells --------------------------------------------------------------------


def test_state_lasts_and_values_display(rust):
    assert rust("use std::collections::BTreeMap;\nfn twice(x: i32) -> i32 { 2 * x }") is None
    assert rust("let mut seen = BTreeMap::new();\nseen.insert(1, vec![twice(21)]);") is None
    assert repr(rust("seen[&1][0]")) == "42"
    rust(
        "struct Bold(&'static str);\n"
        "impl Bold {\n"
        "    fn evcxr_display(&self) {\n"
        '        println!("EVCXR_BEGIN_CONTENT text/html\\n<b>{}</b>\\nEVCXR_END_CONTENT", self.0);\n'
        "    }\n"
        "}"
    )
    value = rust('Bold("x")')
    assert value._repr_mimebundle_()["text/html"] == "<b>x</b>"
    assert value._repr_mimebundle_()["text/plain"]


def test_what_a_cell_prints_is_passed_on_as_it_is(rust, capfd):
    rust('print!("no end, größe");\neprintln!("and here");\n')
    out, err = capfd.readouterr()
    assert (out, err) == ("no end, größe", "and here\n")
    rust('println!("EVCXR_ is mine");\nprint!("EVCXR_");')
    assert capfd.readouterr().out == "EVCXR_ is mine\nEVCXR_"


def test_a_compile_error_shows_the_lines_of_the_cell(rust):
    with pytest.raises(RustError) as caught:
        rust('let a = 1;\nlet größe = "ä"; let x: i32 = größe + nothing;\n')
    assert "cannot find value `nothing`" in str(caught.value)
    assert str(caught.value).startswith("E0425") and "(line 3)" in str(caught.value)
    shown = "\n".join(caught.value._render_traceback_())
    assert "\x1b[" in shown and "cell:3:" in shown
    assert 'let größe = "ä"; let x: i32 = größe + ' in _plain(shown)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_panic_keeps_variables(rust, shell):
    rust("let kept = vec![1, 2, 3];")
    with pytest.raises(RustError, match="^The cell panicked: index out of bounds: the len is 3"):
        rust("let i = kept.len(); kept[i]")
    assert repr(rust("kept.len()")) == "3"
    with pytest.raises(RustError, match="^the words of it$"):
        rust('Err::<(), &str>("the words of it")?;')


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("unsafe { *(8 as *mut u8) = 1 };", r"The cell crashed \(signal: 11 \(SIGSEGV\)"),
        ("std::process::exit(3)", r"The cell ended its process \(exit status: 3\)"),
        ("std::process::abort()", r"The cell crashed \(signal: 6 \(SIGABRT\)"),
        (
            "let mut all = Vec::new();\nloop { all.push(vec![1u8; 1 << 30]); }",
            "The cell asked for more memory than there is",
        ),
        (
            "fn deep(n: u64) -> u64 { if n == 0 { 0 } else { 1 + deep(std::hint::black_box(n - 1)) } }"
            "\ndeep(u64::MAX)",
            "The cell's stack overflowed",
        ),
    ],
    ids=["segfault", "exit", "abort", "memory", "stack"],
)
def test_the_end_of_the_process_is_a_message(rust, shell, code, said):
    shell.user_ns["still"] = 1
    rust("fn remains() -> i32 { 7 }\nlet lost = 1;")
    with pytest.raises(RustError, match=said) as caught:
        rust(code)
    assert str(caught.value).endswith("are lost; functions, `use` and `:dep` remain.")
    assert repr(rust("remains()")) == "7" and shell.user_ns["still"] == 1
    with pytest.raises(RustError, match="cannot find value `lost`"):
        rust("lost")


def test_a_hundred_megabytes_are_cut(rust, capfd):
    rust('let line = "x".repeat(999);\nfor _ in 0..100_000 { println!("{line}"); }')
    out, err = capfd.readouterr()
    assert len(out) == 16 << 20
    assert f"{100_000_000 - (16 << 20):,} more bytes are not shown" in err
    assert repr(rust("1 + 1")) == "2"


def test_a_crate_that_does_not_exist(rust):
    with pytest.raises(RustError, match="^There is no crate `no-such-crate-of-slaf` on crates.io"):
        rust(":dep no-such-crate-of-slaf")
    assert repr(rust("1 + 1")) == "2"


def test_a_crate_without_network(monkeypatch):
    monkeypatch.setenv("CARGO_HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("CARGO_NET_RETRY", "0")
    alone = InteractiveShell()
    alone.run_line_magic("load_ext", "slaf")
    try:
        with pytest.raises(RustError, match="^crates.io cannot be reached, .* Check the network"):
            alone.run_cell_magic("rust", "", ':dep fastrand = "2"')
        assert repr(alone.run_cell_magic("rust", "", "1 + 1")) == "2"
    finally:
        alone.slaf_rust.close()


def test_reset_forgets(rust, shell):
    rust("let before = 1;\nfn defined() {}")
    shell.run_line_magic("rust", "--reset")
    for name in ("before", "defined()"):
        with pytest.raises(RustError, match="E0425"):
            rust(name)
    shell.user_ns["frame"] = pl.DataFrame({"a": [1]})
    assert repr(rust('slaf::get("frame")?.num_rows()')) == "1"


def test_options(rust, shell):
    shell.user_ns["markers"] = pl.DataFrame({"gene": ["CD3D"]})
    rust('slaf::put("copy", slaf::get("markers")?)?;', "--in markers --out copy")
    assert shell.user_ns["copy"].equals(shell.user_ns["markers"])
    with pytest.raises(UsageError, match="no variable `marker`. Did you mean `markers`?"):
        rust("1", "--in marker")
    with pytest.raises(RustError, match="The cell did not make `scores`, which `--out` names"):
        rust("1", "--out scores")
    with pytest.raises(UsageError, match="There is no option `--into`"):
        rust("1", "--into x")


def test_without_a_toolchain(monkeypatch, tmp_path):
    from slaf.rust_cells.magic import RustCells

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CARGO_HOME", str(tmp_path))
    with pytest.raises(RustError, match="install Rust 1.95 or newer from https://rustup.rs"):
        RustCells(InteractiveShell()).run("1")


# Interrupts ----------------------------------------------------------------


def interrupt_when(condition) -> None:
    """Interrupts the main thread, as a front end does, once `condition()`."""

    def wait():
        while not condition():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def test_a_loop_without_end_is_stopped(rust, tmp_path):
    rust("let gone = 1;\nfn remains() -> i32 { 7 }")
    begun = tmp_path / "begun"
    interrupt_when(begun.exists)
    with pytest.raises(RustInterrupt, match="Rust variables are lost; functions"):
        rust(f'std::fs::write("{begun}", b"").unwrap();\nloop {{}}')
    assert repr(rust("remains()")) == "7"


def test_a_cell_that_looks_keeps_its_variables(rust, tmp_path):
    rust("let kept = 1;")
    begun = tmp_path / "begun"
    interrupt_when(begun.exists)
    with pytest.raises(RustInterrupt, match="Rust variables are kept"):
        rust(f'std::fs::write("{begun}", b"").unwrap();\nwhile !slaf::cancelled() {{}}')
    assert repr(rust("kept")) == "1"


def test_the_compiler_is_stopped(rust, tmp_path):
    begun = tmp_path / "begun"
    made = tmp_path / "slow"
    (made / "src").mkdir(parents=True)
    (made / "src/lib.rs").write_text("")
    (made / "Cargo.toml").write_text('[package]\nname = "slow"\nversion = "0.1.0"\n')
    (made / "build.rs").write_text(
        f'fn main() {{ std::fs::write("{begun}", "").unwrap(); '
        "std::thread::sleep(std::time::Duration::from_secs(600)) }"
    )
    rust("let kept = 1;")
    interrupt_when(begun.exists)
    with pytest.raises(RustInterrupt, match="Rust variables are kept"):
        rust(f':dep slow = {{ path = "{made}" }}\nslow::nothing()')
    assert repr(rust("kept")) == "1"


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
    shell.user_ns |= dict(zip(names, frames))
    quoted = ", ".join(f'"{name}"' for name in names)
    rust(ECHO.replace("NAMES", f"[{quoted}]"))
    return [shell.user_ns[f"{name}_back"] for name in names]


def test_frames_come_back_the_same(rust, shell):
    frames = list(FRAMES.values())
    sliced = [frame.slice(1, 2) for frame in frames]
    chunked = [pl.concat([frame, frame], rechunk=False) for frame in frames]
    wanted = [frame.clone() for frame in [*frames, *sliced, *chunked]]
    for got, want in zip(echo(rust, shell, [*frames, *sliced, *chunked]), wanted):
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


# Zero copy -----------------------------------------------------------------


def address(column) -> int:
    view = column.to_numpy(allow_copy=False)
    return view.__array_interface__["data"][0]


def test_sql_polars_sql_numpy_is_one_buffer(shell):
    shell.user_ns["source"] = pl.DataFrame({"n": np.arange(8000), "x": np.arange(8000.0)})
    first = pl.DataFrame(shell.run_cell_magic("sql", "", "SELECT x, n FROM source"))
    shell.user_ns["first"] = first
    second = pl.DataFrame(shell.run_cell_magic("sql", "", "SELECT x FROM first"))
    assert address(second["x"]) == address(first["x"]) == address(shell.user_ns["source"]["x"])


def test_what_was_shared_once_is_never_copied_again(rust, shell):
    shell.user_ns["frame"] = pl.DataFrame({"a": np.arange(1e6), "b": ["x" * 20] * 1_000_000})
    rust('let first = slaf::get("frame")?;')
    frame = shell.user_ns["frame"]
    # The frame itself is there now, and so are its parts.
    for part in (frame, frame.slice(10, 500), frame.select("b", c="a")):
        shared = _slaf.Shared()
        for column in part:
            _, copied = shared.add([(column.name, column)])
            assert copied == 0
    rust('slaf::put("again", first.slice(10, 5))?;')
    rust('slaf::put("mine", first)?;')
    assert _slaf.shared_bytes(shell.user_ns["mine"]["a"]) == (8_000_000, 8_000_000)
    # An alias made before sees the same columns, and a change is nobody else's.
    alias = frame
    frame[0, "a"] = -1.0
    assert alias[0, "a"] == -1 and shell.user_ns["mine"][0, "a"] == 0
    assert repr(rust('slaf::get("mine")?.num_rows()')) == "1000000"


def test_what_one_language_frees_the_other_keeps(rust, shell):
    shell.user_ns["mine"] = pl.DataFrame({"a": np.arange(1e6)})
    rust('let batch = slaf::get("mine")?;\nlet column = batch.column(0).clone();')
    del shell.user_ns["mine"]
    rust("drop(batch);")
    rust('slaf::put("yours", slaf::frame([("a", column)])?)?;')
    shell.run_line_magic("rust", "--reset")
    assert shell.user_ns["yours"]["a"].sum() == np.arange(1e6).sum()
    x = sparse.random(1000, 100, 0.1, format="csr", dtype=np.float32)
    shell.user_ns["x"] = x
    rust('let x = slaf::csr("x")?;')
    want, shell.user_ns["x"] = x.nnz, None
    assert repr(rust("x.values::<f32>()?.len()")) == str(want)


def test_a_writer_cannot_change_what_a_reader_has(rust, shell):
    shell.user_ns["frame"] = pl.DataFrame({"a": np.arange(1e5)})
    shared = _slaf.Shared()
    shared.add([("a", shell.user_ns["frame"]["a"])])
    (fd,) = shared.fds
    for write in (
        lambda: os.pwrite(fd, b"x", 0),
        lambda: os.ftruncate(fd, 0),
        lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR) and os.pwrite(fd, b"x", 0),
    ):
        with pytest.raises(PermissionError):
            write()
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    view = shell.user_ns["frame"]["a"].to_numpy(allow_copy=False)
    assert not view.flags.writeable


def proportional(*pids: int) -> int:
    """Bytes of memory of processes, shared pages counted once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += 1024 * int(line.split()[1])
    return total


def family(shell) -> list[int]:
    return [os.getpid(), *(p.pid for p in psutil.Process().children(recursive=True))]


def test_a_gigabyte_reaches_rust_and_is_there_once(rust, shell):
    columns = 10

    def there_and_back(rows: int) -> list[int]:
        """What a frame takes in all processes: when Rust has it, when Python has
        it back, and when all have forgotten it."""
        before = proportional(*family(shell))
        frame = pl.DataFrame({f"c{i}": np.full(rows, float(i)) for i in range(columns)})
        shell.user_ns["big"] = frame
        del frame
        total = rust(
            'let big = slaf::get("big")?;\n'
            '(0..10).map(|i| slaf::values::<f64>(&big, &format!("c{i}")).unwrap().iter().sum::<f64>())'
            ".sum::<f64>()"
        )
        assert repr(total) == repr(float(rows * 45))
        shell.user_ns["big"].sum()
        there = proportional(*family(shell)) - before
        rust('slaf::put("back", big)?;')
        shell.user_ns["back"].sum()
        back = proportional(*family(shell)) - before
        del shell.user_ns["big"], shell.user_ns["back"]
        shell.run_line_magic("rust", "--reset")
        return [there, back, proportional(*family(shell)) - before]

    # The code of these cells has its place from here on.
    for _ in range(2):
        there_and_back(1000)
    size = columns * 12_500_000 * 8
    there, back, after = there_and_back(12_500_000)
    assert 0.95 * size < there < 1.01 * size, there / size
    assert back < 1.01 * size, back / size
    assert after < 0.01 * size, after / size


def test_a_slice_reaches_scipy_in_the_buffers_that_rust_filled(tmp_path):
    SLAFConverter().convert_anndata(make_counts(200, 50), tmp_path / "made.slaf")
    x = read_slaf(tmp_path / "made.slaf")[20:180].X.compute()
    for part in (x.indptr, x.indices, x.data):
        owner = part
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        assert type(owner.base).__name__ == "PySliceContainer"


_SLICE = """
import sys
from slaf.integrations import read_slaf
handle = read_slaf(sys.argv[1])

def resident():
    with open("/proc/self/statm") as file:
        return 4096 * int(file.read().split()[1])

for _ in range(4):
    before = resident()
    x = handle.X.compute()
    size = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    print(size, resident() - before)
    del x
"""


def test_a_gigabyte_reaches_scipy_and_is_there_once(tmp_path):
    cells, genes = 10_000, 12_500
    counts = sparse.csr_matrix(
        (
            np.random.default_rng(0).integers(1, 200, cells * genes).astype(np.float32),
            np.tile(np.arange(genes, dtype=np.int32), cells),
            np.arange(cells + 1) * genes,
        ),
        shape=(cells, genes),
    )
    SLAFConverter().convert_anndata(ad.AnnData(counts), tmp_path / "large.slaf")
    told = subprocess.run(
        [sys.executable, "-c", _SLICE, str(tmp_path / "large.slaf")],
        # The allocator gives back at once what is free, so that what remains is held.
        env=os.environ | {"MIMALLOC_DISALLOW_ARENA_ALLOC": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # The first reads also meet code, threads and descriptors of pages.
    taken = [int(taken) / int(size) for size, taken in map(str.split, told.splitlines())]
    assert 0.99 < min(taken[1:]) < 1.01, taken


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


# In kernels ------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.stop()


def message(kernel, request: str, wanted) -> dict:
    """The next message on iopub of a request that `wanted` takes."""
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") == request and wanted(message):
            return message


def test_output_streams_while_a_cell_runs_and_the_kernel_interrupts_it(kernel, tmp_path):
    kernel.text("a = 1")
    reply, outputs = kernel.run("%%rust\n1 + 1")
    assert reply["status"] == "ok"
    assert only(outputs, "execute_result")["data"]["text/plain"] == "2"
    said = [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "display_data"]
    assert said == ["Rust starts; the first time, it compiles what cells share data by."]
    go_on = tmp_path / "go on"
    request = kernel.send(
        f'%%rust\nprint!("first");\nuse std::io::Write;\nstd::io::stdout().flush()?;\n'
        f'while !std::path::Path::new("{go_on}").exists() {{}}\nprintln!("; second");'
    )
    first = message(kernel, request, lambda m: m["msg_type"] == "stream")
    assert first["content"]["text"] == "first"
    go_on.touch()
    assert stream(kernel.outputs(request)) == "; second\n"
    request = kernel.send('%%rust\nprintln!("begun");\nloop {}')
    message(kernel, request, lambda m: m["msg_type"] == "stream")
    kernel.manager.interrupt_kernel()
    error = only(kernel.outputs(request), "error")
    assert error["ename"] == "RustInterrupt" and "variables are lost" in error["evalue"]
    assert kernel.value("a") == "1"


def test_the_comm_tells_of_variables(kernel):
    request = kernel.client.session.msg(
        "comm_open", {"comm_id": "c1", "target_name": "slaf.vars", "data": {}}
    )
    kernel.client.shell_channel.send(request)
    is_comm = lambda m: m["msg_type"] == "comm_msg"  # noqa: E731
    told = message(kernel, request["header"]["msg_id"], is_comm)["content"]
    assert told["comm_id"] == "c1" and "variables" in told["data"]
    request = kernel.send("new_name = 5")
    told = message(kernel, request, is_comm)["content"]["data"]["variables"]
    (new,) = [v for v in told if v["name"] == "new_name"]
    assert (new["type"], new["languages"]) == ("int", ["Python"])
    kernel.client.shell_channel.send(
        kernel.client.session.msg("comm_close", {"comm_id": "c1", "data": {}})
    )


def test_a_killed_kernel_leaves_nothing(kernel):
    kernel.text("import numpy as np, polars as pl\nframe = pl.DataFrame({'a': np.arange(25e6)})")
    reply, _ = kernel.run('%%rust\nlet frame = slaf::get("frame")?;\nframe.num_rows()')
    assert reply["status"] == "ok"
    reply, _ = kernel.run("%%rust\nstd::thread::spawn(|| loop {});")
    process = psutil.Process(int(kernel.value("__import__('os').getpid()")))
    children = process.children(recursive=True)
    assert len(children) >= 3
    folders = {Path(c.environ().get("EVCXR_TMPDIR", "")) for c in children} - {Path("")}
    assert folders and all(folder.exists() for folder in folders)
    shared = memory_of_files()
    assert shared > 190_000_000
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not any(folder.exists() for folder in folders)
    assert memory_of_files() < shared - 190_000_000


def memory_of_files() -> int:
    """Bytes of the machine's memory in memory files."""
    (line,) = [x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("Shmem:")]
    return 1024 * int(line.split()[1])


def test_a_plain_ipykernel():
    kernel = Kernel("python3")
    try:
        kernel.text("%load_ext slaf")
        kernel.text("import polars as pl; frame = pl.DataFrame({'a': [1, 2]})")
        reply, outputs = kernel.run('%%rust\nslaf::get("frame")?.num_rows()')
        assert only(outputs, "execute_result")["data"]["text/plain"] == "2"
        request = kernel.send('%%rust\nprintln!("begun");\nloop {}')
        message(kernel, request, lambda m: m["msg_type"] == "stream")
        kernel.manager.interrupt_kernel()
        assert only(kernel.outputs(request), "error")["ename"] == "RustInterrupt"
    finally:
        kernel.stop()
