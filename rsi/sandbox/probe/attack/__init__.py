"""The attacks: a program that is copied into the workspace and run inside the box, and, as its own control, outside.

It needs Python ≥ 3.9 and nothing of rsi. It is told where things are, never what the secrets say: what it brings back
is judged outside (`rsi.sandbox.probe.judge`), where the targets are.
"""
