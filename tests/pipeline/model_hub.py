"""A hub on loopback: it takes commits of files with the right token, by the API of the Hugging Face hub.

Cards are judged by the documented rules of the hub; tar and Parquet files arrive by the protocol of Git LFS.
"""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import yaml

Files = dict[str, dict[str, bytes]]
"""Files by repository, such as `me/model` and `datasets/me/data`, and name."""
LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "unknown", "other"}
SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"}


def faults_of(card: str) -> list[str]:
    """Fields of a card that the hub refuses."""
    head = yaml.safe_load(card.split("---\n")[1])
    rules = {
        "license": head["license"] in LICENCES,
        "license_name": head["license"] != "other" or re.fullmatch(r"[a-z0-9.-]+", head["license_name"]),
        "license_link": re.fullmatch(r"LICENSE(\.md)?|https?://.+", head.get("license_link", "LICENSE")),
        "language": all(re.fullmatch("[a-z]{2,3}", one) for one in head.get("language", [])),
        "size_categories": set(head.get("size_categories", [])) <= SIZES,
    }
    return [name for name, is_right in rules.items() if not is_right]


class Hub(ThreadingHTTPServer):
    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token = token
        self.stored: Files = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.commits: list[str] = []
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def reply(self, path: str, values: list[dict]) -> dict:
        if path == "/api/repos/create":
            name = f"{'datasets/' * (values[0].get('type') == 'dataset')}me/{values[0]['name']}"
            if name in self.stored:
                return {"errors": ["You already created this repository"]}
            self.stored[name] = {}
            return {"url": f"{self.endpoint}/{name}", "name": name, "id": name}
        if path == "/api/validate-yaml":
            return {"errors": [{"message": one} for one in faults_of(values[0]["content"])], "warnings": []}
        if path.endswith("/info/lfs/objects/batch"):
            href = f"{self.endpoint}/large/"
            sent = [{**one, "actions": {"upload": {"href": href + one["oid"]}}} for one in values[0]["objects"]]
            return {"objects": [one for one in sent if one["oid"] not in self.large]}
        if "/preupload/" in path:
            names = [one["path"] for one in values[0]["files"]]
            modes = {name: "lfs" if name.endswith((".tar", ".parquet")) else "regular" for name in names}
            rows = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            return {"files": rows}
        repository = repository_of(path)
        for line in values:
            one = line["value"]
            if line["key"] == "file":
                self.stored[repository][one["path"]] = base64.b64decode(one["content"])
            elif line["key"] == "lfsFile":
                self.stored[repository][one["path"]] = self.large[one["oid"]]
        self.commits.append(f"{repository}: {values[0]['value']['summary']}")
        return {"commitUrl": f"{self.endpoint}/{repository}/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True}


def repository_of(path: str) -> str:
    """Repository of an address such as `/api/datasets/me/data/commit/main`."""
    kind, owner, name = path.split("/")[2:5]
    return f"{'datasets/' * (kind == 'datasets')}{owner}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    disable_nagle_algorithm = True

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
        name = repository_of(self.path)
        if name in self.server.stored:
            self.answer({"id": name, "sha": "0" * 40, "siblings": []})
        else:
            self.answer({"error": "Repository not found"}, 404)

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {self.server.token}":
            self.answer({"error": "Invalid username or password."}, 401)
            return
        lines = body.splitlines() if "/commit/" in self.path else [body]
        answer = self.server.reply(self.path.partition("?")[0], [json.loads(line) for line in lines])
        self.answer(answer, 400 if answer.get("errors") else 200)


@contextmanager
def model_hub(token: str) -> Iterator[Hub]:
    """Serve a hub."""
    server = Hub(token)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
