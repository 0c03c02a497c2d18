"""A model hub on loopback: it takes commits of files with the right token, by the API of the Hugging Face hub."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Files = dict[str, dict[str, bytes]]
"""Files by repository and name."""


class Hub(ThreadingHTTPServer):
    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token = token
        self.stored: Files = {}
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def reply(self, path: str, body: bytes) -> dict:
        repository = "/".join(path.split("/")[3:5])
        if path == "/api/repos/create":
            name = f"me/{json.loads(body)['name']}"
            self.stored.setdefault(name, {})
            return {"url": f"{self.endpoint}/{name}", "name": name, "id": name}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if "/preupload/" in path:
            names = [one["path"] for one in json.loads(body)["files"]]
            return {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.stored[repository][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return {"commitUrl": f"{self.endpoint}/{repository}/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True}


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, value: dict, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        name = "/".join(self.path.split("/")[3:5])
        if name in self.server.stored:
            self.answer({"id": name, "sha": "0" * 40, "siblings": []})
        else:
            self.answer({"error": "Repository not found"}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] == f"Bearer {self.server.token}":
            self.answer(self.server.reply(self.path.partition("?")[0], body))
        else:
            self.answer({"error": "Invalid username or password."}, 401)


@contextmanager
def model_hub(token: str) -> Iterator[tuple[str, Files]]:
    """Address of a hub, and what it stores."""
    server = Hub(token)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.endpoint, server.stored
    server.shutdown()
    server.server_close()
