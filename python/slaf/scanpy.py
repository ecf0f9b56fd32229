"""`slaf.scanpy.pp` and `slaf.scanpy.tl`: scanpy's names on lazy handles."""

from slaf.integrations.scanpy import pp, tl

__all__ = ["pp", "tl"]
