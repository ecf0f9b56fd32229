"""The file of the running notebook, if the front end provides it."""

from __future__ import annotations

import os
from pathlib import Path


def notebook_path() -> Path:
    """The file of the notebook whose cell calls this.

    Jupyter's servers pass it when they start a kernel, so a notebook that was renamed
    since has its old name. VS Code sets a variable. Raises FileNotFoundError if it is
    not known; consoles have only an id.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    stated = shell.user_ns.get("__vsc_ipynb_file__") if shell is not None else None
    stated = stated or os.environ.get("JPY_SESSION_NAME")
    path = Path(os.path.abspath(stated or ""))
    if not stated or not (path.suffix or path.exists()):
        raise FileNotFoundError(
            "This kernel was not told which notebook it runs: Jupyter's servers set "
            "JPY_SESSION_NAME, and VS Code the variable `__vsc_ipynb_file__`."
        )
    return path
