"""guard and step: the plain-Python adapter. Reports what a call did and enforces the policy for its unit."""

from rsi.enforce.breaker import CircuitOpenError
from rsi.enforce.carry import extract, inject
from rsi.enforce.decorator import guard
from rsi.enforce.stepping import Step, step

__all__ = ["CircuitOpenError", "Step", "extract", "guard", "inject", "step"]
