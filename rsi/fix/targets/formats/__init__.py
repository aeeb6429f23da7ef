"""YAML, JSON and TOML as texts: find a value's own characters, put others there, touch nothing else."""

from rsi.fix.targets.formats.edit import Edit, Entry, change, check_size, put_back, read, remembered
from rsi.fix.targets.formats.model import NotEditableError, same

__all__ = ["Edit", "Entry", "NotEditableError", "change", "check_size", "put_back", "read", "remembered", "same"]
