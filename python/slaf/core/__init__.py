"""slafdb's package of the same name: datasets, their rows, and the tools around
SQL, under the names that code written for slafdb imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.core.tabular_schema import SLAF_LANCE_COO_SCHEMA, DataSchema

if TYPE_CHECKING:
    from slaf.array import SLAFArray

__all__ = ["SLAF_LANCE_COO_SCHEMA", "DataSchema", "SLAFArray"]


def __getattr__(name: str) -> Any:
    # `slaf.array` uses this package, so it cannot be imported with it.
    if name == "SLAFArray":
        from slaf.array import SLAFArray

        return SLAFArray
    raise AttributeError(f"module 'slaf.core' has no attribute {name!r}")
