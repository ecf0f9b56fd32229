"""`SLAFConverter`: converts any single-cell dataset to SLAF, under slafdb's names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.data import dataset_writer
from slaf.data.sources import detect, inputs_in, open_source
from slaf.data.sources.anndata_entries import check_skip
from slaf.data.sources.base import Matrix, Nothing, Source, SparseRows
from slaf.data.sources.by_workers import Opening, read_by_workers
from slaf.data.sources.joined_inputs import grown, many
from slaf.data.sources.mudata import modality_of
from slaf.data.sources.slaf import slaf_source
from slaf.dataset import Dataset
from slaf.ground.progress import Progress, stages
from slaf.ground.workers import current
from slaf.lazy.state import HandleState, OverState, state_of

if TYPE_CHECKING:
    import anndata

Input = str | os.PathLike[str]


class SLAFConverter:
    """Converts datasets to SLAF, and appends to SLAF datasets.

    Everything is kept: X (sparse or dense, of any real dtype), obs and var with categories and
    missing values, obsm, varm, obsp, varp, layers, uns and raw. slafdb opens the result.

    `tiledb_collection_name` and `tiledb_layer_name` are the measurement and the layer of a
    TileDB-SOMA experiment. With `enable_checkpointing=False`, an interrupted conversion starts
    again from the beginning. `max_rows_per_file` limits the rows per fragment. The other
    parameters are accepted for compatibility with slafdb, and ignored.
    """

    def __init__(
        self,
        use_integer_keys: bool = True,
        chunked: bool = True,
        chunk_size: int = 5000,
        sort_metadata: bool = False,
        create_indices: bool = False,
        optimize_storage: bool = True,
        use_optimized_dtypes: bool = True,
        enable_v2_manifest: bool = True,
        compact_after_write: bool = False,
        tiledb_collection_name: str = "RNA",
        tiledb_layer_name: str = "data",
        enable_checkpointing: bool = True,
        max_rows_per_file: int = 100_000_000,
    ):
        self._soma = {"measurement": tiledb_collection_name, "layer": tiledb_layer_name}
        self._resumable = enable_checkpointing
        self._fragment_rows = max_rows_per_file

    def convert(
        self,
        input_path: Input | Sequence[Input],
        output_path: Input,
        input_format: str = "auto",
        skip_validation: bool = False,
        *,
        overwrite: bool = False,
        join: str = "outer",
        unique_cells: bool = False,
        genome: str | None = None,
        modality: str | None = None,
        skip: Sequence[str] = (),
        counts: bool | None = None,
        gene_index: bool = True,
        storage_options: dict[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Converts `input_path` to the dataset `output_path`, which can be a folder or a URL on
        `s3://`, `gs://`, `az://` or `hf://`.

        The input is an h5ad or h5mu file, an AnnData in zarr (a folder or `.zarr.zip`), a 10x
        folder (matrix.mtx) or h5 file, a SLAF dataset, a TileDB-SOMA experiment, or several of
        these: a list, or a folder that contains some. Several inputs become one dataset. Their
        genes are matched by id, and the column `source_file` says where a cell is from
        (`source_file_1`, if an input already has a column of that name). A column that is text
        in one input and numbers in another becomes text.

        If a conversion is interrupted, run it again to continue where it stopped. Until it is
        complete, there is no dataset at `output_path`.

        Parameters
        ----------
        input_format
            "h5ad", "h5mu", "zarr", "10x_mtx", "10x_h5", "slaf" or "tiledb"; detected if "auto".
        overwrite
            Replace what is at `output_path`, once the new dataset is complete.
        join
            For several inputs: keep the genes that any of them has ("outer") or that all have
            ("inner").
        unique_cells
            Append the number of its input to each cell id.
        genome
            The genome to convert, if a 10x h5 file has several.
        modality
            The modality of a MuData file to convert, such as "rna".
        skip
            Entries of h5ad, h5mu and zarr inputs to leave out, such as "obsm/airr" or
            "uns/neighbors".
        counts
            Raise an error if X contains anything but counts. This is the default for 10x files.
        gene_index
            Also write a copy of X sorted by gene, so that reading a gene is fast.
        storage_options
            Credentials and settings of the object store; by default from the environment.
        progress
            Called with the current step, how much of it is done, and its total.

        Raises
        ------
        FileNotFoundError
            There is no such input.
        FileExistsError
            `output_path` exists, and `overwrite` is not set.
        SlafError
            The input's format is unknown, or it is damaged, or it cannot be stored.
        OSError
            The storage cannot be reached or is full.
        """
        target = os.fspath(output_path)
        refuse_existing(target, overwrite, storage_options)
        source = self._open(
            input_path,
            input_format,
            join,
            unique_cells,
            genome=genome,
            modality=modality,
            skip=skip,
            options=storage_options,
        )
        try:
            self._write(source, target, overwrite, gene_index, counts, storage_options, progress)
        finally:
            source.close()

    def convert_anndata(
        self,
        adata: anndata.AnnData,
        output_path: Input,
        *,
        modality: str | None = None,
        overwrite: bool = False,
        counts: bool | None = None,
        gene_index: bool = True,
        storage_options: dict[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Converts an AnnData object, or a modality of a MuData object. Parameters and
        errors as for :meth:`convert`."""
        self._write(
            _memory_source(modality_of(adata, modality)),
            os.fspath(output_path),
            overwrite,
            gene_index,
            counts,
            storage_options,
            progress,
        )

    def convert_handle(
        self,
        handle: OverState,
        output_path: Input,
        *,
        overwrite: bool = False,
        gene_index: bool = True,
        storage_options: dict[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Copies the cells and genes of a lazy handle, in its order, to a new dataset.
        Errors as for :meth:`convert`."""
        self._write(
            slaf_source(state_of(handle)),
            os.fspath(output_path),
            overwrite,
            gene_index,
            None,
            storage_options,
            progress,
        )

    def append(
        self,
        input_path: Input | Sequence[Input],
        existing_slaf_path: Input,
        input_format: str = "auto",
        *,
        join: str = "outer",
        unique_cells: bool = False,
        genome: str | None = None,
        modality: str | None = None,
        skip: Sequence[str] = (),
        storage_options: dict[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Appends the cells of `input_path` to a dataset, as a new version that appears in one
        step. Whoever has the dataset open keeps the old version.

        Genes are matched by id. New genes are added after the existing ones (`join="outer"`) or
        left out (`join="left"`).

        Raises
        ------
        SlafError
            A cell id already exists, or a value does not fit the dataset's value type;
            otherwise as for :meth:`convert`.
        """
        if join not in ("outer", "left"):
            raise SlafError(f"join is 'outer' or 'left' in an append, not {join!r}.")
        dataset = Dataset.open(existing_slaf_path, options=storage_options)
        old = slaf_source(HandleState.of_dataset(dataset))
        new = self._open(
            input_path,
            input_format,
            "outer",
            unique_cells,
            genome=genome,
            modality=modality,
            skip=skip,
            options=storage_options,
        )
        try:
            both = grown(old, new, join=join)
            gene_index, _ = dataset.engine.companions()
            with stages(progress) as report:
                dataset_writer.append(
                    both,
                    dataset.engine,
                    begin_at=dataset.shape[0],
                    notes=dataset.notes,
                    by_gene=gene_index,
                    progress=report,
                )
        finally:
            new.close()

    def _open(
        self,
        inputs: Input | Sequence[Input],
        input_format: str,
        join: str,
        unique_cells: bool,
        *,
        skip: Sequence[str],
        **options: Any,
    ) -> Source:
        if join not in ("outer", "inner"):
            raise SlafError(f"join is 'outer' or 'inner', not {join!r}.")
        paths = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
        paths = [os.path.expanduser(path) for path in paths]
        several = not isinstance(inputs, (str, os.PathLike))
        if not several and input_format == "auto" and _is_collection(paths[0]):
            folder, several = paths[0], True
            paths = inputs_in(folder)
            if not paths:
                raise SlafError(
                    f"`{os.fspath(folder)}` holds nothing that can be converted: no h5ad or h5 "
                    "file, no 10x folder, no dataset."
                )
        if not paths:
            raise SlafError("There is nothing to convert: the list of inputs is empty.")
        skip = [skip] if isinstance(skip, str) else list(skip)
        skip = sorted({name.strip("/") for name in skip})
        sources = []
        try:
            for path in paths:
                opening = {"skip": tuple(skip), **options, **self._soma}
                source = open_source(path, input_format, **opening)
                if current() is not None:
                    del opening["options"]
                    how = Opening(os.fspath(path), input_format, tuple(opening.items()))
                    source = read_by_workers(source, how)
                sources.append(source)
            if skip:
                check_skip(skip, [source.entries() for source in sources])
            for source in sources:
                source.check()
        except BaseException:
            for source in sources:
                source.close()
            raise
        return many(sources, join=join, unique_cells=unique_cells) if several else sources[0]

    def _write(
        self,
        source: Source,
        target: str,
        overwrite: bool,
        gene_index: bool,
        counts: bool | None,
        options: dict[str, str] | None,
        progress: Progress | None,
    ) -> None:
        if not self._resumable:
            source.fingerprint = None
        with stages(progress) as report:
            dataset_writer.write(
                source,
                target,
                overwrite=overwrite,
                by_gene=gene_index,
                counts=counts,
                fragment_rows=self._fragment_rows,
                options=options,
                progress=report,
            )


def refuse_existing(target: str, overwrite: bool, options: dict[str, str] | None) -> None:
    """Raises FileExistsError before any work is done."""
    if not overwrite and _slaf.exists(target, options):
        raise FileExistsError(
            f"`{target}` exists already. Choose another name, or overwrite it "
            "(`overwrite=True`, `--overwrite`)."
        )


def _is_collection(path: Input) -> bool:
    """Whether a folder is not an input itself."""
    if "://" in os.fspath(path) or not Path(path).is_dir():
        return False
    try:
        detect(os.fspath(path))
    except SlafError:
        return True
    return False


def _memory_source(adata: anndata.AnnData) -> Source:
    """A source for an AnnData in memory, or for a backed one."""
    import anndata

    def metadata() -> anndata.AnnData:
        # In anndata 0.13, X is the layer without a name.
        layers = {k: v for k, v in adata.layers.items() if k is not None}
        return anndata.AnnData(
            obs=adata.obs,
            var=adata.var,
            obsm=dict(adata.obsm),
            varm=dict(adata.varm),
            obsp=dict(adata.obsp),
            varp=dict(adata.varp),
            layers=layers,
            uns=dict(adata.uns),
        )

    raw = None
    if adata.raw is not None:

        def raw_metadata() -> anndata.AnnData:
            obs = pd.DataFrame(index=adata.obs_names)
            return anndata.AnnData(obs=obs, var=adata.raw.var, varm=dict(adata.raw.varm))

        raw = Source(name="raw", x=_memory_matrix(adata.raw), metadata=raw_metadata)
    return Source(
        name=str(adata.filename) if adata.isbacked else "the AnnData object",
        x=_memory_matrix(adata),
        metadata=metadata,
        raw=raw,
    )


def _memory_matrix(adata: anndata.AnnData | anndata.Raw) -> Matrix:
    """X of an AnnData or of its raw. If a backed file was closed, anndata opens it
    again."""
    try:
        x = adata.X
    except KeyError:  # anndata's error for a file without X
        x = None
    return Nothing(adata.shape) if x is None else SparseRows(_by_rows(x), adata.shape, _note(x))


def _note(x) -> dict[str, str]:
    return {"dtype": x.dtype.name, "encoding": getattr(x, "format", "dense")}


def _by_rows(x):
    """Converts a CSC matrix to CSR, because X is read by rows."""
    if getattr(x, "format", "csr") == "csc":
        return (x.to_memory() if hasattr(x, "to_memory") else x).tocsr()
    return x
