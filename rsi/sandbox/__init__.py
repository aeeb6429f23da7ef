"""Run anything against a copy-on-write view of a workspace, rewind it, and take back exactly what was asked for."""
