"""Draws the diagrams and tables of `architecture.md` from the code. `python
docs/draw_architecture.py` writes them; with `--check`, it fails if they are out of
date.

The modules and floors are those that the tests enforce. A module is a folder, or a file
beside the folders. The sentences are the first ones of each module's own documentation, and
the arrows are the imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/architecture.md"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "python")]

import test_floors as python_floors  # noqa: E402
import test_rust_floors as rust_floors  # noqa: E402
from rust_imports import Crate  # noqa: E402

Arrows = set[tuple[str, str]]


def python_picture() -> str:
    """The modules of `python/slaf`."""
    arrows = {
        (top_module(name), top_module(other))
        for name, others in python_floors.GRAPH.items()
        for other in others
        if top_module(name) != top_module(other)
    }
    floors = [sorted(name or "slaf" for name in floor) for floor in python_floors.FLOORS]
    names = [name for floor in floors[::-1] for name in floor]
    return picture(floors[::-1], arrows) + table(ROOT / "python/slaf", names, python_sentence)


def top_module(module: str) -> str:
    return (module.split(".") + ["slaf"])[1] if module != "slaf" else "slaf"


def python_sentence(path: Path) -> str | None:
    path = path.parent if path.name == "slaf" and not path.exists() else path
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text())) if file.exists() else None
    return text and first_sentence(text)


def rust_picture() -> str:
    """The folders of `slaf-core/src`."""
    crate = Crate(ROOT / "slaf-core/src")
    arrows = {
        (folder(here), folder(there))
        for here, targets in crate.arrows().items()
        for there in targets
        if folder(here) != folder(there) and "lib.rs" not in (here.name, there.name)
    }
    names = list(dict.fromkeys(f.partition("/")[0] for f in rust_floors.FLOORS if f != "."))
    drawn = picture([[name] for name in names[::-1]], arrows)
    return drawn + table(ROOT / "slaf-core/src", names[::-1], rust_sentence)


def kernel_table() -> str:
    """The folders of `kernel/src`."""
    return table(ROOT / "kernel/src", ["protocol", "transport", "process"], rust_sentence)


def displays_table() -> str:
    """The files of `magics/src`."""
    files = sorted(path.stem for path in (ROOT / "magics/src").glob("*.rs") if path.stem != "lib")
    return table(ROOT / "magics/src", files, rust_sentence)


def folder(file: Path) -> str:
    return file.parts[0]


def rust_sentence(path: Path) -> str | None:
    file = path / "mod.rs" if path.is_dir() else path.with_suffix(".rs")
    if not file.exists():
        return None
    lines = [line[3:].strip() for line in file.read_text().splitlines() if line.startswith("//!")]
    return first_sentence("\n".join(lines))


def first_sentence(text: str) -> str:
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph)[0].rstrip(".")


def picture(floors: list[list[str]], arrows: Arrows) -> str:
    """A Mermaid chart, without the arrows that others imply."""
    shown = {name for floor in floors for name in floor}
    arrows = {pair for pair in arrows if set(pair) <= shown}
    lines = ["```mermaid", "flowchart TD"]
    for number, floor in enumerate(floors):
        lines.append(f"  subgraph floor{number}[ ]")
        lines += [f"    {name}" for name in floor]
        lines.append("  end")
    lines += [f"  {here} --> {there}" for here, there in sorted(direct(arrows))]
    return "\n".join([*lines, "```", "", ""])


def direct(arrows: Arrows) -> Arrows:
    """The arrows that do not follow from other arrows."""
    below: dict[str, set[str]] = {}
    for here, there in arrows:
        below.setdefault(here, set()).add(there)

    def reach(name: str, seen: set[str]) -> set[str]:
        for other in below.get(name, ()):
            if other not in seen:
                seen.add(other)
                reach(other, seen)
        return seen

    return {
        (here, there)
        for here, there in arrows
        if not any(there in reach(other, set()) for other in below[here] - {there})
    }


def table(root: Path, names: list[str], sentence: Callable[[Path], str | None]) -> str:
    """The first sentences of modules, and of the folders in them."""
    rows = []
    for name in names:
        inner = sorted(path for path in (root / name).glob("**/") if path != root / name)
        for path in [root / name, *inner]:
            if text := sentence(path):
                rows.append(f"| `{path.relative_to(root)}` | {text} |")
    return "\n".join(["| module | contents |", "|---|---|", *rows])


REGIONS = {
    "python": python_picture,
    "rust": rust_picture,
    "kernel": kernel_table,
    "displays": displays_table,
}


def drawn(page: str) -> str:
    for name, make in REGIONS.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{make()}\n{end}{after}"
    return page


if __name__ == "__main__":
    page = PAGE.read_text()
    if "--check" in sys.argv and drawn(page) != page:
        sys.exit("docs/architecture.md is not of this code: run docs/draw_architecture.py.")
    PAGE.write_text(drawn(page))
