"""The environment of the process of Rust cells: its binary, folder, variables and
memory."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from slaf.rust_cells.errors import RustError

_HERE = Path(__file__).parent
_BINARY = _HERE / "bin" / "slaf-rust-cells"
#: The source of the crate that cells use as `slaf`.
_CRATE = _HERE / "crate"
#: Share of the free memory that cells may allocate.
_MEMORY = 0.8


def binary() -> str:
    """The executable that compiles and runs Rust cells."""
    if not _BINARY.exists():
        raise RustError(
            "This installation has no Rust cells: `slaf-rust-cells` is missing. "
            "Install with `install/setup`."
        )
    if not os.access(_BINARY, os.X_OK):
        _BINARY.chmod(0o755)
    return str(_BINARY)


class Surroundings(NamedTuple):
    """The folder and the environment variables that cells run with."""

    #: The current folder, unless it has been deleted.
    folder: str | None
    variables: dict[str, str]

    @classmethod
    def now(cls) -> Surroundings:
        """The current surroundings of this process. Raises RustError without a Rust
        toolchain."""
        folder = None
        with contextlib.suppress(OSError):
            folder = os.getcwd()
        return cls(folder, _variables())

    def changes_since(self, before: Surroundings) -> dict[str, Any] | None:
        """The changes that the process must make; None if there are none. A byte is
        sent as a character, because file names and values need not be UTF-8."""

        def text(value: str) -> str:
            return os.fsencode(value).decode("latin-1")

        changes: dict[str, Any] = {}
        if self.folder is not None and self.folder != before.folder:
            changes["folder"] = text(self.folder)
        old, new = before.variables, self.variables
        if changed := {name: value for name, value in new.items() if old.get(name) != value}:
            changes["set"] = {text(name): text(value) for name, value in changed.items()}
        if gone := [text(name) for name in old if name not in new]:
            changes["unset"] = gone
        return changes or None


def _variables() -> dict[str, str]:
    """This process's environment variables, and those that the compiler needs."""
    variables = dict(os.environ)
    cargo = Path(variables.get("CARGO_HOME", Path.home() / ".cargo")) / "bin"
    variables["PATH"] = os.pathsep.join([variables.get("PATH", ""), str(cargo)])
    for tool in ("cargo", "rustc"):
        if shutil.which(tool, path=variables["PATH"]) is None:
            raise RustError(
                f"Rust cells need a Rust toolchain, and there is no `{tool}`: install Rust 1.95 "
                "or newer from https://rustup.rs."
            )
    # So that a `:dep` fails soon without a network.
    variables.setdefault("CARGO_NET_RETRY", "1")
    variables.setdefault("CARGO_HTTP_TIMEOUT", "15")
    for name in ("EVCXR_IS_RUNTIME", "EVCXR_RUSTC_WRAPPER", "RUSTC_WRAPPER"):
        variables.pop(name, None)
    return variables


def own_variables() -> dict[str, str]:
    """Variables for the process itself, which cells do not see."""
    variables = {"SLAF_CELL_CRATE": str(_CRATE), "SLAF_CELL_PARENT": str(os.getpid())}
    free = _free_memory()
    if free is not None and "SLAF_CELL_MEMORY" not in os.environ:
        variables["SLAF_CELL_MEMORY"] = str(int(_MEMORY * free))
    return variables


def _free_memory() -> int | None:
    """Bytes that the machine has free, if it tells."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return None
