"""`python -m rsi` is the command `rsi`."""

from rsi.cli import main

if __name__ == "__main__":
    main()
