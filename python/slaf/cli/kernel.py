"""`slaf kernel`."""

from __future__ import annotations

from slaf.kernel.command import kernel_commands

SUMMARY = "install, remove and check the Jupyter kernel"
EPILOG = """\
examples:
  slaf kernel install --user --name atlas
  slaf kernel remove --name atlas
  slaf kernel doctor
"""
add_arguments = kernel_commands
#: Its own commands set what runs.
run = None
