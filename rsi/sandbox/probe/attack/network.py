"""Reach a listener outside, by every kind of socket, and the host's shared memory."""

from __future__ import annotations

import ctypes
import os
import socket
from typing import Any

from .order import Attack, Order, tokens

#: Nothing here waits for a network: loopback answers at once or never.
_PATIENCE_S = 0.5
_AF_VSOCK, _AF_PACKET, _AF_ALG = 40, 17, 38
_ETH_P_ALL = 0x0300


def _stream(family: int, address: Any, said: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(_PATIENCE_S)
        sock.connect(address)
        sock.sendall(said.encode())


def tcp(order: Order) -> None:
    """The host's loopback."""
    _stream(socket.AF_INET, ("127.0.0.1", order["tcp"]), order["says"] + "tcp")


def tcp6(order: Order) -> None:
    """The same over IPv6."""
    _stream(socket.AF_INET6, ("::1", order["tcp6"]), order["says"] + "tcp6")


def udp(order: Order) -> None:
    """One datagram, which is all that a DNS query is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto((order["says"] + "udp").encode(), ("127.0.0.1", order["udp"]))


def interfaces(_: Order) -> list[str]:
    """The names of the host's network interfaces."""
    return [name for _, name in socket.if_nameindex()]


def packet(_: Order) -> bool:
    """Raw frames."""
    socket.socket(_AF_PACKET, socket.SOCK_RAW, _ETH_P_ALL).close()
    return True


def vsock(_: Order) -> bool:
    """The hypervisor: a network namespace does not hide it."""
    socket.socket(_AF_VSOCK, socket.SOCK_STREAM).close()
    return True


def abstract_socket(order: Order) -> None:
    """A Unix socket without a path."""
    _stream(socket.AF_UNIX, "\0" + order["abstract"], order["says"] + "abstract_socket")


def path_socket(order: Order) -> None:
    """A Unix socket of the host, as Docker's or an agent's."""
    _stream(socket.AF_UNIX, order["socket"], order["says"] + "path_socket")


def workspace_socket(order: Order) -> None:
    """A Unix socket that lies in the workspace."""
    _stream(socket.AF_UNIX, "socket", order["says"] + "workspace_socket")


def shown_socket(order: Order) -> None:
    """A Unix socket in a folder that is shown: read-only does not stop it."""
    _stream(socket.AF_UNIX, f"{order['shown']}/socket", order["says"] + "shown_socket")


def shown_fifo(order: Order) -> None:
    """A fifo in it, that somebody reads."""
    fd = os.open(f"{order['shown']}/fifo", os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(fd, b"attacked\n")
    finally:
        os.close(fd)


def sysv_memory(order: Order) -> list[str]:
    """A System V shared memory segment, by its key."""
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(order["shm_key"], 0, 0)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    libc.shmat.restype = ctypes.c_void_p
    at = libc.shmat(segment, None, 0o10000)  # SHM_RDONLY
    if at in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shmat")
    return tokens(ctypes.string_at(at, 64))


def posix_memory(order: Order) -> list[str]:
    """A file in the host's /dev/shm."""
    with open(f"/dev/shm/{order['shm_secret']}", "rb") as file:  # noqa: PTH123, S108 - see files.py
        return tokens(file.read())


def crypto_socket(_: Order) -> bool:
    """AF_ALG: the kernel's cryptography, a way to many of its bugs."""
    socket.socket(_AF_ALG, socket.SOCK_SEQPACKET).close()
    return True


ATTACKS: dict[str, Attack] = {
    each.__name__: each
    for each in (
        tcp, tcp6, udp, interfaces, packet, vsock, abstract_socket, path_socket, workspace_socket,
        shown_socket, shown_fifo, sysv_memory, posix_memory, crypto_socket,
    )
}  # fmt: skip
