"""Which Rust file imports which, from `use` items and inline paths.

The parser is small: it knows comments, literals, inline modules, `use` trees and paths,
and follows re-exports to the file that defines a name. If a file adds a method to
another file's type, its callers are found by the method's name, unless another function
has the same name."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

PASSIVE = re.compile(
    r"""
    //[^\n]*                                # a line comment
    | /\*.*?\*/                             # a block comment
    | \b(?:b|c)?r(?P<hashes>\#*)".*?"(?P=hashes)   # a raw string
    | \b(?:b|c)?"(?:\\.|[^"\\])*"           # a string
    | "(?:\\.|[^"\\])*"
    | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'  # a character
    """,
    re.VERBOSE | re.DOTALL,
)
USE = re.compile(r"\b(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
INLINE_MODULE = re.compile(r"\bmod\s+(\w+)\s*\{")
DECLARED = re.compile(r"\b(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;")
PATH = re.compile(r"(?<![\w:$])(?:\$?crate|super|self|[a-z_]\w*)(?:\s*::\s*\w+)+")
FUNCTION = re.compile(r"\bfn\s+(\w+)")
OPEN_METHOD = re.compile(r"^ {4}pub(?:\([^)]*\))?\s+(?:async\s+)?fn\s+(\w+)", re.MULTILINE)
INHERENT = re.compile(r"^impl(?:<.*?>)?\s+(\w+)(?:<.*?>)?\s*\{(?P<body>.*?)^\}", re.M | re.S)
TYPE = re.compile(r"\b(?:struct|enum|union)\s+(\w+)")
ATTRIBUTE = re.compile(r"#!?\[(?:[^\[\]]|\[[^\]]*\])*\]")


@dataclass
class Module:
    """A module of a crate: a file, or a `mod x { … }` inside one."""

    path: tuple[str, ...]
    file: Path
    children: set[str] = field(default_factory=set)
    #: Imported name → the path that it means.
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    globs: list[tuple[str, ...]] = field(default_factory=list)
    #: Every path that it mentions.
    mentions: set[tuple[str, ...]] = field(default_factory=set)
    #: Whether it only declares modules and re-exports.
    is_face: bool = False


def plain(source: str) -> str:
    """The source without comments and the content of literals."""
    return PASSIVE.sub(lambda found: " " if found[0].startswith("/") else '""', source)


def branches(tree: str) -> list[tuple[str, tuple[str, ...]]]:
    """`a::{b, c as d}` as names and their targets: `b` for `a::b`, `d` for `a::c`."""
    tree = tree.strip()
    opening = tree.find("{")
    if opening < 0:
        path, _, alias = (part.strip() for part in tree.partition(" as "))
        parts = tuple(part.strip() for part in path.split("::") if part.strip())
        if parts[-1] == "self" and len(parts) > 1:
            parts = parts[:-1]
        return [(alias or parts[-1], parts)]
    prefix = tuple(part.strip() for part in tree[:opening].split("::") if part.strip())
    inner, depth, start, found = tree[opening + 1 : tree.rfind("}")], 0, 0, []
    for at, letter in enumerate(inner + ","):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            if branch := inner[start:at].strip():
                whole = branches(f"{'::'.join(prefix)}::{branch}" if prefix else branch)
                found.extend(whole)
            start = at + 1
    return found


class Crate:
    """The files under `root`, a crate's `src`, and the imports between them."""

    def __init__(self, root: Path):
        self.root = root
        self.modules: dict[tuple[str, ...], Module] = {}
        self.sources = {file: plain(file.read_text()) for file in sorted(root.rglob("*.rs"))}
        for file, source in self.sources.items():
            self._read(source, self._path_of(file), file)
        for path in self.modules:
            if path:
                self.modules[path[:-1]].children.add(path[-1])

    def arrows(self) -> dict[Path, set[Path]]:
        """The files that each file imports, by their paths below the root."""
        found: dict[Path, set[Path]] = {}
        for name, file in self._added_methods().items():
            call = re.compile(rf"\.\s*{name}\s*(?:::<[^>]*>)?\(")
            for caller, source in self.sources.items():
                if caller != file and call.search(source):
                    here = found.setdefault(caller.relative_to(self.root), set())
                    here.add(file.relative_to(self.root))
        for module in self.modules.values():
            here = found.setdefault(module.file.relative_to(self.root), set())
            if module.is_face:
                continue
            for mention in module.mentions:
                target = self._defining(mention, module, frozenset())
                if target is not None and target.file != module.file:
                    here.add(target.file.relative_to(self.root))
        return found

    def _added_methods(self) -> dict[str, Path]:
        """Methods that a file adds to a type of another file, with that file."""
        functions = Counter(
            name for text in self.sources.values() for name in FUNCTION.findall(text)
        )
        found = {}
        for file, source in self.sources.items():
            own = set(TYPE.findall(source))
            for block in INHERENT.finditer(source):
                if block[1] not in own:
                    names = OPEN_METHOD.findall(block["body"])
                    found.update({name: file for name in names if functions[name] == 1})
        return found

    def _path_of(self, file: Path) -> tuple[str, ...]:
        parts = file.relative_to(self.root).with_suffix("").parts
        return parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts

    def _read(self, source: str, path: tuple[str, ...], file: Path) -> None:
        module = self.modules.setdefault(path, Module(path, file))
        while inline := INLINE_MODULE.search(source):
            end, depth = inline.end(), 1
            while depth:
                depth += (source[end] == "{") - (source[end] == "}")
                end += 1
            self._read(source[inline.end() : end - 1], (*path, inline[1]), file)
            source = source[: inline.start()] + source[end:]
        for use in USE.finditer(source):
            for name, target in branches(use[1]):
                if target[-1] == "*":
                    module.globs.append(target[:-1])
                    module.mentions.add(target[:-1])
                    continue
                module.mentions.add(target)
                # A path that begins with its own name belongs to another crate, or to a
                # child module.
                if target[0] != name:
                    module.names[name] = target
        rest = USE.sub("", source)
        for found in PATH.findall(rest):
            module.mentions.add(tuple(part.strip() for part in found.split("::")))
        bare, modules = DECLARED.subn("", rest)
        module.is_face = modules > 0 and not ATTRIBUTE.sub("", bare).strip()

    def _defining(self, path, module: Module, seen) -> Module | None:
        """The module that defines what `path` names inside `module`, if it is in this
        crate."""
        if (path, module.path) in seen:
            return None
        seen = seen | {(path, module.path)}
        first, *rest = path
        if first in ("crate", "$crate"):
            return self._descend(self.modules[()], rest, seen)
        if first == "self":
            return self._descend(module, rest, seen)
        if first == "super":
            return (
                self._descend(self.modules[module.path[:-1]], rest, seen) if module.path else None
            )
        if first in module.children or first in module.names:
            return self._descend(module, path, seen)
        return None

    def _descend(self, module: Module, rest, seen) -> Module | None:
        if not rest:
            return module
        first, *others = rest
        if first == "super":
            return self._descend(self.modules[module.path[:-1]], others, seen)
        if first in module.children:
            return self._descend(self.modules[(*module.path, first)], others, seen)
        if first in module.names:
            return self._defining((*module.names[first], *others), module, seen)
        for glob in module.globs:
            origin = self._defining(glob, module, seen)
            if origin is not None and re.search(
                rf"\b(?:fn|struct|enum|trait|type|const|static|macro_rules!|union)\s+{first}\b",
                self.sources[origin.file],
            ):
                return origin
        return module


def circles(arrows: dict[Path, set[Path]]) -> list[list[Path]]:
    """The files that import each other, by Tarjan's algorithm."""
    index: dict[Path, int] = {}
    low: dict[Path, int] = {}
    stack: list[Path] = []
    found = []

    def visit(node: Path) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows.get(node, ())):
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found
