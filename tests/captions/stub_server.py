"""A server with the OpenAI-compatible API that gives scripted answers, for tests of the client."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from tests.bad_server import BadServer, Respond, give, silence

BROKEN = ("null", '{"choices": []}', '{"choices": [{"message": {"content": "{}"}}], "usage": [1]}')
"""Responses that are no chat completions."""
FAULTS = ("not json", "bad schema", "429", "500", "half", "hang", *BROKEN)


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


def completion(content: str, **changes: Any) -> bytes:
    """The body of a response."""
    usage = {"prompt_tokens": 400, "completion_tokens": 100}
    return json.dumps({"choices": [{"message": {"content": content}}], "usage": usage} | changes).encode()


def responses_about(abstract: str) -> dict[str, Respond]:
    """The responses by fault; the valid one has the name ''."""
    content = json.dumps(answer_about(abstract))
    body = completion(content)
    return {
        "": give(body),
        "no usage": give(completion(content, usage=None)),
        "not json": give(completion(content[:-9])),
        "bad schema": give(completion(content.replace("Stars", "Sorcery"))),
        "half": give(body[: len(body) // 2], length=len(body)),
        "hang": silence(3),
        **{one: give(one.encode()) for one in BROKEN},
        "307": give(b"", 307, Location="/v1/elsewhere"),
        **{
            status: give(b'{"error": "no"}', int(status), Retry_After="0")
            for status in ("400", "401", "403", "404", "405", "429", "500")
        },
    }


class StubServer(BadServer):
    """Answers validly after the faults that `faults_of` gives for an abstract; records every request."""

    def __init__(self, faults_of: Callable[[str], Sequence[str]] = lambda abstract: ()) -> None:
        super().__init__()
        self.url += "/v1"
        self.faults_of = faults_of
        self.calls: dict[str, int] = defaultdict(int)
        self.grade_of: Callable[[str, bytes], float] = lambda text, picture: 5

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of all requests."""
        return [json.loads(one["body"]) for one in self.seen]

    def respond(self, handler: Any) -> None:
        content = json.loads(handler.body)["messages"][-1]["content"]
        if not isinstance(content, str):  # a text and a picture
            picture = base64.b64decode(content[1]["image_url"]["url"].partition(",")[2])
            grade = self.grade_of(content[0]["text"].removeprefix("Text: "), picture)
            give(completion(f"```json\n{json.dumps({'grade': grade})}\n```"))(handler)
            return
        abstract = content.partition("Abstract: ")[2]
        faults = [*self.faults_of(abstract)][self.calls[abstract] :]
        self.calls[abstract] += 1
        responses_about(abstract)[faults[0] if faults else ""](handler)
