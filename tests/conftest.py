"""Shared by all tests: the agent-side client is off under pytest unless a test asks for it."""

from hypothesis import HealthCheck, settings

# how long an example takes says more of the machine than of the code
settings.register_profile("rsi", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rsi")
