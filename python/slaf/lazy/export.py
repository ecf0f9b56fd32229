"""Converts a handle to other objects. Values are read once, and buffers are shared where
possible."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from slaf.ground.progress import job
from slaf.lazy.dask_arrays import dask_array
from slaf.lazy.frame import whole
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.sections import Sections
from slaf.lazy.state import HandleState

if TYPE_CHECKING:
    import anndata


class Exports(Sections):
    """The methods that convert a lazy handle to other objects."""

    def to_adata(self, *, dask: bool = False) -> anndata.AnnData:
        """Reads all of this handle into an AnnData in memory. X and layers are CSR; with
        `dask`, they are dask arrays of CSR blocks, read when they are computed, as
        :meth:`LazyExpressionMatrix.to_dask` makes them."""
        with job("reading"):
            return to_adata(self._state, dask=dask)

    compute = to_adata

    def to_memory(self) -> csr_matrix:
        """X as scipy CSR, as in slafdb; `to_adata` returns everything."""
        return self.get_expression_data()

    def get_expression_data(self) -> csr_matrix:
        """X as scipy CSR."""
        if self._x is None:
            return csr_matrix(self.shape, dtype=np.float32)
        return self._csr(None)

    def to_df(self, layer: str | None = None) -> pd.DataFrame:
        """X, or a layer, as a dense DataFrame of cells × genes."""
        return pd.DataFrame(
            self._matrix(layer).toarray(), index=self.obs_names, columns=self.var_names
        )

    def to_arrow(self, layer: str | None = None) -> Any:
        """X, or a layer, as an Arrow table: `cell_id`, and for each cell lists of its
        genes (`gene_integer_id`, list of int32, positions in `var`) and of their values
        (`value`). The lists share the engine's buffers."""
        import pyarrow as pa

        block = self._csr(layer)
        kind = pa.LargeListArray if block.indptr.dtype == np.int64 else pa.ListArray
        offsets = pa.array(block.indptr)
        names = pa.array(np.asarray(self.obs_names, dtype=object), pa.string())
        lists = [kind.from_arrays(offsets, pa.array(v)) for v in (block.indices, block.data)]
        return pa.table({"cell_id": names, "gene_integer_id": lists[0], "value": lists[1]})

    def to_polars(self, layer: str | None = None) -> Any:
        """The same as a Polars DataFrame."""
        import polars as pl

        return pl.from_arrow(self.to_arrow(layer))

    def to_torch(self, layer: str | None = None) -> Any:
        """X, or a layer, as a torch CSR tensor that shares the engine's buffers.

        Raises
        ------
        ImportError
            torch is not installed.
        """
        try:
            import torch
        except ImportError:
            raise ImportError("A torch tensor needs torch: `pip install torch`.") from None
        block = self._csr(layer)
        arrays = (torch.from_numpy(a) for a in (block.indptr, block.indices, block.data))
        return torch.sparse_csr_tensor(*arrays, size=block.shape)

    def _csr(self, layer: str | None) -> csr_matrix:
        return csr_matrix(self._matrix(layer).compute())


def to_adata(
    state: HandleState, *, x: bool = True, layers: bool = True, dask: bool = False
) -> anndata.AnnData:
    """An AnnData in memory with the cells and genes of a handle. `x` and `layers` say
    whether to read X (and raw) and the layers; `dask`, whether these become dask
    arrays."""
    import anndata

    read = dask_array if dask else MatrixPlan.compute
    matrix = state.x if x else None
    arrays = {
        section: {key: state.copied_value(section, key) for key in state.held(section)}
        for section in ("obsm", "varm", "obsp", "varp")
    }
    found = state.held("layers").items() if layers else ()
    adata = anndata.AnnData(
        X=None if matrix is None else read(matrix),
        obs=whole(state.frame("obs")),
        var=whole(state.frame("var")),
        layers={key: read(layer.at(*state.part)) for key, layer in found},
        uns=deepcopy(dict(state.uns)),
        shape=state.shape if matrix is None else None,
        **arrays,
    )
    if x and layers and (raw := state.raw) is not None:
        adata.raw = to_adata(raw, dask=dask)
    return adata
