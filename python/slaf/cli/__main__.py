"""`python -m slaf.cli`: the command `slaf`."""

from slaf.cli import main

if __name__ == "__main__":
    main()
