"""`python -m slaf.kernel -f CONNECTION_FILE`.

The sockets are bound first: kernel_info is answered before IPython has been
imported.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slaf.kernel")
    parser.add_argument("-f", dest="connection_file", required=True)
    # Front ends may pass options of ipykernel's.
    options, _ = parser.parse_known_args()

    from slaf._slaf import Kernel

    try:
        kernel = Kernel(options.connection_file, json.dumps(_language()))
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))
    from slaf.kernel.session import run

    run(kernel, options.connection_file)


def _language() -> dict:
    version = platform.python_version()
    return {
        "banner": f"SLAF on Python {version}. `%%sql` queries open datasets.",
        "help_links": [],
        "language_info": {
            "name": "python",
            "version": version,
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "codemirror_mode": {"name": "ipython", "version": sys.version_info[0]},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
        },
    }


if __name__ == "__main__":
    main()
