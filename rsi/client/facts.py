"""What an exception says about itself: class, message, HTTP status, provider, Retry-After, where it came from.

Taken in the caller's thread, so it copies what is at hand and formats nothing. Reading a foreign exception can run
foreign code (`__str__`, properties): whatever that raises is swallowed here, because a failed description must not
replace the failure.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final

from rsi import clock
from rsi.redact.cutting import head

MAX_MESSAGE: Final = 8_192  # characters; a longer message repeats itself or carries a document
MAX_FRAMES: Final = 20  # the innermost: where it happened, and who called
_STATUS: Final = range(100, 600)
#: Top-level packages of clients whose exceptions name their provider.
_PROVIDERS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "vertexai": "google",
    "cohere": "cohere",
    "mistralai": "mistral",
    "groq": "groq",
    "together": "together",
    "botocore": "aws",
    "boto3": "aws",
    "ollama": "ollama",
    "huggingface_hub": "huggingface",
    "litellm": "litellm",
}
Frame = tuple[str, int, str]


class ErrorFacts:
    """The facts of one failure. `retry_after` is seconds, `frames` are (file, line, function), outermost first."""

    __slots__ = ("frames", "message", "provider", "retry_after", "status", "type")

    def __init__(
        self,
        message: str,
        *,
        type: str | None = None,  # noqa: A002 - the contract's own word
        status: int | None = None,
        provider: str | None = None,
        retry_after: float | None = None,
        frames: tuple[Frame, ...] = (),
    ) -> None:
        self.message = head(message, MAX_MESSAGE)  # the encoder cuts it, when secrets are out
        self.type = type
        self.status = status
        self.provider = provider
        self.retry_after = retry_after
        self.frames = frames

    def item(self) -> dict[str, Any]:
        """As the `error` of an outcome."""
        found: dict[str, Any] = {"message": self.message}
        if self.type is not None:
            found["type"] = self.type
        if self.status is not None:
            found["status"] = self.status
        if self.frames:
            found["stack"] = "\n".join(f'File "{file}", line {line}, in {name}' for file, line, name in self.frames)
        return found


def facts_of(error: BaseException) -> ErrorFacts:
    """The facts of an exception. A group of one is described by the one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return ErrorFacts(
        message=_guarded(lambda: str(error)) or "",
        type=class_name(type(error)),
        status=status_of(error),
        provider=_guarded(lambda: _PROVIDERS.get(type(error).__module__.partition(".")[0])),
        retry_after=retry_after_of(error),
        frames=_frames(error.__traceback__),
    )


def text_of(value: Any) -> str:
    """What somebody says of a failure, whatever kind of object it is."""
    return value if isinstance(value, str) else str(_guarded(lambda: str(value)) or f"<{type(value).__name__}>")


def class_name(kind: type) -> str:
    """`openai.RateLimitError`; without the module where it is Python's own."""
    module, name = _guarded(lambda: kind.__module__), str(_guarded(lambda: kind.__qualname__) or "Exception")
    return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else name


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an exception carries, wherever the usual clients keep it."""
    for holder in (error, _get(error, "response")):
        for name in ("status_code", "status", "code") if holder is not None else ():
            value = _get(holder, name)
            if isinstance(value, int) and not isinstance(value, bool) and value in _STATUS:
                return int(value)
    response = _get(error, "response")  # botocore keeps a dict
    if isinstance(response, dict):
        value = _guarded(lambda: response["ResponseMetadata"]["HTTPStatusCode"])
        return value if isinstance(value, int) and value in _STATUS else None
    return None


def retry_after_of(error: BaseException) -> float | None:
    """Seconds the other side asked us to wait: `.retry_after`, or a Retry-After header (RFC 9110 §10.2.3)."""
    direct = _seconds(_get(error, "retry_after"))
    if direct is not None:
        return direct
    for holder in (_get(error, "response"), error):
        headers = _get(holder, "headers")
        if headers is not None:
            found = _from_headers(headers)
            if found is not None:
                return found
    return None


def _from_headers(headers: Any) -> float | None:
    millis = _seconds(_header(headers, "retry-after-ms"))
    return millis / 1000 if millis is not None else _seconds(_header(headers, "retry-after"))


def _header(headers: Any, name: str) -> Any:
    for spelling in (name, name.title()):
        found = _guarded(lambda spelling=spelling: headers.get(spelling))  # type: ignore[misc]
        if found is not None:
            return found
    if isinstance(headers, Mapping):
        return _guarded(lambda: next((value for key, value in headers.items() if str(key).lower() == name), None))
    return None


def _seconds(value: Any) -> float | None:
    """A number of seconds or an HTTP date, as seconds from now; never negative, never infinite."""
    if value is None or isinstance(value, bool):
        return None
    number = _guarded(lambda: float(value))
    if number is None and isinstance(value, str):
        number = _guarded(lambda: parsedate_to_datetime(value).timestamp() - clock.now())
    if number is None or number != number or number == float("inf"):  # noqa: PLR0124 - NaN is not itself
        return None
    return max(0.0, float(number))


def _get(holder: Any, name: str) -> Any:
    return _guarded(lambda: getattr(holder, name, None)) if holder is not None else None


def _guarded(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception:  # noqa: BLE001 - foreign code; a description that fails is an empty one
        return None


def _frames(trace: TracebackType | None) -> tuple[Frame, ...]:
    """Without source lines: reading files is not for the caller's thread."""
    found = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in traceback.walk_tb(trace)]
    return tuple(found[-MAX_FRAMES:])
