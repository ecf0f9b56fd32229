"""Made-up datasets of any size, for trying things out and measuring them."""

from slaf.data.synthetic import synthetic, write_synthetic

__all__ = ["synthetic", "write_synthetic"]
