"""`slaf append`."""

from __future__ import annotations

import argparse

from slaf.cli.arguments import how_inputs_are_read, input_options, inputs
from slaf.cli.job import Job

SUMMARY = "add cells to a dataset, as a new version"
EPILOG = """\
examples:
  slaf append donor7.h5ad atlas.slaf
  slaf append donor8.h5ad donor9.h5ad atlas.slaf --join left
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+")
    parser.add_argument("dataset")
    input_options(parser)
    parser.add_argument(
        "--join",
        choices=["outer", "left"],
        default="outer",
        help="add genes that the dataset lacks (outer) or leave them out (left)",
    )


def run(options: argparse.Namespace) -> None:
    from slaf.data import SLAFConverter

    job = Job()
    SLAFConverter().append(
        inputs(options),
        options.dataset,
        options.format,
        join=options.join,
        **how_inputs_are_read(options),
    )
    job.done_with(options.dataset)
