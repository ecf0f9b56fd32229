"""Problems that users of evcxr reported, in `%%rust`: cells that are changed and run
again, what a cell reads and where it runs, and repeated compilation."""

from __future__ import annotations

import os
import re

import pytest
from IPython.core.interactiveshell import InteractiveShell
from slaf.rust_cells.errors import RustError
from slaf.rust_cells.output import CompileProgress


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    os.environ["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "slaf")
    yield shell
    shell.slaf_rust.close()


@pytest.fixture
def rust(shell):
    return lambda code: shell.run_cell_magic("rust", "", code)


@pytest.fixture
def says(rust):
    """The value of a cell, as it displays."""
    return lambda code: repr(rust(code))


# Cells that are run again --------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "shows", "value"),
    [
        (
            [
                "struct Cat(i32);\nimpl Cat { fn legs(&self) -> i32 { self.0 } }",
                "impl Cat { fn legs(&self) -> i32 { 2 * self.0 } }",
            ],
            "Cat(2).legs()",
            "4",
        ),
        (['unsafe extern "C" { fn abs(x: i32) -> i32; }'] * 2, "unsafe { abs(-3) }", "3"),
        (
            [
                "struct Dog;",
                'impl std::fmt::Display for Dog { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, "one") } }',
                'use std::fmt;\nimpl fmt::Display for Dog { fn fmt(&self, f: &mut fmt::Formatter<\'_>) -> fmt::Result { write!(f, "two") } }',
            ],
            "Dog.to_string()",
            '"two"',
        ),
        (
            [
                "struct Pair<'a>(&'a str);",
                "impl Pair<'_> { fn first(&self) -> usize { 1 } fn second(&self) -> usize { self.0.len() } }",
                "impl<'b> Pair<'b> { fn first(&self) -> usize { 10 } }",
            ],
            'Pair("abc").first() + Pair("abc").second()',
            "13",
        ),
        (
            [
                "struct Own;\nimpl Own { fn a(&self) -> i32 { 1 } }",
                "impl Own { fn b(&self) -> i32 { 2 } }",
                "/// Again.\nimpl Own {\n    fn a(&self) -> i32 { 10 } // changed\n}",
            ],
            "Own.a() + Own.b()",
            "12",
        ),
        (
            [
                "trait Sound { fn sound(&self) -> i32; }\nstruct Cow;\nimpl Sound for Cow { fn sound(&self) -> i32 { 1 } }",
            ]
            * 2,
            "Cow.sound()",
            "1",
        ),
        (
            [
                "#[derive(Clone)]\nstruct Point { x: i32 }\nimpl Point { fn sum(&self) -> i32 { self.x } }",
                "#[derive(Clone)]\nstruct Point { x: i32, y: i32 }\nimpl Point { fn sum(&self) -> i32 { self.x + self.y } }",
            ],
            "Point { x: 1, y: 2 }.clone().sum()",
            "3",
        ),
        (
            ["struct Gone { x: i32 }\nimpl Gone { fn x(&self) -> i32 { self.x } }", "struct Gone;"],
            "std::mem::size_of::<Gone>()",
            "0",
        ),
    ],
    ids=["inherent", "C", "trait", "lifetimes", "functions", "same", "type", "without its impl"],
)
def test_an_impl_may_be_changed_and_run_again(rust, says, cells, shows, value):
    for cell in cells:
        rust(cell)
    assert says(shows) == value


def test_an_impl_that_does_not_fit_a_new_type_is_dropped_and_told(rust, says, capsys):
    rust("struct Moved { x: i32 }")
    rust("impl From<Moved> for i32 { fn from(moved: Moved) -> i32 { moved.x } }")
    capsys.readouterr()
    rust("struct Moved { y: i32 }")
    told = capsys.readouterr().err
    assert "`impl From<Moved> for i32` of an earlier cell does not fit" in told
    assert says("Moved { y: 5 }.y") == "5"
    rust("impl From<Moved> for i32 { fn from(moved: Moved) -> i32 { moved.y } }")
    assert says("i32::from(Moved { y: 6 })") == "6"


def test_an_error_in_an_impl_is_shown_where_it_is(rust):
    code = "struct Bad;\nimpl Bad { fn bad() -> u8 { nothing } }\n"
    with pytest.raises(RustError, match=r"^E0425: cannot find value `nothing`.*\(line 3\)") as told:
        rust(code)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(told.value._render_traceback_()))
    assert "cell:3:29" in shown and "3 │ impl Bad { fn bad() -> u8 { nothing } }" in shown


@pytest.mark.parametrize(
    ("cell", "later", "value"),
    [
        ("macro_rules! twice { ($e:expr) => { $e * 2 }; }", "twice!(1 + 4)", "10"),
        (
            "fn above() -> i32 { thrice!(2) }\nmacro_rules! thrice { ($e:expr) => { $e * 3 }; }",
            "above()",
            "6",
        ),
        (
            "macro_rules! make { ($($i:ident),*) => { $(#[derive(Debug)] struct $i { v: i32 })* }; }\n"
            "make!(Made, Other);\nlet made = Made { v: 1 };",
            "(made, Other { v: 2 })",
            "(Made { v: 1 }, Other { v: 2 })",
        ),
        (
            "macro_rules! constant { ($i:ident = $e:expr) => { const $i: i32 = $e * 2; }; }\n"
            "constant! { DOUBLE = 1 + 2 }",
            "DOUBLE",
            "6",
        ),
        (
            "thread_local! { static SEEN: std::cell::Cell<i32> = const { std::cell::Cell::new(7) }; }",
            "SEEN.with(|seen| seen.get())",
            "7",
        ),
    ],
    ids=["macro", "above it", "types", "constants", "thread_local"],
)
def test_macros_and_what_they_make_live_on(rust, says, cell, later, value):
    """evcxr/evcxr#227 lazy_static does not work"""
    rust(cell)
    rust("let between = 1;")
    assert says(later) == value


# What a cell finds ---------------------------------------------------------------


def test_stdin_is_at_its_end(says):
    assert says("std::io::stdin().read_line(&mut String::new())?") == "0"
    assert says("std::io::read_to_string(std::io::stdin())?.len()") == "0"
    output = 'std::process::Command::new("cat").output()?.stdout.len()'
    assert says(output) == "0"
    assert says("1 + 1") == "2"


def test_folder_and_environment_are_the_notebooks(shell, says, tmp_path, monkeypatch):
    there, raw = tmp_path / "größe", os.fsdecode(b"\xff raw")
    there.mkdir()
    (there / "data.txt").write_text("found")
    monkeypatch.chdir(tmp_path)
    says("let mine = 1;")
    shell.run_line_magic("cd", f"-q {there}")
    monkeypatch.setenv("SLAF_TEST_SET", "first\nsecond")
    monkeypatch.setenv("SLAF_TEST_RAW", raw)
    assert says('std::fs::read_to_string("data.txt")?') == '"found"'
    assert says('std::env::var("SLAF_TEST_SET")?') == '"first\\nsecond"'
    assert says('std::env::var_os("SLAF_TEST_RAW").unwrap().len()') == "5"
    assert says("mine") == "1"
    monkeypatch.setenv("SLAF_TEST_SET", "changed")
    monkeypatch.delenv("SLAF_TEST_RAW")
    monkeypatch.chdir(tmp_path)
    assert says('std::env::var("SLAF_TEST_SET")?') == '"changed"'
    assert says('std::env::var_os("SLAF_TEST_RAW")') == "None"
    assert says('std::env::current_dir()?.ends_with("größe")') == "false"
    # A new process of the cells is in the same world.
    with pytest.raises(RustError, match="ended its process"):
        says("std::process::exit(1)")
    assert says('std::env::var("SLAF_TEST_SET")?') == '"changed"'
    assert says(f'std::env::current_dir()?.ends_with("{tmp_path.name}")') == "true"


def test_what_a_cell_changes_itself_stays(rust, says, tmp_path, monkeypatch):
    rust(
        f'unsafe {{ std::env::set_var("SLAF_TEST_OWN", "1") }};\nstd::env::set_current_dir("{tmp_path}")?;'
    )
    monkeypatch.setenv("SLAF_TEST_ANOTHER", "2")
    assert says('std::env::var("SLAF_TEST_OWN")?') == '"1"'
    assert says(f'std::env::current_dir()?.ends_with("{tmp_path.name}")') == "true"


def test_a_crate_by_a_relative_path(rust, says, tmp_path, monkeypatch):
    """evcxr/evcxr#161 relative paths don't work"""
    for name in ("near", "nearer"):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src/lib.rs").write_text("pub fn five() -> i32 { 5 }")
        (tmp_path / name / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'
        )
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert says(':dep near = { path = "../near" }\nnear::five()') == "5"
    assert says(":dep ../nearer\nnearer::five()") == "5"


def test_a_panic_says_the_same_in_a_new_process(rust):
    with pytest.raises(RustError, match="crashed"):
        rust("std::process::abort()")
    with pytest.raises(RustError) as told:
        rust("let none: Option<i32> = None;\nnone.unwrap()")
    assert str(told.value) == "The cell panicked: called `Option::unwrap()` on a `None` value"


def test_await_at_the_top_of_a_cell(rust, says):
    """evcxr/evcxr#172 `await` in repl no longer works, #356 and `?` after it"""
    assert says("async fn later(x: i32) -> Result<i32, String> { Ok(x) }\nlater(4).await?") == "4"
    rust("let waited = later(5).await? + 1;")
    assert says("waited") == "6"


# Commands ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before", ["    // a comment\n    ", "/* one\n   two */\n", "\n\t", "/* x */\n// y\n:opt 2\n"]
)
def test_a_command_after_a_comment(rust, says, before):
    """evcxr/evcxr#306 output error with comment"""
    rust("let listed = 1u8;")
    assert "listed: u8" in says(f"{before}:vars")


def test_clear_leaves_what_every_cell_needs(rust, says, capfd):
    rust("let cleared = 1;")
    with pytest.raises(RustError, match="E0425"):
        rust(":clear\ncleared")
    assert says('print!("whole");\nslaf::column(vec![1.5]).len()') == "1"
    assert capfd.readouterr().out == "whole"


# Broken code ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("let rf {\nlet f0 = || || ..;\nf0()\n}", "expected"),  # evcxr/evcxr#438 panic
        ("#[derive(Debug)]\n\n", "`derive` may only be applied to"),  # evcxr/evcxr#426 crash
        (
            'let failed = std::fs::rename("/no/a", "/no/b").unwrap_err();\nlet inner = failed.get_ref();',
            "cannot be written here; consider importing this trait: `use std::error::Error;`",
        ),  # evcxr/evcxr#124 an error in code that evcxr made
        ("let text = String::new();\nlet part = &text;", "contains a reference"),  # evcxr/evcxr#109
        ("let add = |x: i32| x + 1;", "is a closure, which cannot be persisted"),  # evcxr/evcxr#217
    ],
    ids=["closures", "lone derive", "type with a trait", "reference", "closure"],
)
def test_broken_code_is_a_message(rust, says, code, said):
    with pytest.raises(RustError, match=re.escape(said)):
        rust(code)
    assert says("1 + 1") == "2"


def test_a_leaked_text_is_a_variable(rust, says):
    """evcxr/evcxr#424 and #344"""
    rust('let leaked = String::from("asdf").leak();')
    assert says("leaked") == '"asdf"'
    rust("let all: &'static Vec<i32> = Box::leak(Box::new(vec![1, 2, 3]));\nlet some = &all[1..];")
    assert says("some") == "[2, 3]"


# Compiled once -------------------------------------------------------------------


def test_another_session_compiles_nothing(says, monkeypatch):
    """evcxr/evcxr#304 reusing the pre-compiled directory, #504 slow `:dep`"""
    assert says("1 + 1") == "2"
    compiled = []
    monkeypatch.setattr(CompileProgress, "__call__", lambda self, crate: compiled.append(crate))
    another = InteractiveShell()
    another.run_line_magic("load_ext", "slaf")
    try:
        code = "let sum = slaf::column(vec![1.5, 2.0]).len() + 1;\nsum"
        assert repr(another.run_cell_magic("rust", "", code)) == "3"
        with pytest.raises(RustError, match="expected expression"):
            another.run_cell_magic("rust", "", "let nothing = ;")
    finally:
        another.slaf_rust.close()
    assert compiled == []
