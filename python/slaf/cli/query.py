"""`slaf query`."""

from __future__ import annotations

import argparse
import sys

from slaf.cli.arguments import version_option

SUMMARY = "run a SQL query"
EPILOG = """\
examples:
  slaf query pbmc.slaf "SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain"
  slaf query pbmc.slaf "SELECT * FROM genes" --output genes.csv
  slaf query pbmc.slaf "SELECT COUNT(*) FROM cells WHERE batch = \\$b" --value b=batch1
  slaf query pbmc.slaf "EXPLAIN SELECT SUM(value) FROM expression"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    parser.add_argument("sql", help="statements over cells, genes and expression; see docs/sql.md")
    parser.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of $NAME: a number if it is one, otherwise text",
    )
    parser.add_argument("--memory", help="memory limit before it spills to disk, such as 2GB")
    parser.add_argument(
        "-l", "--limit", type=int, default=10, help="number of rows to print (0: all)"
    )
    parser.add_argument("-o", "--output", help="write all rows to this CSV file instead")
    parser.add_argument("--engine", choices=["polars", "datafusion"])
    version_option(parser)


def run(options: argparse.Namespace) -> None:
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
        raise ValueError(f"`{text}` is not a value. Write `--value name=value`.")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value
