"""The command `slaf`, with one file for each subcommand."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType

from slaf.cli import (
    append,
    convert,
    export,
    history,
    index,
    info,
    kernel,
    query,
    repair,
    shuffle,
    tokens,
    vacuum,
    validate,
)

#: The subcommands, in the order of `slaf --help`. Each has `SUMMARY`, `EPILOG`,
#: `add_arguments` and `run`.
_VERBS = (
    convert,
    append,
    info,
    query,
    validate,
    index,
    shuffle,
    tokens,
    repair,
    history,
    vacuum,
    export,
    kernel,
)

_EPILOG = """\
Datasets and files are local paths, or URLs on s3://, gs://, az:// and hf://.
Credentials come from the environment variables of the cloud's own tools
(AWS_PROFILE, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, …).

examples:
  slaf convert pbmc.h5ad pbmc.slaf
  slaf convert sample1/ sample2/ sample3/ s3://atlas/all.slaf --join inner
  slaf append new_donor.h5ad s3://atlas/all.slaf
  slaf info pbmc.slaf
  slaf query pbmc.slaf "SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain"
  slaf export pbmc.slaf b_cells.h5ad --cells "louvain = 'B cells'"

`slaf COMMAND --help` shows more. Exit codes: 0 success, 1 failure (the reason is
on stderr), 2 wrong usage, 130 interrupted.
"""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; if it fails, prints a sentence and exits with 1."""
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
    except (ImportError, OSError, ValueError, IndexError) as error:
        print(f"slaf: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("slaf: interrupted.", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or 0)


class _Verb(argparse.ArgumentParser):
    """A subcommand's parser. It gets its arguments only when the subcommand is called:
    those of some need pandas, which takes a second to load."""

    verb: ModuleType | None = None

    def parse_known_args(self, args=None, namespace=None):
        if self.verb is not None:
            self.verb.add_arguments(self)
            self.verb = None
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slaf",
        description="Single-cell datasets, queried in place.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Verb)
    for verb in _VERBS:
        added = commands.add_parser(
            verb.__name__.rpartition(".")[2],
            help=verb.SUMMARY,
            description=verb.SUMMARY[0].upper() + verb.SUMMARY[1:] + ".",
            epilog=verb.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.verb = verb
        added.set_defaults(run=verb.run)
    return parser
