"""Synthetic datasets of any size, to try things out and to measure them."""

from slaf.data.synthetic import synthetic, write_synthetic

__all__ = ["synthetic", "write_synthetic"]
