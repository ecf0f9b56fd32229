"""`python -m slaf.kernel [-f CONNECTION_FILE] [OPTIONS OF IPYTHON'S]`."""

from __future__ import annotations

import os
import signal
import sys

# A file beside the notebook may be named like a module, such as `random.py`. So its
# folder is not searched while we import. IPython puts it on the path again later.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from slaf.kernel.connection import connect  # noqa: E402


def main() -> None:
    arguments = sys.argv[1:]
    # Once the sockets are there, a front end may interrupt. Before the first cell
    # that has no effect.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        connection = connect(arguments)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(str(error))
    from slaf.kernel.app import run

    run(connection, arguments)


if __name__ == "__main__":
    main()
