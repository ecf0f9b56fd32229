"""`slaf info`."""

from __future__ import annotations

import argparse

from slaf.cli.arguments import version_option

SUMMARY = "describe a dataset"
EPILOG = "examples:\n  slaf info s3://atlas/all.slaf\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    version_option(parser)


def run(options: argparse.Namespace) -> None:
    from slaf.array import SLAFArray

    SLAFArray(options.dataset, version=options.version).info()
