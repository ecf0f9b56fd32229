"""A kernel's sockets, bound where a connection file says. They come first:
kernel_info is answered before IPython has been imported."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import sys
from typing import NamedTuple

from slaf._slaf import Kernel

#: A port that was free may be somebody else's a moment later.
_TRIES = 5
_CHANNELS = ("shell", "iopub", "stdin", "hb", "control")


class Sockets(NamedTuple):
    """Those of one kernel; `written` if nobody had written its connection file."""

    kernel: Kernel
    connection_file: str
    written: bool

    def clean_up(self) -> None:
        """Removes the files that are ours."""
        if self.written:
            _remove(self.connection_file)


def bind(arguments: list[str], *, embedded: bool = False) -> Sockets:
    """Binds the sockets of the connection file that a command line names. If there
    is none, writes one, readable by its owner only, and says how to connect.

    Raises ValueError for a wrong file, OSError for one that cannot be written,
    and RuntimeError for sockets that cannot be bound.
    """
    path, language = _named(arguments), json.dumps(_language())
    if path is not None and os.path.exists(path):
        return Sockets(Kernel(path, language, embedded=embedded), path, written=False)
    for tried in range(1, _TRIES + 1):
        path = _write(arguments)
        try:
            kernel = Kernel(path, language, embedded=embedded)
            break
        except RuntimeError:
            _remove(path)
            if tried == _TRIES:
                raise
    print(f"To connect another client: --existing {os.path.basename(path)}", file=sys.stderr)
    return Sockets(kernel, path, written=True)


def _named(arguments: list[str]) -> str | None:
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("-f", "--f", "--IPKernelApp.connection_file"):
            return value if equals else next(iter(arguments[at + 1 :]), None)
    return None


def _write(arguments: list[str]) -> str:
    """A new connection file: the one named, or one in Jupyter's runtime folder.
    `--ip`, `--transport`, `--shell` and so on mean what they do to ipykernel."""
    from jupyter_client.connect import write_connection_file

    from slaf.kernel.app import KernelApp

    app = KernelApp()
    app.parse_command_line(arguments)
    app.connection_file = app.connection_file or f"kernel-{os.getpid()}.json"
    # Beside it are the sockets of `ipc`.
    path = app.connection_file = app.abs_connection_file
    ports = {f"{channel}_port": getattr(app, f"{channel}_port") for channel in _CHANNELS}
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write_connection_file(
            path,
            **ports,
            ip=app.ip,
            transport=app.transport,
            key=os.urandom(16).hex().encode(),
            kernel_name="slaf",
        )
    except OSError as error:
        message = f"The connection file `{path}` cannot be written: {error.strerror}."
        raise OSError(message) from None
    return path


def _remove(path: str) -> None:
    """Removes a connection file, and the files of its sockets."""
    with contextlib.suppress(FileNotFoundError):
        with open(path) as file:
            said = json.load(file)
        os.unlink(path)
        if said["transport"] == "ipc":
            for channel in _CHANNELS:
                os.unlink(f"{said['ip']}-{said[f'{channel}_port']}")


def _language() -> dict:
    version = platform.python_version()
    debugs = importlib.util.find_spec("debugpy") is not None
    manuals = {
        "Python": "https://docs.python.org/%i.%i" % sys.version_info[:2],
        "IPython": "https://ipython.readthedocs.io/en/stable/",
        "AnnData": "https://anndata.readthedocs.io/en/stable/",
        "Scanpy": "https://scanpy.readthedocs.io/en/stable/",
        "Polars": "https://docs.pola.rs/api/python/stable/reference/",
        "NumPy": "https://numpy.org/doc/stable/",
        "pandas": "https://pandas.pydata.org/docs/",
        "Matplotlib": "https://matplotlib.org/stable/",
    }
    return {
        "banner": f"SLAF on Python {version}. `%%sql` queries open datasets.",
        "help_links": [{"text": text, "url": url} for text, url in manuals.items()],
        "language_info": {
            "name": "python",
            "version": version,
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "codemirror_mode": {"name": "ipython", "version": sys.version_info[0]},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
        },
        "supported_features": ["kernel subshells"] + ["debugger"] * debugs,
        "debugger": debugs,
    }
