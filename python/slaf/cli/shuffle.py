"""`slaf shuffle`."""

from __future__ import annotations

import argparse

from slaf.cli.job import Job

SUMMARY = "copy a dataset with its cells in random order"
EPILOG = """\
Reading the copy in order is a true shuffle.

examples:
  slaf shuffle atlas.slaf shuffled.slaf --seed 1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    parser.add_argument("output", help="the dataset to make")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing dataset")


def run(options: argparse.Namespace) -> None:
    from slaf.data import SLAFConverter
    from slaf.data.selection import selected
    from slaf.dataset import Dataset

    job = Job()
    SLAFConverter().convert_handle(
        selected(Dataset.open(options.dataset), seed=options.seed),
        options.output,
        overwrite=options.overwrite,
    )
    job.done_with(options.output)
