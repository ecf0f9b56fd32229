"""`python -m slaf.kernel [-f CONNECTION_FILE] [OPTIONS OF IPYTHON'S]`."""

from __future__ import annotations

import sys

from slaf.kernel.sockets import bind


def main() -> None:
    arguments = sys.argv[1:]
    try:
        sockets = bind(arguments)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(str(error))
    from slaf.kernel.app import run

    run(sockets, arguments)


if __name__ == "__main__":
    main()
