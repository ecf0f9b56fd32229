"""`%%rust` in any IPython: our kernel, a plain ipykernel, a terminal.

    %%rust [--in a,b] [--out c]
    let cells = slaf::get("cells")?;

A cell is compiled and runs in a process of its own, which keeps its variables,
functions, `use` and `:dep` for the next. `slaf::get`, `slaf::csr` and `slaf::put`
share frames and matrices with Python and SQL, in memory that both sides map.
`--in` and `--out` only say so beforehand: the names must exist, and be made.

`%rust --reset` begins anew.
"""

from __future__ import annotations

from slaf.rust_cells.magic import load

__all__ = ["load"]
