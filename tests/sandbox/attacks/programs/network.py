"""Attacks by sockets: the host's networks, its services, its abstract and path sockets, other families."""

# An attack is written in the calls that it makes:
# ruff: noqa: PTH123

from __future__ import annotations

import os
import socket

from kit import attack, tried

_PATIENCE_S = 0.5


def _say(order, family, kind, address):
    """Send our name to a listener; the host hears it, or does not."""
    with socket.socket(family, kind) as channel:
        channel.settimeout(_PATIENCE_S)
        channel.connect(address)
        channel.send(f"{order['run']}\n".encode())


@attack()
def tcp_to_the_host(order):
    """A service on the host's loopback."""
    _say(order, socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", order["tcp"]))


@attack()
def udp_to_the_host(order):
    """A datagram to the host's loopback."""
    _say(order, socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", order["udp"]))


@attack(unless="no IPv6 on the loopback")
def tcp6_to_the_host(order):
    """The same by IPv6."""
    _say(order, socket.AF_INET6, socket.SOCK_STREAM, ("::1", order["tcp6"]))


@attack(unless="no way out of this machine")
def route_to_the_internet(order):
    """A connected datagram socket sends nothing, and says whether there is a way (192.0.2.0/24 is for documents)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect(("192.0.2.77", 53))
        return channel.getsockname()[0]


@attack(unless="the host's own name has no address")
def resolve_a_name(order):
    """The host's resolver, its files and its name servers."""
    found = [line for line in _lines("/etc/resolv.conf") if line.startswith("nameserver")]
    name = order["host_name"]
    addresses = tried(socket.getaddrinfo, name, 80) if name not in ("localhost", "sandbox") else None
    return found or addresses


def _lines(path):
    with open(path) as file:
        return file.read().splitlines()


@attack(unless="this machine has no interface but its loopback")
def see_the_interfaces(order):
    """Names of the host's network interfaces."""
    return sorted({name for _, name in socket.if_nameindex()} & set(order["interfaces"]))


@attack()
def abstract_socket(order):
    """An abstract socket has no path that could be hidden."""
    _say(order, socket.AF_UNIX, socket.SOCK_STREAM, "\0" + order["abstract"])


@attack()
def abstract_datagram(order):
    """The same without a connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(f"{order['run']}\n".encode(), "\0" + order["abstract_datagram"])


@attack()
def socket_by_its_path(order):
    """A live socket of a service, as docker.sock is, writable for anybody."""
    _say(order, socket.AF_UNIX, socket.SOCK_STREAM, order["socket"])


@attack()
def socket_in_the_workspace(order):
    """A live socket that a service keeps in the workspace, as git's fsmonitor does."""
    os.chdir(order["workspace"])
    _say(order, socket.AF_UNIX, socket.SOCK_STREAM, "socket")


@attack()
def socket_through_a_link(order):
    """`docker.sock` as a symlink in the workspace."""
    os.chdir(order["workspace"])
    _say(order, socket.AF_UNIX, socket.SOCK_STREAM, "docker.sock")


@attack()
def agent_of_ssh(order):
    """The socket that SSH_AUTH_SOCK names, and the bus that DBUS_SESSION_BUS_ADDRESS names."""
    for path in (
        os.environ.get("SSH_AUTH_SOCK"),
        os.environ.get("DBUS_SESSION_BUS_ADDRESS", "").removeprefix("unix:path="),
    ):
        if path:
            _say(order, socket.AF_UNIX, socket.SOCK_STREAM, path)


@attack(unless="no vsock here")
def vsock(order):
    """The hypervisor's sockets belong to no namespace."""
    with socket.socket(40, socket.SOCK_STREAM):
        return True


def _opens(*socket_arguments):
    with socket.socket(*socket_arguments):
        return True


@attack("seccomp,caps")
def packet_socket(order):
    """Frames as they are on the wire."""
    return _opens(17, 3, 0x300)


@attack("seccomp,caps")
def raw_socket(order):
    """Packets with headers of our own."""
    return _opens(socket.AF_INET, 3, 255)


@attack(unless="the kernel has no AF_ALG")
def crypto_socket(order):
    """The kernel's ciphers: a large, often faulty part of it."""
    return _opens(38, socket.SOCK_SEQPACKET)


@attack()
def other_families(order):
    """Netlink beyond routes, and families that load a module when they are asked for."""
    found = [("netlink", n) for n in (4, 9, 15, 16) if tried(_opens, 16, 3, n)]
    found += [family for family in (9, 21, 29, 30, 31, 41, 44) if tried(_opens, family, 2)]
    return found + [("sctp", 132)] * bool(tried(_opens, socket.AF_INET, 1, 132))
