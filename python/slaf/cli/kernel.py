"""`slaf kernel`."""

from __future__ import annotations

import argparse

SUMMARY = "install, remove and check the Jupyter kernel"
EPILOG = """\
examples:
  slaf kernel install --user --name atlas
  slaf kernel remove --name atlas
  slaf kernel doctor
"""
#: Each subcommand sets the function to run.
run = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, summary: str) -> argparse.ArgumentParser:
        description = summary[0].upper() + summary[1:] + "."
        added = commands.add_parser(name, help=summary, description=description)
        added.add_argument("--name", default="slaf", help="name of the kernelspec (default: slaf)")
        added.set_defaults(run=run)
        return added

    install = command("install", _install, "make this environment's kernel known to Jupyter")
    install.add_argument("--display-name", help="name that front ends show")
    install.add_argument(
        "--env",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="an environment variable for the kernel; can be repeated",
    )
    install.add_argument("--profile", help="IPython profile whose configuration the kernel uses")
    where = install.add_mutually_exclusive_group()
    where.add_argument(
        "--user", action="store_true", help="install for all environments of the user"
    )
    where.add_argument("--prefix", help="install below this folder (default: this environment)")
    command("remove", _remove, "remove a kernelspec")
    command("doctor", _doctor, "check everything that the kernel needs, and say what to fix")


def _install(options: argparse.Namespace) -> None:
    from slaf.kernel.kernelspec import install

    folder = install(
        name=options.name,
        display_name=options.display_name,
        user=options.user,
        prefix=options.prefix,
        env=dict(options.env),
        profile=options.profile,
    )
    print(f"{options.name}: installed in {folder}")


def _remove(options: argparse.Namespace) -> None:
    from slaf.kernel.kernelspec import remove

    print(f"{options.name}: removed from {remove(options.name)}")


def _doctor(options: argparse.Namespace) -> int:
    from slaf.kernel.doctor import checks

    failed = False
    for what, fix in checks(options.name):
        print(f"ok   {what}" if fix is None else f"FIX  {what}: {fix}")
        failed |= fix is not None
    return int(failed)
