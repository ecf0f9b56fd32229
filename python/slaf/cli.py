"""The command `slaf`."""

from __future__ import annotations

import argparse
import sys
import time

from slaf._slaf import nearest
from slaf.ground.hints import did_you_mean
from slaf.kernel.cli import kernel_commands

_EPILOG = """\
Datasets and files are local paths, or addresses on s3://, gs://, az:// and
hf://; credentials come from the environment, as the cloud's own tools read
them (AWS_PROFILE, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, …).

examples:
  slaf convert pbmc.h5ad pbmc.slaf
  slaf convert sample1/ sample2/ sample3/ s3://atlas/all.slaf --join inner
  slaf append new_donor.h5ad s3://atlas/all.slaf
  slaf info pbmc.slaf
  slaf query pbmc.slaf "SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain"
  slaf export pbmc.slaf b_cells.h5ad --cells "louvain = 'B cells'"

`slaf COMMAND --help` says more. Exit codes: 0 done, 1 not done (the reason is
on stderr), 2 wrong usage, 130 interrupted.
"""

_CONVERT = """\
INPUT is an h5ad, h5mu or zarr AnnData, a 10x h5 file, a folder or prefix of
matrix.mtx, barcodes.tsv and features.tsv (10x, GEO), an output folder of
STARsolo, kb, alevin-fry or Parse, a SLAF dataset, a TileDB-SOMA experiment, or
a folder that holds some of them. Several become one dataset: genes are aligned
by id, and `source_file` says where a cell is from (`source_file_1`, if obs has
such a column already).

Nothing can be opened at OUTPUT before it is whole. A conversion that was
interrupted goes on where it was when it is run again.

examples:
  slaf convert pbmc.h5ad pbmc.slaf
  slaf convert filtered_feature_bc_matrix/ sample.slaf
  slaf convert GSM123_sampleA_ a.slaf
  slaf convert pbmc.h5mu rna.slaf --modality rna
  slaf convert runs/ all.slaf --join inner --unique-cells
  slaf convert all.slaf t_cells.slaf --cells "cell_type = 'T cell'"
  slaf convert all.slaf shuffled.slaf --shuffle 0
"""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; exits with 1 and a sentence where it fails."""
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
    except (OSError, ValueError, IndexError) as error:
        print(f"slaf: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("slaf: interrupted.", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slaf",
        description="Single-cell datasets, queried in place.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, summary: str, epilog: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    convert = command("convert", _convert, "make a dataset", _CONVERT)
    convert.add_argument("input", nargs="+")
    convert.add_argument("output", help="the dataset to make")
    _input_options(convert)
    convert.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    convert.add_argument(
        "--join",
        choices=["outer", "inner"],
        default="outer",
        help="of several inputs, the genes of any (outer) or of all (inner)",
    )
    convert.add_argument(
        "--counts",
        action=argparse.BooleanOptionalAction,
        help="refuse X if it holds anything but counts (by default, 10x files)",
    )
    convert.add_argument(
        "--no-gene-index", action="store_true", help="do not write X in the order of genes, too"
    )
    convert.add_argument(
        "--cells", metavar="SQL", help="of a dataset, the cells for which it holds"
    )
    convert.add_argument(
        "--shuffle", metavar="SEED", type=int, help="of a dataset, its cells in random order"
    )

    append = command(
        "append",
        _append,
        "add cells to a dataset, as a new version of it",
        "examples:\n  slaf append donor7.h5ad atlas.slaf\n"
        "  slaf append donor8.h5ad donor9.h5ad atlas.slaf --join left\n",
    )
    append.add_argument("input", nargs="+")
    append.add_argument("dataset")
    _input_options(append)
    append.add_argument(
        "--join",
        choices=["outer", "left"],
        default="outer",
        help="add genes that the dataset lacks (outer) or leave them out (left)",
    )

    info = command(
        "info", _info, "say what a dataset holds", "examples:\n  slaf info s3://atlas/all.slaf\n"
    )
    info.add_argument("dataset")
    _version_option(info)

    query = command(
        "query",
        _query,
        "answer a SQL question",
        "examples:\n"
        '  slaf query pbmc.slaf "SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain"\n'
        '  slaf query pbmc.slaf "SELECT * FROM genes" --output genes.csv\n'
        '  slaf query pbmc.slaf "SELECT COUNT(*) FROM cells WHERE batch = \\$b" --value b=batch1\n'
        '  slaf query pbmc.slaf "EXPLAIN SELECT SUM(value) FROM expression"\n',
    )
    query.add_argument("dataset")
    query.add_argument("sql", help="statements over cells, genes and expression; see docs/sql.md")
    query.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of $NAME: a number if it is one, and text otherwise",
    )
    query.add_argument("--memory", help="memory before it spills to disk, such as 2GB")
    query.add_argument("-l", "--limit", type=int, default=10, help="rows printed (0: all)")
    query.add_argument("-o", "--output", help="write all rows to this CSV file instead")
    query.add_argument("--engine", choices=["polars", "datafusion"])
    _version_option(query)

    validate = command(
        "validate",
        _validate,
        "read a whole dataset and compare everything that is stored twice",
        "Exits with 1 if something is wrong.\n\nexamples:\n  slaf validate atlas.slaf\n",
    )
    validate.add_argument("dataset")
    _version_option(validate)

    index = command(
        "index",
        _index,
        "write X in the order of genes, and the sums of cells and genes, anew; or an index of "
        "vectors",
        "examples:\n  slaf index atlas.slaf\n"
        "  slaf index atlas.slaf --vector X_pca --metric cosine\n",
    )
    index.add_argument("dataset")
    index.add_argument("--no-gene-index", action="store_true", help="only the sums")
    index.add_argument("--vector", metavar="KEY", help="an embedding in obsm or varm, instead")
    index.add_argument("--metric", choices=["l2", "cosine", "dot"], default="l2")
    index.add_argument(
        "--partitions",
        type=int,
        metavar="N",
        help="of the vectors (default: the root of their number)",
    )

    shuffle = command(
        "shuffle",
        _shuffle,
        "copy a dataset with its cells in random order",
        "Reading the copy in order is a true shuffle.\n\nexamples:\n"
        "  slaf shuffle atlas.slaf shuffled.slaf --seed 1\n",
    )
    shuffle.add_argument("dataset")
    shuffle.add_argument("output", help="the dataset to make")
    shuffle.add_argument("--seed", type=int, default=0, help="of the order (default: 0)")
    shuffle.add_argument("--overwrite", action="store_true", help="replace an existing dataset")

    repair = command(
        "repair",
        _repair,
        "mend row offsets that slafdb wrote wrongly",
        "examples:\n  slaf repair old.slaf\n",
    )
    repair.add_argument("dataset")

    history = command(
        "history", _history, "list a dataset's versions", "examples:\n  slaf history atlas.slaf\n"
    )
    history.add_argument("dataset")

    vacuum = command(
        "vacuum",
        _vacuum,
        "remove old versions, and what died writers have left",
        "examples:\n  slaf vacuum atlas.slaf\n  slaf vacuum atlas.slaf --keep 3\n",
    )
    vacuum.add_argument("dataset")
    vacuum.add_argument("--keep", type=int, default=1, help="versions that stay (default: 1)")

    export = command(
        "export",
        _export,
        "write an h5ad file, in bounded memory",
        "examples:\n  slaf export pbmc.slaf pbmc.h5ad --compression gzip\n"
        "  slaf export pbmc.slaf b_cells.h5ad --cells \"louvain = 'B cells'\"\n",
    )
    export.add_argument("dataset")
    export.add_argument("output", help="the h5ad file")
    export.add_argument("--overwrite", action="store_true", help="replace an existing file")
    export.add_argument("--compression", choices=["gzip", "lzf"])
    export.add_argument("--cells", metavar="SQL", help="only the cells for which it holds")
    _version_option(export)

    kernel = command(
        "kernel",
        None,
        "install, remove and check the Jupyter kernel",
        "examples:\n  slaf kernel install --user --name atlas\n"
        "  slaf kernel remove --name atlas\n  slaf kernel doctor\n",
    )
    kernel_commands(kernel)
    return parser


def _input_options(parser: argparse.ArgumentParser) -> None:
    from slaf.data.sources import FORMATS

    parser.add_argument("--format", choices=FORMATS, default="auto", help="of the input")
    parser.add_argument("--genome", help="the one of a 10x h5 file with several")
    parser.add_argument("--modality", metavar="NAME", help="the one of a MuData file, such as rna")
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        metavar="ENTRY",
        help="leave out an entry, such as obsm/airr; repeatable",
    )
    parser.add_argument(
        "--unique-cells",
        action="store_true",
        help="append the number of its input to each cell id",
    )


def _version_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", type=int, metavar="N", help="an earlier version")


def _convert(options: argparse.Namespace) -> None:
    from slaf.data import SLAFConverter
    from slaf.ground.progress import on_terminal

    begun = time.perf_counter()
    progress = on_terminal()
    common = {
        "overwrite": options.overwrite,
        "gene_index": not options.no_gene_index,
        "progress": progress,
    }
    try:
        if options.cells is not None or options.shuffle is not None:
            if len(options.input) != 1:
                raise ValueError("--cells and --shuffle take one SLAF dataset as input.")
            handle = _selected(options.input[0], None, options.cells, options.shuffle)
            SLAFConverter().convert_handle(handle, options.output, **common)
        else:
            SLAFConverter().convert(
                _inputs(options),
                options.output,
                options.format,
                join=options.join,
                unique_cells=options.unique_cells,
                genome=options.genome,
                modality=options.modality,
                skip=options.skip,
                counts=options.counts,
                **common,
            )
    finally:
        progress.close()
    _done(options.output, begun)


def _append(options: argparse.Namespace) -> None:
    from slaf.data import SLAFConverter
    from slaf.ground.progress import on_terminal

    begun = time.perf_counter()
    progress = on_terminal()
    try:
        SLAFConverter().append(
            _inputs(options),
            options.dataset,
            options.format,
            join=options.join,
            unique_cells=options.unique_cells,
            genome=options.genome,
            modality=options.modality,
            skip=options.skip,
            progress=progress,
        )
    finally:
        progress.close()
    _done(options.dataset, begun)


def _inputs(options: argparse.Namespace) -> str | list[str]:
    return options.input[0] if len(options.input) == 1 else options.input


def _done(uri: str, begun: float) -> None:
    from slaf.array import SLAFArray

    array = SLAFArray(uri)
    cells, genes = array.shape
    seconds = time.perf_counter() - begun
    print(f"{uri}: version {array.version}, {cells:,} cells × {genes:,} genes in {seconds:.1f} s")


def _selected(uri: str, version: int | None, where: str | None, seed: int | None):
    """A handle of the cells for which the SQL condition `where` holds, in
    random order if there is a seed."""
    import numpy as np

    from slaf.integrations.anndata import read_slaf

    handle = read_slaf(uri, version=version)
    if where is not None:
        found = handle.slaf.query(
            f"SELECT cell_integer_id FROM cells WHERE ({where}) ORDER BY cell_integer_id"
        )
        handle = handle[found["cell_integer_id"].to_numpy()]
    if seed is not None:
        handle = handle[np.random.default_rng(seed).permutation(handle.n_obs)]
    return handle


def _info(options: argparse.Namespace) -> None:
    from slaf.array import SLAFArray

    SLAFArray(options.dataset, version=options.version).info()


def _query(options: argparse.Namespace) -> None:
    import polars as pl

    from slaf.dataset import Dataset
    from slaf.ground.sizes import bytes_of
    from slaf.sql import session_of

    session = session_of(Dataset.open(options.dataset, options.version))
    memory = None if options.memory is None else bytes_of(options.memory)
    session.namespace.update(_value(text) for text in options.value)
    answer = session.run(options.sql, engine=options.engine, memory=memory)
    if answer is None:
        return
    for warning in answer.warnings:
        print(f"slaf: {warning}", file=sys.stderr)
    frame = pl.DataFrame(answer)
    if options.output:
        frame.write_csv(options.output)
        print(f"{options.output}: {frame.height:,} rows")
        return
    shown = frame.height if options.limit <= 0 else options.limit
    with pl.Config(tbl_rows=shown, tbl_cols=-1, fmt_str_lengths=60):
        print(frame.head(shown))
    if shown < frame.height:
        print(f"{frame.height - shown:,} more rows; --limit 0 prints all.")


def _value(text: str) -> tuple[str, int | float | str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"`{text}` is no value. Write `--value name=value`.")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def _validate(options: argparse.Namespace) -> int:
    from slaf import _slaf

    checks = _slaf.validate(_slaf.Dataset(options.dataset, options.version))
    for what, problem in checks:
        print(f"ok     {what}" if problem is None else f"WRONG  {what}: {problem}")
    return int(any(problem for _, problem in checks))


def _index(options: argparse.Namespace) -> None:
    from slaf import _slaf

    begun = time.perf_counter()
    dataset = _slaf.Dataset(options.dataset)
    if options.vector is None:
        _slaf.index(dataset, not options.no_gene_index)
        _done(options.dataset, begun)
        return
    _, (metric, partitions, visited, recall) = _slaf.index_vectors(
        dataset, *_vectors(options.dataset, options.vector), options.metric, options.partitions
    )
    print(
        f"{options.dataset}: {options.vector} by {metric} in {partitions:,} partitions; of the 10 "
        f"nearest, {visited} of them hold {100 * recall:.1f} %"
    )


def _vectors(uri: str, key: str) -> tuple[str, str]:
    """The table and the column of an embedding, by its name in obsm or varm."""
    from slaf.dataset import Dataset
    from slaf.lazy.readers import VectorReader
    from slaf.lazy.stored import arrays_of

    readers = arrays_of(Dataset.open(uri))
    section = "varm" if key in readers["varm"] and key not in readers["obsm"] else "obsm"
    if key not in readers[section]:
        near = did_you_mean(nearest(key, [*readers["obsm"], *readers["varm"]]))
        raise ValueError(f"{key!r} is not in obsm.{near}")
    found = readers[section][key]
    if not isinstance(found, VectorReader):
        raise ValueError(f"`{key}` is no matrix of numbers, so it cannot be indexed.")
    return found.table, found.column


def _shuffle(options: argparse.Namespace) -> None:
    options.input, options.cells, options.shuffle = [options.dataset], None, options.seed
    options.no_gene_index = False
    _convert(options)


def _repair(options: argparse.Namespace) -> None:
    from slaf import _slaf

    dataset = _slaf.Dataset(options.dataset)
    defect = dataset.defect()
    if defect is None:
        print(f"{options.dataset}: nothing to repair")
        return
    version, *_ = _slaf.repair(dataset)
    print(f"{options.dataset}: repaired as version {version} ({defect})")


def _history(options: argparse.Namespace) -> None:
    from slaf import _slaf

    versions = _slaf.history(options.dataset)
    for version, _, operation, at, cells, genes in versions:
        print(f"{version:>4}  {at[:19].replace('T', ' ')}  {operation:<8}  {cells:,} × {genes:,}")
    if not versions:
        print(f"{options.dataset}: no versions; slafdb wrote it")


def _vacuum(options: argparse.Namespace) -> None:
    from slaf import _slaf

    if options.keep < 1:
        raise ValueError("--keep is at least 1: the current version stays.")
    versions, freed = _slaf.vacuum(options.dataset, options.keep)
    listed = ", ".join(map(str, versions)) or "none"
    print(f"{options.dataset}: versions removed: {listed}; {freed / 1e6:,.1f} MB freed")


def _export(options: argparse.Namespace) -> None:
    from slaf.data.exporter import export_h5ad
    from slaf.ground.progress import on_terminal

    begun = time.perf_counter()
    handle = _selected(options.dataset, options.version, options.cells, None)
    progress = on_terminal()
    try:
        export_h5ad(
            handle,
            options.output,
            overwrite=options.overwrite,
            compression=options.compression,
            progress=progress,
        )
    finally:
        progress.close()
    cells, genes = handle.shape
    seconds = time.perf_counter() - begun
    print(f"{options.output}: {cells:,} cells × {genes:,} genes in {seconds:.1f} s")


if __name__ == "__main__":
    main()
