"""`slaf.scanpy.pp`, `.tl`, `.pl` and `.get`: scanpy's functions for lazy handles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf import get
from slaf.integrations.scanpy import pp, tl

if TYPE_CHECKING:
    from slaf import pl

__all__ = ["get", "pl", "pp", "tl"]


def __getattr__(name: str) -> Any:
    # The only one that needs scanpy to be installed.
    if name == "pl":
        from slaf import pl

        return pl
    raise AttributeError(f"module 'slaf.scanpy' has no attribute {name!r}")
