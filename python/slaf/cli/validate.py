"""`slaf validate`."""

from __future__ import annotations

import argparse

from slaf.cli.arguments import version_option

SUMMARY = "check a dataset: read it and compare everything that is stored twice"
EPILOG = "Exits with 1 if something is wrong.\n\nexamples:\n  slaf validate atlas.slaf\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    version_option(parser)


def run(options: argparse.Namespace) -> int:
    from slaf import _slaf
    from slaf.ground.progress import job

    with job("validate"):
        checks = _slaf.validate(_slaf.Dataset(options.dataset, options.version))
    for what, problem in checks:
        print(f"ok     {what}" if problem is None else f"WRONG  {what}: {problem}")
    return int(any(problem for _, problem in checks))
