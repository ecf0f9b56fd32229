"""The floors of the Rust crates: no file imports one of a floor above, and no two files
import each other."""

from pathlib import Path

import pytest
from rust_imports import Crate, circles

ROOT = Path(__file__).parents[1]

#: From the ground up. A folder's files may import each other and what is below.
FLOORS = [
    "ground",
    "matrix",
    "storage",
    "table",
    "dataset",
    "read",
    "import",
    "stats",
    "search",
    "tokens",
    "loader",
    "write",
    "upkeep",
    "query/request",
    "query/catalog",
    "query/dialect",
    "query/language",
    "query/sources",
    "query/planning",
    "query/polars",
    "query/datafusion",
    "query/run",
    "query/assist",
    "query",
    ".",
]
#: Neighbours that know nothing of each other.
APART = {"query/polars", "query/datafusion"}

CRATES = ["slaf-core", "kernel", "magics", "magics/rust-cells", "magics/cell-data", "python"]


def folder(file: Path) -> str:
    return next(str(above) for above in file.parents if str(above) in FLOORS)


def test_arrows_between_folders_point_down():
    arrows = Crate(ROOT / "slaf-core/src").arrows()
    homeless = [file for file in arrows if folder(file) in ("query", ".")]
    assert {str(file) for file in homeless} == {"lib.rs", "query/mod.rs"}
    upward = [
        f"{here} imports {there}"
        for here, targets in arrows.items()
        for there in targets
        if FLOORS.index(folder(there)) > FLOORS.index(folder(here))
        or APART == {folder(here), folder(there)}
    ]
    assert not upward


@pytest.mark.parametrize("crate", CRATES)
def test_no_files_import_each_other(crate):
    arrows = Crate(ROOT / crate / "src").arrows()
    assert any(arrows.values())
    assert circles(arrows) == []


def test_imports_are_found_however_they_are_written(tmp_path):
    files = {
        "lib.rs": "mod a;\nmod b;\nmod c;\nmod d;\npub use a::Thing;\nuse b::x; fn f() {}",
        "a.rs": "pub struct Thing; /* use crate::d::no; */ // crate::c::no",
        "b.rs": "use crate::{Thing, c::{self, deep::{One as Two}}};",
        "c/mod.rs": "pub mod deep;\npub use self::deep::One;",
        "c/deep.rs": "pub struct One;\nimpl One {\n    fn own() {}\n}\n"
        "mod tests {\n    use super::super::super::d;\n}",
        "d.rs": 'const T: &str = "crate::b::no";\n#[cfg(test)]\nmod tests {\n'
        "    fn g() { super::super::c::One::own(); x.added(); }\n}",
        "e.rs": "use crate::a::Thing;\nimpl Thing {\n    pub(crate) fn added(&self) {}\n}",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    arrows = Crate(tmp_path).arrows()
    found = {str(here): {str(there) for there in targets} for here, targets in arrows.items()}
    assert found == {
        "lib.rs": {"a.rs", "b.rs"},
        "a.rs": set(),
        "b.rs": {"a.rs", "c/deep.rs", "c/mod.rs"},
        "c/mod.rs": set(),
        "c/deep.rs": {"d.rs"},
        "d.rs": {"c/deep.rs", "e.rs"},
        "e.rs": {"a.rs"},
    }
    assert circles(arrows) == [[Path("c/deep.rs"), Path("d.rs")]]
