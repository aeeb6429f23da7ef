"""`import rsi.auto`: hooks whichever agent frameworks this process uses, once, and says what it did.

Nothing is imported that the program does not import itself: an adapter is installed right after its framework has
been loaded, or at once where it is there already. `RSI_DISABLE=1` hooks nothing. `rsi run -- CMD` does the same from
outside.
"""

from rsi.auto.hooking import install, report, uninstall

__all__ = ["install", "report", "uninstall"]

install()
