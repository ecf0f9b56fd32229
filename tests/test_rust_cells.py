"""`%%rust` in a plain IPython shell: what cells keep and show, what they survive, and how
they are interrupted."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import polars as pl
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from slaf.rust_cells.errors import RustError, RustInterrupt

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
