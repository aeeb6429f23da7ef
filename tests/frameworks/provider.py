"""A local model provider over HTTP: chat completions and responses in OpenAI's shapes, scripted. Standard library only."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

#: What to answer: a text; an HTTP status (an error in OpenAI's shape); a list of (tool name, arguments); seconds of silence as a float;
#: or a whole body.
Answer = str | int | float | list[tuple[str, dict[str, Any]]] | dict[str, Any]


class Provider:
    """`url` ends in `/v1`. `script` is answered in order, then `default`; a callable gets (number, request body).

    Attributes:
        requests: the bodies received, in order.
    """

    def __init__(self, *script: Answer, default: Answer | Callable[[int, dict[str, Any]], Answer] = "hello") -> None:
        self.script: list[Answer] = list(script)
        self.default = default
        self.requests: list[dict[str, Any]] = []
        self.retry_after: str | None = None
        self._lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                provider.answer(self, body)

            def do_GET(self) -> None:
                send(self, 200, json.dumps({"data": []}).encode(), "application/json")

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128  # agents that begin together are part of the tests, too

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that goes away is part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.02), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _next(self, body: dict[str, Any]) -> Answer:
        with self._lock:
            self.requests.append(body)
            number = len(self.requests)
            if self.script:
                return self.script.pop(0)
        return self.default(number, body) if callable(self.default) else self.default

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        answer = self._next(body)
        if isinstance(answer, float):
            time.sleep(answer)
            answer = "late"
        if isinstance(answer, int):
            headers = {"retry-after": self.retry_after} if self.retry_after else {}
            error = {"message": _WORDS.get(answer, f"Error {answer}"), "type": "error", "code": str(answer)}
            send(handler, answer, json.dumps({"error": error}).encode(), "application/json", headers)
        elif handler.path.endswith("/responses"):
            send(handler, 200, json.dumps(as_response(answer, body)).encode(), "application/json")
        elif body.get("stream"):
            send(handler, 200, as_stream(answer, body), "text/event-stream")
        else:
            send(handler, 200, json.dumps(as_completion(answer, body)).encode(), "application/json")


_WORDS = {
    400: "Invalid request",
    401: "Incorrect API key provided",
    429: "Rate limit reached for requests",
    500: "The server had an error while processing your request",
    503: "The engine is currently overloaded, please try again later",
    529: "Overloaded",
}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def _message(answer: Answer) -> tuple[dict[str, Any], str]:
    if isinstance(answer, list):
        calls = [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
            for n, (name, given) in enumerate(answer)
        ]
        return {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
    return {"role": "assistant", "content": str(answer)}, "stop"


def as_completion(answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
    if isinstance(answer, dict):
        return answer
    message, reason = _message(answer)
    choice = {"index": 0, "message": message, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": body.get("model", "m")}
    return {**head, "choices": [choice], "usage": USAGE}


def as_stream(answer: Answer, body: dict[str, Any]) -> bytes:
    message, reason = _message(answer)
    calls = [{"index": n, **call} for n, call in enumerate(message.get("tool_calls", ()))]
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", **({"tool_calls": calls} if calls else {"content": message["content"]})}
    ]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": body.get("model", "m")}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    chunks.append({**head, "choices": [], "usage": USAGE})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def as_response(answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
    if isinstance(answer, dict):
        return answer
    if isinstance(answer, list):
        output = [
            {
                "type": "function_call",
                "id": f"fc_{n}",
                "call_id": f"call_{n}",
                "name": name,
                "arguments": json.dumps(given),
                "status": "completed",
            }
            for n, (name, given) in enumerate(answer)
        ]
    else:
        text = {"type": "output_text", "text": str(answer), "annotations": []}
        output = [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}]
    usage = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    head = {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": body.get("model", "m"),
    }
    flags = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {**head, **flags, "output": output, "usage": {**usage, **details}}


def send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(body)
