"""`python -m slaf.kernel [-f CONNECTION_FILE]`.

The sockets are bound first: kernel_info is answered before IPython has been
imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys


def main() -> None:
    from slaf._slaf import Kernel

    path = _connection_file(sys.argv[1:])
    try:
        kernel = Kernel(path, json.dumps(_language()))
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))
    from slaf.kernel.app import run

    run(kernel, path, sys.argv[1:])


def _connection_file(arguments: list[str]) -> str:
    """The file that was named, which is written if it does not exist; without a
    name, a new one in Jupyter's runtime folder."""
    named = None
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("-f", "--f", "--IPKernelApp.connection_file"):
            named = value if equals else next(iter(arguments[at + 1 :]), None)
    if named is not None and os.path.exists(named):
        return named

    from jupyter_client.connect import write_connection_file
    from jupyter_core.paths import jupyter_runtime_dir

    path = named or f"kernel-{os.getpid()}.json"
    if os.path.dirname(path) == "":
        path = os.path.join(jupyter_runtime_dir(), path)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Readable by its owner only.
        write_connection_file(path, key=os.urandom(16).hex().encode(), kernel_name="slaf")
    except OSError as error:
        sys.exit(f"The connection file `{path}` cannot be written: {error.strerror}.")
    print(f"To connect another client: --existing {os.path.basename(path)}", file=sys.stderr)
    return path


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


if __name__ == "__main__":
    main()
