"""What the policy says to one unit: arms, merging, decay. Pure; used by the agent's process and by the daemon."""

from rsi.policy.arms import arm
from rsi.policy.document import Document, read
from rsi.policy.expiry import decay, expires
from rsi.policy.knobs import clean
from rsi.policy.patch import merge_patch
from rsi.policy.scopes import Effective, Prepared, Process, effective
from rsi.policy.tasks import mask_config, mask_task

__all__ = [
    "Document",
    "Effective",
    "Prepared",
    "Process",
    "arm",
    "clean",
    "decay",
    "effective",
    "expires",
    "mask_config",
    "mask_task",
    "merge_patch",
    "read",
]
