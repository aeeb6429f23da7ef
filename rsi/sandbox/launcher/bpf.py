"""The few instructions of classic BPF that a seccomp filter needs (Linux's `uapi/linux/{bpf_common,filter,seccomp}.h`).

A *block* ends in `ret`, so that blocks nest without any arithmetic but the length of the one that is jumped over.
"""

from __future__ import annotations

import struct

#: (code, jump if true, jump if false, constant)
Instruction = tuple[int, int, int, int]
Block = list[Instruction]

ALLOW, KILL_PROCESS = 0x7FFF_0000, 0x8000_0000
NUMBER, ARCHITECTURE = 0, 4  # offsets into struct seccomp_data
_LOAD, _RETURN, _EQUAL, _GREATER, _ANY_BIT = 0x20, 0x06, 0x15, 0x25, 0x45


def error(number: int) -> Block:
    """Answer with this errno."""
    return [(_RETURN, 0, 0, 0x0005_0000 | number)]


def ret(action: int) -> Block:
    """Answer with this action."""
    return [(_RETURN, 0, 0, action)]


def load(offset: int) -> Instruction:
    """The 32 bits at this offset."""
    return (_LOAD, 0, 0, offset)


def argument(index: int) -> Instruction:
    """The low 32 bits of an argument, on a little-endian machine.

    The kernel itself looks at no more of an `int` or `unsigned int`: bits above them change nothing, there or here.
    """
    return load(16 + 8 * index)


def upper(index: int) -> Instruction:
    """The other 32 bits of an argument that is a pointer."""
    return load(20 + 8 * index)


def equal(value: int, then: Block) -> Block:
    """If what was loaded is `value`: the block; else go on."""
    return [(_EQUAL, 0, len(then), value), *then]


def unless_equal(value: int, then: Block) -> Block:
    """If what was loaded is anything but `value`: the block; else go on."""
    return [(_EQUAL, len(then), 0, value), *then]


def greater(value: int, then: Block) -> Block:
    """If what was loaded is more than `value`: the block; else go on."""
    return [(_GREATER, 0, len(then), value), *then]


def any_bit(mask: int, then: Block) -> Block:
    """If what was loaded has a bit of `mask`: the block; else go on."""
    return [(_ANY_BIT, 0, len(then), mask), *then]


def assemble(program: Block) -> bytes:
    """As the kernel takes it: struct sock_filter[]."""
    return b"".join(struct.pack("=HBBI", *each) for each in program)
