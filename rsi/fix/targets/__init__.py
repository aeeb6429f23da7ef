"""Changes outside the policy: a declared key in a file, LiteLLM's settings, a lesson that agents read.

`resolve(target, home, config) -> Target`; a target makes a `Change`, checks, shows, applies and takes it back, byte for
byte, also after a crash half way. See `docs/design/051-targets.md`.
"""

from rsi.fix.targets.errors import TargetChangedError, TargetRefusedError
from rsi.fix.targets.journal import folder_of, prune
from rsi.fix.targets.knobs import Turn, covering, keys_of, knob_value, name_of, turn, turns, worth
from rsi.fix.targets.lesson import Lesson, Quote, render
from rsi.fix.targets.model import FILE_HASH, Applied, Edited, Reverted, Target, Where
from rsi.fix.targets.resolve import is_file_target, renew, resolve, settle, standing, undoing
from rsi.fix.targets.templates import TEMPLATES

__all__ = [
    "FILE_HASH",
    "TEMPLATES",
    "Applied",
    "Edited",
    "Lesson",
    "Quote",
    "Reverted",
    "Target",
    "TargetChangedError",
    "TargetRefusedError",
    "Turn",
    "Where",
    "covering",
    "folder_of",
    "is_file_target",
    "keys_of",
    "knob_value",
    "name_of",
    "prune",
    "render",
    "renew",
    "resolve",
    "settle",
    "standing",
    "turn",
    "turns",
    "undoing",
    "worth",
]
