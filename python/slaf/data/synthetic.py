"""Synthetic cells with the statistics of real ones, for benchmarks and for notebooks
without a download. Any number of cells, in memory or written directly to an h5ad file.

Counts are negative binomial, and drawn without a dense matrix. A negative binomial is a
Poisson number of clusters with logarithmically distributed sizes (Quenouille,
Biometrics 5, 1949). The clusters of a gene in a group of cells are one Poisson draw,
distributed to the cells by their depth. So the work depends on the number of stored
values, not on cells times genes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from anndata.io import write_elem
from scipy import sparse
from scipy.special import ndtri

if TYPE_CHECKING:
    import h5py

# Fitted to neurons_10k_1k.h5ad (10x Genomics, 10,000 mouse neurons, the first 1,000 genes, of
# chromosome 1) and, for depth and dispersion, also to a dataset in Cell Ranger 3's format
# (1,107 human cells, the 507 genes of chromosome 21).

#: Log of a gene's mean count: weights, means and standard deviations of a mixture of
#: two normals. The first part are transcripts that hardly any cell has. 28.5 % of the
#: genes are undetected.
_UNDETECTED = 0.285
_MEAN_PARTS, _MEAN_LOG, _MEAN_SD = (0.381, 0.619), (-7.69, -2.37), (1.24, 1.56)

#: Standard deviation of the log of a cell's depth, without the variance of sampling:
#: 0.63 in the neurons, which have a tail of poor cells, and 0.55 in the other dataset.
_DEPTH_SD = 0.55

#: Dispersion φ of variance = μ + φμ², for genes with a mean above 0.2: the median, and
#: the deviation of the log at the upper quartile.
_DISPERSION, _DISPERSION_SD = 0.15, 1.7

#: The neurons have 69 stored values per 1,000 genes. With this factor on the means
#: there are 48, which is 1,200 per cell with 25,000 genes, as in shallower public
#: datasets.
_SCALE = 0.47

# What these files cannot show, with usual values: 5 % of a cell's counts are mitochondrial,
# and 2 % of the genes are markers of a type, with a fold change of about 8.
_MT_SHARE, _MT_SD = 0.05, 0.5
_MARKERS, _MARKER_LOG, _MARKER_SD, _TYPE_SD = 0.02, 2.1, 0.6, 0.3
_BATCH_SD = 0.15

_MT = [
    *("MT-ND1", "MT-ND2", "MT-CO1", "MT-CO2", "MT-ATP8", "MT-ATP6", "MT-CO3"),
    *("MT-ND3", "MT-ND4L", "MT-ND4", "MT-ND5", "MT-ND6", "MT-CYB"),
]
_RIBOSOMAL = [
    *("RPL3", "RPL5", "RPL7", "RPL10", "RPL11", "RPL13", "RPL19", "RPL31", "RPL37A", "RPLP1"),
    *("RPS2", "RPS3", "RPS4X", "RPS6", "RPS8", "RPS12", "RPS14", "RPS18", "RPS24", "RPS27"),
]

#: Cells per random seed; changing this changes the data.
_BLOCK = 2048


def synthetic(
    n_obs: int = 50_000,
    n_vars: int = 25_000,
    *,
    seed: int = 0,
    n_types: int = 12,
    n_batches: int = 4,
) -> ad.AnnData:
    """Counts of `n_obs` cells by `n_vars` genes, similar to 10x data.

    The first cells are the same for any `n_obs`. They may differ between versions of
    NumPy.

    Returns
    -------
    AnnData
        `X` is CSR of float32 whole numbers with int32 indices in order, about 4.8 % of
        it stored. `obs` has `cell_type` and `batch` (categorical), `donor` (strings,
        two of a batch), `total_counts` and `pct_mt` (float32), `n_genes` (int64). `var`
        has `gene_ids` (ENSG numbers, invented); 20 genes are named RPL or RPS, and the
        last 13 MT-. `obsm` has `X_pca` (n_obs, 50) and `X_umap` (n_obs, 2), float32: a
        centre per type plus noise, not computed from `X`.

    Raises
    ------
    ValueError
        `n_obs`, `n_types` or `n_batches` is below 1, or `n_vars` below 50.
    """
    model = _Model(n_obs, n_vars, seed, n_types, n_batches)
    blocks = list(model.blocks())
    x = sparse.vstack([block.x for block in blocks], format="csr")
    obs, obsm = _annotations(model, blocks)
    return ad.AnnData(x, obs=obs, var=model.var, obsm=obsm)


def write_synthetic(
    path: str | os.PathLike[str],
    n_obs: int = 50_000,
    n_vars: int = 25_000,
    *,
    seed: int = 0,
    compression: str | None = None,
    n_types: int = 12,
    n_batches: int = 4,
) -> None:
    """Writes the cells of `synthetic` to the h5ad file `path`; an existing file is
    replaced.

    X is written in blocks of cells, so that memory holds little more than obs and obsm
    (about 400 bytes per cell). Encodings and chunks are those of `AnnData.write_h5ad`.
    `compression` is "gzip" (level 4), "lzf" or None.

    Raises
    ------
    ValueError
        As for `synthetic`.
    OSError
        The file cannot be written.
    """
    import h5py

    model = _Model(n_obs, n_vars, seed, n_types, n_batches)
    kwargs = {"compression": compression} if compression else {}
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with h5py.File(partial, "w") as file:
            file.attrs["encoding-type"] = "anndata"
            file.attrs["encoding-version"] = "0.1.0"
            obs, obsm = _annotations(model, _write_x(file, model, kwargs))
            write_elem(file, "obs", obs, dataset_kwargs=kwargs)
            write_elem(file, "var", model.var, dataset_kwargs=kwargs)
            write_elem(file, "obsm", obsm, dataset_kwargs=kwargs)
            for name in ("varm", "obsp", "varp", "layers", "uns"):
                write_elem(file, name, {}, dataset_kwargs=kwargs)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class _Block(NamedTuple):
    """A block of cells: counts, and the input for obs and obsm in `_annotations`."""

    x: sparse.csr_matrix | None
    cell_type: np.ndarray
    batch: np.ndarray
    donor: np.ndarray
    quality: np.ndarray  # (cells, 3): total_counts, n_genes, pct_mt
    pca: np.ndarray
    umap: np.ndarray


class _Model:
    """What all cells share: the genes, and their means by type and batch."""

    def __init__(self, n_obs: int, n_vars: int, seed: int, n_types: int, n_batches: int) -> None:
        if min(n_obs, n_types, n_batches) < 1:
            raise ValueError("A dataset needs at least one cell, one type and one batch.")
        if n_vars < 50:
            raise ValueError(f"{n_vars} genes are too few: give 50 or more.")
        self.shape, self.seed = (n_obs, n_vars), seed
        self.n_types, self.n_batches = n_types, n_batches
        rng = np.random.default_rng([seed, 0])
        nuclear = n_vars - len(_MT)
        means = np.r_[_gene_means(nuclear), rng.lognormal(0, 0.8, len(_MT))]
        # The ribosomal genes have the highest means; the others are in random order.
        named = rng.choice(nuclear, len(_RIBOSOMAL), replace=False)
        others = np.setdiff1d(np.arange(nuclear), named)
        order = np.empty(nuclear, np.int64)
        order[named] = np.arange(nuclear)[::-1][: len(named)]
        order[others] = rng.permutation(nuclear - len(named))
        means[:nuclear] = means[order]
        dispersion = rng.lognormal(np.log(_DISPERSION), _DISPERSION_SD, n_vars)
        self.dispersion = np.minimum(dispersion, 10)
        self.dispersion[nuclear:] = _DISPERSION
        by_type = rng.normal(0, _TYPE_SD, (n_types, n_vars))
        # Markers are neither among the top genes nor among the undetected ones.
        able = np.flatnonzero((means[:nuclear] > 0.002) & (means[:nuclear] < 1))
        for effects in by_type:
            markers = rng.choice(able, max(1, int(_MARKERS * n_vars)))
            effects[markers] += rng.normal(_MARKER_LOG, _MARKER_SD, len(markers))
        self.by_type = means * np.exp(by_type)
        of_type = self.by_type.mean(0)
        share = _MT_SHARE / (1 - _MT_SHARE)
        self.by_type[:, nuclear:] *= share * of_type[:nuclear].sum() / of_type[nuclear:].sum()
        self.by_batch = rng.lognormal(0, _BATCH_SD, (n_batches, n_vars))
        self.frequency = rng.dirichlet(np.full(n_types, 4.0))
        self.centres = rng.normal(0, 5, (n_types, 50)) * 0.93 ** np.arange(50)
        self.umap_centres = rng.uniform(-12, 12, (n_types, 2))
        names = np.array([f"Gene{i}" for i in range(nuclear)] + _MT, dtype=object)
        names[named] = _RIBOSOMAL
        ids = np.sort(rng.choice(max(1_000_000, n_vars), n_vars, replace=False))
        self.var = pd.DataFrame({"gene_ids": [f"ENSG{i:011d}" for i in ids]}, index=names)

    def blocks(self) -> Iterator[_Block]:
        for number in range(-(-self.shape[0] // _BLOCK)):
            yield self._block(number)

    def _block(self, number: int) -> _Block:
        rng = np.random.default_rng([self.seed, 1, number])
        # The last, shorter block is drawn in full, so its cells do not depend on `n_obs`.
        cell_type = rng.choice(self.n_types, _BLOCK, p=self.frequency)
        batch = rng.integers(0, self.n_batches, _BLOCK)
        donor = 2 * batch + rng.integers(0, 2, _BLOCK)
        x = self._counts(rng, cell_type, batch)
        noise = rng.standard_normal((_BLOCK, 50), np.float32) * np.float32(1.2)
        pca = self.centres[cell_type].astype(np.float32) + noise * 0.97 ** np.arange(50, dtype="f4")
        umap = (self.umap_centres[cell_type] + rng.normal(0, 1, (_BLOCK, 2))).astype(np.float32)
        keep = slice(0, min(_BLOCK, self.shape[0] - number * _BLOCK))
        x = x[keep]
        total = np.asarray(x.sum(1, dtype=np.float64)).ravel()
        mt = np.asarray(x[:, -len(_MT) :].sum(1, dtype=np.float64)).ravel()
        percent = 100 * mt / np.maximum(total, 1)
        quality = np.column_stack([total, np.diff(x.indptr), percent])
        return _Block(x, cell_type[keep], batch[keep], donor[keep], quality, pca[keep], umap[keep])

    def _counts(
        self, rng: np.random.Generator, cell_type: np.ndarray, batch: np.ndarray
    ) -> sparse.csr_matrix:
        n_vars = self.shape[1]
        depth = rng.lognormal(-(_DEPTH_SD**2) / 2, _DEPTH_SD, _BLOCK)
        mt_depth = depth * rng.lognormal(-(_MT_SD**2) / 2, _MT_SD, _BLOCK)
        nuclear = n_vars - len(_MT)
        rows, columns, sizes = [], [], []
        group = cell_type * self.n_batches + batch
        for label in np.unique(group):
            cells = np.flatnonzero(group == label)
            means = self.by_type[label // self.n_batches] * self.by_batch[label % self.n_batches]
            for first, last, depths in ((0, nuclear, depth), (nuclear, n_vars, mt_depth)):
                cell, gene, size = _clusters(
                    rng, means[first:last], self.dispersion[first:last], depths[cells]
                )
                rows.append(cells[cell])
                columns.append(gene + first)
                sizes.append(size)
        # scipy keeps the ascending order of a row's genes, and sums repeats.
        parts = (np.concatenate(a).astype(np.int32) for a in (rows, columns))
        values = np.concatenate(sizes).astype(np.float32)
        return sparse.coo_matrix((values, tuple(parts)), shape=(_BLOCK, n_vars)).tocsr()


def _clusters(
    rng: np.random.Generator, means: np.ndarray, dispersion: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cell, gene and size of clusters whose sums are negative binomial with means
    depth × means.

    On average, a cell has log(1 + φμ) / φ clusters of a gene. That is not proportional
    to its depth, so μ clusters are drawn and the excess is removed at random.
    """
    edges = np.cumsum(depth)
    number = rng.poisson(means * edges[-1])
    gene = np.repeat(np.arange(len(means), dtype=np.int32), number)
    cell = np.searchsorted(edges, rng.random(len(gene)) * edges[-1], side="right")
    cell = np.minimum(cell, len(depth) - 1)
    odds = depth[cell] * (means * dispersion)[gene]
    kept = rng.random(len(gene), np.float32) * odds < np.log1p(odds)
    cell, gene, odds = cell[kept], gene[kept], odds[kept]
    return cell, gene, rng.logseries(odds / (1 + odds))


def _gene_means(n: int) -> np.ndarray:
    """Mean counts of `n` genes, ascending: evenly spaced quantiles of a mixture, so
    that a few genes have realistic densities, too."""
    silent = round(_UNDETECTED * n)
    low = round(_MEAN_PARTS[0] * (n - silent))
    logs = [
        mean + sd * ndtri((np.arange(count) + 0.5) / count)
        for count, mean, sd in zip((low, n - silent - low), _MEAN_LOG, _MEAN_SD, strict=True)
    ]
    return np.sort(np.r_[np.zeros(silent), _SCALE * np.exp(np.concatenate(logs))])


def _barcodes(n: int) -> np.ndarray:
    """Distinct sequences of 16 bases: the numbers 1…n times an odd constant."""
    mixed = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(2_654_435_769) % np.uint64(1 << 32)
    bases = np.frombuffer(b"ACGT", np.uint8)
    shifts = np.arange(30, -1, -2, dtype=np.uint64)
    letters = np.empty((n, 16), np.uint8)
    for place, shift in enumerate(shifts):
        letters[:, place] = bases[(mixed >> shift & np.uint64(3)).astype(np.intp)]
    return letters.view("S16").ravel()


def _annotations(
    model: _Model, blocks: Iterable[_Block]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """obs and obsm of the cells."""
    _, cell_type, batch, donor, quality, pca, umap = zip(*blocks, strict=True)
    cell_type, batch, donor = (np.concatenate(a) for a in (cell_type, batch, donor))
    total, genes, percent = np.concatenate(quality).T
    donors = np.array([f"donor{i + 1}" for i in range(2 * model.n_batches)], dtype=object)

    def category(codes: np.ndarray, name: str, n: int) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, [f"{name}{i + 1:02d}" for i in range(n)])

    obs = pd.DataFrame(
        {
            "cell_type": category(cell_type, "type", model.n_types),
            "batch": category(batch, "batch", model.n_batches),
            "donor": donors[donor],
            "total_counts": total.astype(np.float32),
            "n_genes": genes.astype(np.int64),
            "pct_mt": percent.astype(np.float32),
        },
        index=pd.Index([f"{code.decode()}-1" for code in _barcodes(len(batch))], dtype=object),
    )
    return obs, {"X_pca": np.concatenate(pca), "X_umap": np.concatenate(umap)}


def _write_x(file: h5py.File, model: _Model, kwargs: dict[str, str]) -> Iterator[_Block]:
    """Appends X of the blocks as they arrive, and passes them on without X."""
    group = file.create_group("X")
    group.attrs["encoding-type"] = "csr_matrix"
    group.attrs["encoding-version"] = "0.1.0"
    group.attrs["shape"] = model.shape
    lengths: list[np.ndarray] = []
    end = 0
    for block in model.blocks():
        x = block.x
        if not lengths:
            chunks = _chunks(x.nnz * model.shape[0] // x.shape[0])
            growing = {"shape": (0,), "maxshape": (None,), "chunks": chunks, **kwargs}
            data = group.create_dataset("data", dtype=np.float32, **growing)
            indices = group.create_dataset("indices", dtype=np.int32, **growing)
        begin, end = end, end + x.nnz
        for dataset, values in ((data, x.data), (indices, x.indices)):
            dataset.resize((end,))
            dataset[begin:end] = values
        lengths.append(np.diff(x.indptr))
        yield block._replace(x=None)
    dtype = np.int32 if end <= np.iinfo(np.int32).max else np.int64
    indptr = np.r_[0, np.cumsum(np.concatenate(lengths), dtype=np.int64)].astype(dtype)
    group.create_dataset("indptr", data=indptr, maxshape=(None,), **kwargs)


def _chunks(n: int) -> tuple[int]:
    """The chunk size that h5py, and so anndata, chooses for `n` values of 4 bytes."""
    import h5py

    with h5py.File("chunks", "w", driver="core", backing_store=False) as file:
        return file.create_dataset("x", shape=(max(1, n),), maxshape=(None,), dtype="f4").chunks
