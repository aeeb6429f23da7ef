"""Back ends without an overlay: the workspace is copied, and a checkpoint is a copy of the copy."""

from rsi.sandbox.copied.backend import CopiedBackend
from rsi.sandbox.copied.box import CopiedBox
from rsi.sandbox.copied.runner import Run, Runner, View

__all__ = ["CopiedBackend", "CopiedBox", "Run", "Runner", "View"]
