"""`slaf validate`."""

from __future__ import annotations

import argparse

from slaf.cli.arguments import version_option, worker_options, workers

SUMMARY = "check a dataset: read it and compare everything that is stored twice"
EPILOG = """\
Exits with 1 if something is wrong.

examples:
  slaf validate atlas.slaf
  slaf validate atlas.slaf --workers dask --address tcp://head:8786
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    version_option(parser)
    worker_options(parser)


def run(options: argparse.Namespace) -> int:
    from slaf.data.upkeep import validate
    from slaf.dataset import Dataset

    with workers(options):
        checks = validate(Dataset.open(options.dataset, options.version))
    for what, problem in checks:
        print(f"ok     {what}" if problem is None else f"WRONG  {what}: {problem}")
    return int(any(problem for _, problem in checks))
