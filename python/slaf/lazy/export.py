"""A handle as something else: read once, and shared where the other side can
hold the same buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import anndata

    from slaf.lazy.handle import LazyAnnData


def to_adata(handle: LazyAnnData, *, x: bool = True, layers: bool = True) -> anndata.AnnData:
    """A real AnnData of what the handle shows; `x` and `layers` say whether
    those are read too, and then raw is."""
    import anndata

    matrix = handle._x if x else None
    part = handle._part
    found = handle._content.layers.items() if layers else ()
    adata = anndata.AnnData(
        X=None if matrix is None else matrix.compute(),
        obs=handle.obs._whole().copy(),
        var=handle.var._whole().copy(),
        obsm=dict(handle.obsm),
        varm=dict(handle.varm),
        obsp=dict(handle.obsp),
        varp=dict(handle.varp),
        layers={key: layer._at(*part).compute() for key, layer in found},
        uns=dict(handle.uns),
        shape=handle.shape if matrix is None else None,
    )
    if x and layers and (raw := handle.raw) is not None:
        adata.raw = to_adata(raw)
    return adata


def to_arrow(handle: LazyAnnData, layer: str | None = None) -> Any:
    """X or a layer as an Arrow table: `cell_id`, and for each cell the numbers
    of its genes (`gene_integer_id`, list of int32, positions in `var`) and their
    values (`value`). The lists are over the engine's buffers."""
    import pyarrow as pa

    matrix = handle._x if layer is None else handle.layers[layer]
    block = sparse.csr_matrix(matrix.compute())
    wide = block.indptr.dtype == np.int64
    kind = pa.LargeListArray if wide else pa.ListArray
    offsets = pa.array(block.indptr)
    names = pa.array(np.asarray(handle.obs_names, dtype=object), pa.string())
    lists = [kind.from_arrays(offsets, pa.array(v)) for v in (block.indices, block.data)]
    return pa.table({"cell_id": names, "gene_integer_id": lists[0], "value": lists[1]})


def to_torch(handle: LazyAnnData, layer: str | None = None) -> Any:
    """X or a layer as a torch CSR tensor over the engine's buffers.

    Raises
    ------
    ImportError
        torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("A torch tensor needs torch: `pip install torch`.") from None
    matrix = handle._x if layer is None else handle.layers[layer]
    block = sparse.csr_matrix(matrix.compute())
    arrays = (torch.from_numpy(a) for a in (block.indptr, block.indices, block.data))
    return torch.sparse_csr_tensor(*arrays, size=block.shape)
