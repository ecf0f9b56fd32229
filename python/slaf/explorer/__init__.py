"""The explorer: the cells of a handle as points, to colour, filter, select and compare.

>>> explorer = slaf.explore(handle)          # doctest: +SKIP
>>> explorer.color_by("CD3D")                # doctest: +SKIP
>>> explorer                                 # doctest: +SKIP
"""

from slaf.explorer.explorer import Explorer

__all__ = ["Explorer"]
