"""The launcher's other side: standard library only, run as a folder.

Four kinds of process, each a fork of the one before: the *zygote* waits for orders; a *supervisor* takes one order,
makes the namespaces and says how it ended; the namespaces' *init* builds what can be seen, gives up every privilege and
reaps; the *payload* becomes the command. In root mode one supervisor stands by for the next order. Nothing here imports
`rsi`: what is in a zygote's memory is in every init.
"""
