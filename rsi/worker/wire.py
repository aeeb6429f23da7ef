"""What crosses the pipe between the daemon and its analysis worker: length-prefixed msgpack frames of typed values.

A frame is 4 bytes of length (little endian) and that many bytes of msgpack. Vectors are float32, little endian.
"""

from __future__ import annotations

import struct
from typing import IO, Final

import msgspec

from rsi.analyze.prototype import Likeness
from rsi.errors import WorkerError

#: Larger frames mean that the stream is out of step: 100,000 vectors of MiniLM are 154 MB.
MAX_FRAME: Final = 512 * 1024 * 1024
_LENGTH = struct.Struct("<I")


class Text(msgspec.Struct, frozen=True):
    """A new template: an id that the caller chooses (the fingerprint's hash) and what to embed."""

    id: str
    text: str


class Known(msgspec.Struct, frozen=True):
    """A vector that was stored earlier, and the model it is of; another model's are skipped."""

    id: str
    vector: bytes
    model: str


class Near(msgspec.Struct, frozen=True):
    """A known template and its cosine in [-1, 1]."""

    id: str
    cosine: float


class Placed(msgspec.Struct, frozen=True):
    """A new template with its vector and its nearest, best first."""

    id: str
    vector: bytes
    near: tuple[Near, ...]


class Embed(msgspec.Struct, frozen=True, tag=True):
    """Embed these texts; nothing is remembered."""

    texts: list[str]


class Nearest(msgspec.Struct, frozen=True, tag=True):
    """Remember `known`, then place `new` one after the other, each among all before it, and remember it too.

    What is known by its id keeps its vector.
    """

    new: list[Text]
    known: list[Known]
    k: int


class Forget(msgspec.Struct, frozen=True, tag=True):
    """These ids are gone."""

    ids: list[str]


class Prototyped(msgspec.Struct, frozen=True, array_like=True):
    """A prototype: a category and a line that says what its errors say."""

    category: str
    text: str


class Resemble(msgspec.Struct, frozen=True, tag=True):
    """Compare these texts with the prototypes called `key`, which come with it where nobody has learned from them."""

    texts: list[str]
    key: str
    prototypes: list[Prototyped] | None


class Vectors(msgspec.Struct, frozen=True, tag=True):
    """One vector a text, and the model they are of."""

    model: str
    vectors: list[bytes]


class Placement(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Nearest`: in its order. `skipped` known vectors were of another model or shape."""

    model: str
    placed: list[Placed]
    skipped: int


class Resemblance(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Resemble`: for each text the categories that it is most like, best first.

    `learned` false: nothing was compared, for want of the prototypes.
    """

    found: list[tuple[Likeness, ...]]
    learned: bool = True


class Done(msgspec.Struct, frozen=True, tag=True):
    """Done, with nothing to tell."""


class Trouble(msgspec.Struct, frozen=True, tag=True):
    """The request failed; the worker goes on."""

    error: str


Request = Embed | Nearest | Resemble | Forget
Reply = Vectors | Placement | Resemblance | Done | Trouble

_PACK = msgspec.msgpack.Encoder()
_REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def write(stream: IO[bytes], message: Request | Reply) -> None:
    """Send one frame."""
    body = _PACK.encode(message)
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def read_request(stream: IO[bytes]) -> Request | None:
    """The next request; `None` at the end of the stream."""
    body = _body(stream)
    return None if body is None else _REQUESTS.decode(body)


def read_reply(stream: IO[bytes]) -> Reply | None:
    """The next reply; `None` at the end of the stream."""
    body = _body(stream)
    return None if body is None else _REPLIES.decode(body)


def _body(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise WorkerError(f"a frame of {length} bytes is over {MAX_FRAME}: the pipe to the worker is out of step")
    body = stream.read(length)
    return body if len(body) == length else None
