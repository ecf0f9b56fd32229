"""`python -m slaf.kernel [-f CONNECTION_FILE] [OPTIONS OF IPYTHON'S]`."""

from __future__ import annotations

import os
import signal
import sys

# Files beside a notebook may be called as modules are: IPython puts the folder
# on the path again once all is imported.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from slaf.kernel.sockets import bind  # noqa: E402


def main() -> None:
    arguments = sys.argv[1:]
    # From here on front ends may ask; an interrupt before the first cell strikes
    # nobody.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sockets = bind(arguments)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(str(error))
    from slaf.kernel.app import run

    run(sockets, arguments)


if __name__ == "__main__":
    main()
