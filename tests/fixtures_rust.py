"""An IPython shell that runs Rust cells."""

from __future__ import annotations

import os

import pytest
from IPython.core.interactiveshell import InteractiveShell


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    """One shell, and so one Rust process, for all tests that use it."""
    os.environ["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))
    os.environ["SLAF_CELL_MEMORY"] = str(3 << 30)
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "slaf")
    shell.run_line_magic("rust", "1")
    yield shell
    shell.slaf_rust.close()


@pytest.fixture
def rust(shell):
    def rust(code: str, line: str = ""):
        return shell.run_cell_magic("rust", line, code)

    return rust
