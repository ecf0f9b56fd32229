"""The command `slaf`."""

from __future__ import annotations

import argparse
import sys

_EXAMPLES = """\
examples:
  slaf convert pbmc.h5ad pbmc.slaf
  slaf info pbmc.slaf
  slaf query pbmc.slaf "SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain"
  slaf query pbmc.slaf "SELECT * FROM genes" --limit 0 --output genes.csv
"""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; exits with 1 and a sentence where it fails."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        sys.exit(f"slaf: {error}")
    except KeyboardInterrupt:
        sys.exit("slaf: interrupted; nothing was written.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slaf",
        description="Single-cell datasets, queried in place.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="make a dataset from an h5ad file")
    convert.add_argument("input", help="the h5ad file")
    convert.add_argument("output", help="the dataset's folder")
    convert.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    convert.set_defaults(run=_convert)

    info = commands.add_parser("info", help="say what a dataset holds")
    info.add_argument("dataset")
    info.set_defaults(run=_info)

    query = commands.add_parser("query", help="answer a SQL question")
    query.add_argument("dataset")
    query.add_argument("sql", help="one statement over cells, genes and expression")
    query.add_argument("-l", "--limit", type=int, default=10, help="rows printed (0: all)")
    query.add_argument("-o", "--output", help="write all rows to this CSV file instead")
    query.add_argument("--engine", choices=["polars", "datafusion"])
    query.set_defaults(run=_query)
    return parser


def _convert(options: argparse.Namespace) -> None:
    import time

    from slaf.array import SLAFArray
    from slaf.data import SLAFConverter

    begun = time.perf_counter()
    SLAFConverter().convert(options.input, options.output, overwrite=options.overwrite)
    cells, genes = SLAFArray(options.output).shape
    seconds = time.perf_counter() - begun
    print(f"{options.output}: {cells:,} cells × {genes:,} genes in {seconds:.1f} s")


def _info(options: argparse.Namespace) -> None:
    from slaf.array import SLAFArray

    SLAFArray(options.dataset).info()


def _query(options: argparse.Namespace) -> None:
    import polars as pl

    from slaf.array import SLAFArray

    answer = SLAFArray(options.dataset)._ask(options.sql, options.engine)
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


if __name__ == "__main__":
    main()
