"""Shared by all tests: the agent-side client is off under pytest unless a test asks for it."""
