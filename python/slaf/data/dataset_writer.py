"""Writes a source to a dataset: first X in blocks, then everything else. The dataset is
published in one step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.data.metadata_writer import PartsWriter
from slaf.data.source_check import check
from slaf.data.sources.base import Parts, Source
from slaf.ground import metadata
from slaf.ground.progress import Progress, add_bytes

if TYPE_CHECKING:
    import anndata

#: The types in which values are stored, from narrow to wide.
_VALUE_TYPES = ("uint16", "float32", "float64")

#: An input with at least this many values gets its own fragments.
_OWN_FRAGMENT = 1 << 20


def write(
    source: Source,
    target: str,
    *,
    overwrite: bool,
    by_gene: bool,
    counts: bool | None,
    fragment_rows: int | None,
    options: dict[str, str] | None,
    progress: Progress,
) -> None:
    """Writes `source` to the new dataset `target`."""

    def begin(value_type: str) -> _slaf.Writer:
        return _slaf.Writer(
            target,
            source.x.shape,
            value_type,
            counts=source.counts if counts is None else counts,
            by_gene=by_gene,
            overwrite=overwrite,
            fragment_rows=fragment_rows,
            source=source.fingerprint,
            options=options,
        )

    check(source)
    writer = _fill(begin, source, "cells", progress)
    try:
        parts = PartsWriter(writer, "")
        if source.raw is not None:
            _write_raw(writer, source, by_gene, progress)
            parts.notes["raw"] = "raw"
        _note(parts, source)
        cells, genes, config = parts.of(_rest(source))
        parts.uns_json()
        metadata.warn_of(parts.notices)
        parts.finish(cells, genes, config, _stage("genes", progress))
    except BaseException as error:
        _stop(writer, error, target, source)
        raise


def append(
    source: Source,
    dataset: _slaf.Dataset,
    *,
    begin_at: int,
    notes: Mapping[str, Any],
    by_gene: bool,
    progress: Progress,
) -> None:
    """Appends the cells of `source`, beginning with `begin_at`, to `dataset`, whose
    cells and genes are the first ones of `source`. `notes` are the dataset's."""
    check(source)
    writer = _slaf.Writer.append_to(dataset, source.x.shape, by_gene)
    try:
        _feed(writer, source, begin_at, "cells", progress, final=True)
        # Files that earlier versions read are not changed.
        version = (dataset.version or 0) + 1
        parts = PartsWriter(writer, f"-{version}")
        if source.raw is not None and "raw" in notes:
            _append_raw(source.raw, dataset, notes, begin_at, by_gene, progress)
            parts.notes["raw"] = notes["raw"]
            parts.notes["raw_version"] = dataset.nested(notes["raw"], None).version
        _note(parts, source)
        cells, genes, config = parts.of(_rest(source))
        metadata.warn_of(parts.notices)
        # Graphs of genes stay as they are.
        if "varp" in notes:
            parts.notes["varp"] = notes["varp"]
        for section in ("obsm", "varm", "layers", "obsp"):
            config.setdefault(section, None)
        parts.finish(cells, genes, config, _stage("genes", progress))
    except BaseException:
        writer.discard()
        raise


def _append_raw(
    raw: Source,
    dataset: _slaf.Dataset,
    notes: Mapping[str, Any],
    begin_at: int,
    by_gene: bool,
    progress: Progress,
) -> None:
    inner = dataset.nested(notes["raw"], notes.get("raw_version"))
    inner_notes = json.loads(inner.config).get("slaf", {})
    append(
        raw,
        inner,
        begin_at=begin_at,
        notes=inner_notes,
        by_gene=by_gene,
        progress=lambda _, done, total: progress("raw", done, total),
    )


def _write_raw(writer: _slaf.Writer, source: Source, by_gene: bool, progress: Progress) -> None:
    """Writes `raw` as a dataset of its own inside, with the same cells."""
    raw = source.raw

    def begin(value_type: str) -> _slaf.Writer:
        return writer.nested(
            "raw", raw.x.shape, value_type, by_gene=by_gene, source=source.fingerprint
        )

    inner = _fill(begin, raw, "raw", progress)
    try:
        parts = PartsWriter(inner, "")
        parts.notes["x"] = raw.x.note
        cells, genes, config = parts.of(_rest(raw))
        parts.finish(cells, genes, config, None)
    except BaseException as error:
        _stop(inner, error, "", source)
        raise


def _fill(
    begin: Callable[[str], _slaf.Writer], source: Source, what: str, progress: Progress
) -> _slaf.Writer:
    """A writer that has received all of X. It first expects counts; a value that is not
    a count usually appears in the first block, rarely later."""
    types = list(_VALUE_TYPES)
    while types:
        writer = begin(types[0])
        # An earlier, interrupted conversion may already know.
        types = types[types.index(writer.value_type) + 1 :]
        try:
            if _feed(writer, source, writer.cells_done, what, progress, final=not types):
                return writer
        except BaseException as error:
            _stop(writer, error, "", source)
            raise
        writer.discard()
    raise AssertionError("the widest type refuses for good")


def _feed(
    writer: _slaf.Writer,
    source: Source,
    start: int,
    what: str,
    progress: Progress,
    *,
    final: bool,
) -> bool:
    """Writes the rows from `start` on; returns whether all values could be stored. If
    that was required, a value that does not fit raises an error."""
    done, total = start, source.x.shape[0]
    ends = set(getattr(source.x, "ends", ()))
    progress(what, done, total)
    for block in source.x.blocks(start):
        refused = writer.append(*block)
        if refused is not None:
            if final or refused[3]:
                raise _refusal(source, *refused)
            return False
        add_bytes(sum(array.nbytes for array in block))
        done += len(block[0]) - 1
        if done in ends:
            writer.end_fragment(_OWN_FRAGMENT)
        progress(what, done, total)
    return True


def _refusal(source: Source, cell: int, gene: int, value: str, no_count: bool) -> SlafError:
    adata = source.metadata()
    place = f"`{source.name}`: cell {adata.obs_names[cell]!r}, gene {adata.var_names[gene]!r}"
    if no_count:
        return SlafError(
            f"{place} holds {value}, which is no count, although X is said to hold counts. "
            "If it does not, pass `counts=False` (`--no-counts`)."
        )
    return SlafError(f"{place} holds {value}, which cannot be stored exactly.")


def _stop(writer: _slaf.Writer, error: BaseException, target: str, source: Source) -> None:
    """Suspends a conversion that can be continued; removes any other."""
    broken_line = isinstance(error, OSError) and "://" in target
    if source.fingerprint and (isinstance(error, KeyboardInterrupt) or broken_line):
        writer.suspend()
    else:
        writer.discard()


def _stage(what: str, progress: Progress) -> Callable[[int, int], None]:
    def watch(done: int, total: int) -> None:
        if total:
            progress(what, done, total)

    return watch


def _note(parts: PartsWriter, source: Source) -> None:
    parts.notes["x"] = source.x.note
    if source.source_column is not None:
        parts.notes["source_column"] = source.source_column


def _rest(source: Source) -> Parts | anndata.AnnData:
    """Everything except X. For several inputs, it is joined only now."""
    try:
        return source.rest()
    except (SlafError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
        raise SlafError(
            f"obs, var and the rest of `{source.name}` cannot be read or joined: {reason}. See "
            "whether the inputs hold the same kinds of things under the same names."
        ) from error
