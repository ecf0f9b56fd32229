"""slafdb's module of the same name: `SLAFArray`, and the logo."""

from __future__ import annotations

from slaf.array import SLAFArray

__all__ = ["SLAFArray", "display_ascii_art"]

_LOGO = r"""
   _   _
  (o)_(o)    S L A F
 (  . .  )   single cells, queried in place
  \__-__/
"""


def display_ascii_art() -> None:
    """Prints the logo."""
    print(_LOGO)
