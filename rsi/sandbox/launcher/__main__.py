"""`python -I -S rsi/sandbox/launcher FD`: be the zygote at the socket FD.

The folder above is needed on the path for the import below only, at its end, so that nothing in it can stand in for
the standard library.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

sys.path[0:1] = []
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
zygote = import_module("launcher.zygote")
sys.path.pop()
zygote.main(int(sys.argv[1]))
