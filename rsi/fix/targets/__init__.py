"""Changes outside the policy: a declared key in a file, LiteLLM's settings, a lesson that agents read.

`resolve(target, home, config) -> Target`; a target makes a `Change`, checks, shows, applies and takes it back, byte for
byte, also after a crash half way. See `docs/design/051-targets.md`.
"""

from rsi.fix.targets.errors import TargetChangedError, TargetRefusedError
from rsi.fix.targets.journal import prune
from rsi.fix.targets.knobs import Turn, name_of, turns, worth
from rsi.fix.targets.lesson import Lesson, Quote, render
from rsi.fix.targets.model import FILE_HASH, Applied, Edited, Reverted, Target, Where
from rsi.fix.targets.resolve import is_file_target, renew, resolve, standing
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
    "is_file_target",
    "name_of",
    "prune",
    "render",
    "renew",
    "resolve",
    "standing",
    "turns",
    "worth",
]
