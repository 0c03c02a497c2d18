"""A server with the OpenAI-compatible API that gives scripted answers, for tests of the client and of kills."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("not json", "bad schema", "429", "500", "half", "hang")


def answer_about(text: str) -> dict[str, object]:
    """A valid answer, which depends on the abstract only; its second object is not in the text."""
    number = text.rpartition(" ")[2].rstrip(".")
    return {
        "objects": ["nebula", "pulsar"],
        "phenomena": [],
        "science_aims": [f"study nebula {number}"],
        "target_names": [],
        "category": "Stars",
        "summary": f"Nebula {number}.",
        "search_phrases": ["nebula", "gas", "dust"],
    }


def abstract_of(request: dict) -> str:
    return request["messages"][-1]["content"].partition("Abstract: ")[2]


class StubServer:
    """Answers validly after the faults that `faults_of` gives for an abstract; records every request."""

    def __init__(self, faults_of: Callable[[str], Sequence[str]] = lambda abstract: ()) -> None:
        self.requests: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.calls: dict[str, int] = defaultdict(int)
        self.on_call: Callable[[int], None] = lambda number: None
        self.released = threading.Event()
        lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                abstract = abstract_of(request)
                with lock:
                    faults = list(faults_of(abstract))
                    done = stub.calls[abstract]
                    stub.calls[abstract] += 1
                    stub.requests.append(request)
                    stub.headers.append(dict(self.headers))
                    number = len(stub.requests)
                stub.on_call(number)
                try:
                    self.answer(abstract, faults[done] if done < len(faults) else "")
                except OSError:
                    self.close_connection = True

            def answer(self, abstract: str, fault: str) -> None:
                content = json.dumps(answer_about(abstract))
                if fault == "hang":
                    stub.released.wait(30)
                    self.close_connection = True
                    return
                if fault in {"429", "500", "400", "401"}:
                    self.give(int(fault), b'{"error": "no"}')
                    return
                content = {"not json": content[:-9], "bad schema": content.replace("Stars", "Sorcery")}.get(
                    fault, content
                )
                usage = {"prompt_tokens": 400, "completion_tokens": 100}
                body = json.dumps({"choices": [{"message": {"content": content}}], "usage": usage}).encode()
                self.give(200, body, len(body) // 2 if fault == "half" else len(body))

            def give(self, status: int, body: bytes, sent: int | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if status == 429:
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(body[:sent])
                self.wfile.flush()
                self.close_connection = sent is not None and sent < len(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> StubServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
