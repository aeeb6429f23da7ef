"""The Messages API as a script: streams what a test wrote, fails as it says, and keeps the bodies that it was sent."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERRORS = {
    400: ("invalid_request_error", "prompt is bad"),
    401: ("authentication_error", "invalid x-api-key"),
    429: ("rate_limit_error", "slow down"),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}


def bash(command: str) -> dict[str, Any]:
    return {"name": "Bash", "input": {"command": command, "description": "as the script says"}}


def tool(name: str, **given: Any) -> dict[str, Any]:
    return {"name": name, "input": given}


class API:
    """Answers the n-th turn with the n-th step: a tool call, a text, or a status."""

    def __init__(self, steps: Sequence[dict[str, Any] | str | int]) -> None:
        self.steps = list(steps)
        self.bodies: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(200, {})

            def do_GET(self) -> None:
                self.answer(404, {"type": "error", "error": {"type": "not_found_error", "message": "not here"}})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
                api.serve(self, body)

            def answer(self, status: int, body: Any) -> None:
                raw = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that goes away

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=lambda: self.server.serve_forever(0.02), daemon=True).start()

    @property
    def said(self) -> str:
        """Everything that the model was told in the turns of the session, as one text."""
        return "\n".join(json.dumps(body["messages"]) for body in self.bodies)

    def serve(self, handler: Any, body: dict[str, Any]) -> None:
        if "count_tokens" in handler.path:
            handler.answer(200, {"input_tokens": 10})
        elif not handler.path.startswith("/v1/messages"):
            handler.answer(404, {"type": "error", "error": {"type": "not_found_error", "message": "not here"}})
        elif not body.get("tools"):  # a title, a summary: not the session's turn
            self.stream(handler, body, "title")
        else:
            self.bodies.append({"messages": body["messages"]})  # no system prompt: it is not ours to keep
            step = self.steps[min(_turn(body["messages"]), len(self.steps) - 1)]
            if isinstance(step, int):
                kind, message = ERRORS[step]
                handler.answer(step, {"type": "error", "error": {"type": kind, "message": message}})
            else:
                self.stream(handler, body, step)

    def stream(self, handler: Any, body: dict[str, Any], step: dict[str, Any] | str) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()

        def event(kind: str, **data: Any) -> None:
            handler.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode())
            handler.wfile.flush()

        number = next(self._numbers)
        usage = {
            "input_tokens": 100,
            "output_tokens": 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        }
        message = {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": [],
        }
        event("message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": usage})
        if isinstance(step, str):
            event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": step})
        else:
            block = {"type": "tool_use", "id": f"toolu_{number:024d}", "name": step["name"], "input": {}}
            event("content_block_start", index=0, content_block=block)
            event(
                "content_block_delta",
                index=0,
                delta={"type": "input_json_delta", "partial_json": json.dumps(step["input"])},
            )
        event("content_block_stop", index=0)
        reason = "end_turn" if isinstance(step, str) else "tool_use"
        event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 20})
        event("message_stop")
        handler.close_connection = True


def _turn(messages: list[dict[str, Any]]) -> int:
    """How many tools have answered."""
    blocks = (block for message in messages if isinstance(message["content"], list) for block in message["content"])
    return sum(1 for block in blocks if block.get("type") == "tool_result")


@contextmanager
def scripted(*steps: dict[str, Any] | str | int) -> Iterator[API]:
    api = API(steps)
    try:
        yield api
    finally:
        api.server.shutdown()
        api.server.server_close()
