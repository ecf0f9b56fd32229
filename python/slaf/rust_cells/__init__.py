"""`%%rust` cells in any IPython: this kernel, ipykernel, a terminal.

    %%rust [--in a,b] [--out c]
    let cells = slaf::get("cells")?;

Cells are compiled and run in a process of their own, which keeps variables,
functions, `use` and `:dep` for later cells. `slaf::get`, `slaf::csr` and `slaf::put`
share frames and matrices with Python and SQL, in memory that both sides map.
`--in` names variables that must exist, `--out` variables that the cell must set.

`%rust --reset` forgets all that cells defined.
"""

from __future__ import annotations

from slaf.rust_cells.magic import load

__all__ = ["load"]
