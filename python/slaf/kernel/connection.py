"""Reads or writes the connection file and binds the kernel's sockets. This comes first:
the Rust side then answers kernel_info before IPython has been imported."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import sys
from typing import NamedTuple

from slaf._slaf import Kernel

#: Tries to bind free ports: another process may take one before we bind it.
_TRIES = 5
_CHANNELS = ("shell", "iopub", "stdin", "hb", "control")


class Connection(NamedTuple):
    """The bound sockets of a kernel, and its connection file."""

    protocol: Kernel
    file: str
    #: Whether we have written the file.
    is_ours: bool

    def clean_up(self) -> None:
        """Removes the files that we have written."""
        if self.is_ours:
            _remove(self.file)


def connect(arguments: list[str], *, embedded: bool = False) -> Connection:
    """Binds the sockets of the connection file that `arguments`, a command line,
    names. If there is no such file, writes one, readable by its owner only, and
    prints how to connect.

    Raises ValueError for a wrong file, OSError for one that cannot be written,
    and RuntimeError for sockets that cannot be bound.
    """
    path, language = _named_file(arguments), json.dumps(_language_info())
    if path is not None and os.path.exists(path):
        return Connection(Kernel(path, language, embedded=embedded), path, is_ours=False)
    for tried in range(1, _TRIES + 1):
        path = _write(arguments)
        try:
            protocol = Kernel(path, language, embedded=embedded)
            break
        except RuntimeError:
            _remove(path)
            if tried == _TRIES:
                raise
    print(f"To connect another client: --existing {os.path.basename(path)}", file=sys.stderr)
    return Connection(protocol, path, is_ours=True)


def _named_file(arguments: list[str]) -> str | None:
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("-f", "--f", "--IPKernelApp.connection_file"):
            return value if equals else next(iter(arguments[at + 1 :]), None)
    return None


def _write(arguments: list[str]) -> str:
    """Writes a connection file: the named one, or one in Jupyter's runtime folder.
    ipykernel's application reads `--ip`, `--transport`, `--shell` and so on."""
    from ipykernel.kernelapp import IPKernelApp
    from jupyter_client.connect import write_connection_file

    app = IPKernelApp()
    app.parse_command_line(arguments)
    app.connection_file = app.connection_file or f"kernel-{os.getpid()}.json"
    # Absolute, as the sockets of `ipc` are made beside it.
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
            content = json.load(file)
        os.unlink(path)
        if content["transport"] == "ipc":
            for channel in _CHANNELS:
                os.unlink(f"{content['ip']}-{content[f'{channel}_port']}")


def _language_info() -> dict:
    """The fields of kernel_info that describe this kernel."""
    version = platform.python_version()
    debugs = importlib.util.find_spec("debugpy") is not None
    manuals = {
        "Python": f"https://docs.python.org/{sys.version_info.major}.{sys.version_info.minor}",
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
