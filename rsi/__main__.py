"""The command `rsi`, also as `python -m rsi`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command, or say what it needs where only the client was installed (`pip install --no-deps`)."""
    try:
        from rsi.cli import main as command  # noqa: PLC0415 - it needs click, which an agent's environment may lack
    except ModuleNotFoundError as error:
        if (error.name or "rsi").partition(".")[0] == "rsi":
            raise
        sys.stderr.write(f"rsi: the command needs {error.name}, and here is only the client: pip install rsi\n")
        sys.exit(2)
    command()


if __name__ == "__main__":
    main()
