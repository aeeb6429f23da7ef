"""The overlay back end: fresh namespaces for every command, and overlayfs layers to go back in."""

from rsi.sandbox.overlay.backend import OverlayBackend
from rsi.sandbox.overlay.box import OverlayBox
from rsi.sandbox.overlay.manifest import DamagedError

__all__ = ["DamagedError", "OverlayBackend", "OverlayBox"]
