"""The daemon's HTTP: API, events, metrics (contract §4)."""
