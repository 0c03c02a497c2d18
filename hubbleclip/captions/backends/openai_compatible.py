"""Ask a server with the OpenAI-compatible API: vLLM, SGLang, llama.cpp, Ollama, or a hosted service."""

from __future__ import annotations

import base64
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import requests
from requests.models import REDIRECT_STATI

from hubbleclip.archives.http.client import LOOPBACK, RequestLimits, Transport, is_retryable, to_archive_error
from hubbleclip.archives.http.responses import DamagedError, ResponseError, parse_json
from hubbleclip.captions.backends.base import Reply, SourceText
from hubbleclip.captions.schema import Answer, parse_answer, without_fence
from hubbleclip.config.captions import MAX_ANSWER_TOKENS, TEMPERATURE
from hubbleclip.config.settings import UNCONFIRMED, CaptionSettings, FetchSettings
from hubbleclip.core.errors import AnswerError, ArchiveDownError, SettingsError
from hubbleclip.core.io import from_json

log = logging.getLogger(__name__)

PROMPT_VERSION = 3
"""Version of the prompt and of the JSON schema in a request. Raise it if one of them changes; a test checks this.
The prompt has no example, because small models copy the objects of an example into their answers.
"""

INSTRUCTIONS = """\
You read a proposal for observing time on a space telescope and describe what its images show, as one JSON object:
objects: 1 to 6 kinds of astronomical objects in the images, as short noun phrases, the most important first
phenomena: 0 to 5 physical phenomena that are studied, as short noun phrases
science_aims: 1 to 4 things that the proposal wants to measure or to find out, at most 20 words each
target_names: 0 to 5 proper names or catalogue designations of the targets, exactly as in the text
category: the science category
summary: what is observed and why, at most 40 words
search_phrases: 3 to 8 queries of at most 10 words that a person could type to find these images, without names
Use only what the text says. Name no object and no target that it does not name."""

JUDGEMENT = """\
You see a picture that a space telescope took, and a text. Say how well the picture shows what the text describes, as
one JSON object: grade, a whole number from 0 (not at all) to 10 (fully)."""
GRADE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"grade": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["grade"],
    "additionalProperties": False,
}
NUM_RANKED = 50
"""Number of top search results to re-rank: a model grades their pictures, and the results are sorted by grade."""
MIDDLE_GRADE = 5
Answered = TypeVar("Answered")

WRONG_ADDRESS = frozenset((*REDIRECT_STATI, 401, 403, 404, 405))
"""HTTP statuses that mean a wrong key, address or model name. All other requests would fail too."""
RETRY_TEMPERATURE = 0.4
LIMITS = RequestLimits(attempts=4, stall_bytes=0)
"""Limits of the requests about one abstract in one run. An answer is short, so no minimum speed is required."""
REQUESTS_PER_S = 20.0
"""Limit of the request rate over all connections."""
KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable of the API key, which other clients of this API read too."""
MAX_TOKENS = 10**9
ASKING = Lock()
"""Lock that a thread holds while it asks the user whether the key may be sent, so that no other thread asks too."""


def parse_grade(text: str) -> int:
    """Parse the grade in a model's answer; raises ValueError if it is not from 0 to 10."""
    grade = from_json(without_fence(text))["grade"]
    if grade not in range(11):
        raise ValueError(f"{grade!r} is no grade from 0 to 10")
    return int(grade)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[Answered]):
    """What a model is asked for: the name and the JSON schema of its answer, the instructions, and the parser."""

    name: str
    schema: dict[str, Any]
    instructions: str
    parse: Callable[[str], Answered]


CAPTION = Task(name="caption", schema=Answer.model_json_schema(), instructions=INSTRUCTIONS, parse=parse_answer)
GRADE = Task(name="grade", schema=GRADE_SCHEMA, instructions=JUDGEMENT, parse=parse_grade)


class OpenAICompatible:
    """Backend that sends each abstract to `{base_url}/chat/completions`.

    The archives' HTTP client sends the requests, with time limits, retries and a circuit breaker.

    Parameters
    ----------
    settings
        `captions` section of the settings. SettingsError is raised if it names no model, or if a key would be sent
        unencrypted to another machine.
    key
        API key; by default the one in the environment.
    limits
        Limits of the requests about one abstract.

    """

    is_model = True
    version = PROMPT_VERSION

    def __init__(self, settings: CaptionSettings, key: str | None = None, limits: RequestLimits = LIMITS) -> None:
        if not settings.model:
            raise SettingsError("captions.model is empty: set it to the name of the model at the server")
        self.settings = settings
        self.model = re.sub(r"[^\w.-]+", "-", settings.model)
        self._url = f"{settings.base_url.rstrip('/')}/chat/completions"
        self._key = read_key(settings.base_url) if key is None else key
        connections, timeout_s = settings.connections, settings.timeout_s
        fetch = FetchSettings(connections=connections, requests_per_s=REQUESTS_PER_S, timeout_s=timeout_s)
        self._transport = Transport(fetch, replace(limits, file_timeout_s=timeout_s))

    def prompt(self) -> str:
        """Return the instructions that are sent with each abstract."""
        return INSTRUCTIONS

    def ask(self, source: SourceText, count_call: Callable[[], int]) -> Reply:
        """Ask the server; ask again after an invalid answer, a broken response, or a status such as 429 or 500."""
        title = f"Title: {source.title}\n" if source.title else ""
        answer, tokens = self._complete(CAPTION, f"{title}Abstract: {source.abstract}", count_call)
        return Reply(answer=answer, prompt_tokens=tokens[0], answer_tokens=tokens[1])

    def judge(self, text: str, picture: bytes) -> int:
        """Ask how well a picture shows what a text describes.

        Parameters
        ----------
        text
            Text of a search, or a caption.
        picture
            PNG or JPEG file.

        Returns
        -------
        int
            Grade from 0 (not at all) to 10.

        Raises
        ------
        AnswerError
            If there is no valid answer, for instance because the model reads no pictures.
        ArchiveDownError
            If the server is down.

        """
        kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
        content = [{"type": "text", "text": f"Text: {text}"}, {"type": "image_url", "image_url": {"url": url}}]
        grade, _ = self._complete(GRADE, content, itertools.count().__next__)
        return grade

    def rank(self, text: str, pictures: Sequence[bytes]) -> list[int]:
        """Return the positions of pictures in order of falling grade; pictures of equal grade keep their given order.

        A picture without an answer gets the grade `MIDDLE_GRADE`. If no picture has an answer, AnswerError is raised.
        """

        def grade_of(picture: bytes) -> int | AnswerError:
            try:
                return self.judge(text, picture)
            except AnswerError as error:
                return error

        with ThreadPoolExecutor(self.settings.connections) as pool:
            answers = list(pool.map(grade_of, pictures))
        failures = [answer for answer in answers if isinstance(answer, AnswerError)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        if failures:
            log.warning("%d of %d pictures have no grade: %s", len(failures), len(answers), failures[0])
        grades = [MIDDLE_GRADE if isinstance(answer, AnswerError) else answer for answer in answers]
        return sorted(range(len(grades)), key=lambda position: -grades[position])

    def _complete(
        self, task: Task[Answered], content: object, count_call: Callable[[], int]
    ) -> tuple[Answered, list[int | None]]:
        """Send requests until an answer is valid; return the answer, and the token counts of prompt and answer."""
        try:
            send = partial(self._send, task, content)
            return self._transport.retried(self._url, lambda: send(count_call()), is_waited_for=False)
        except ResponseError as error:
            raise AnswerError(error.reason, str(error)) from error
        except requests.RequestException as error:
            raise self._explained(error) from None  # the original error could show the request with its key

    def _send(self, task: Task[Answered], content: object, num_before: int) -> tuple[Answered, list[int | None]]:
        """Send one request and validate the answer; raise DamagedError, which causes a retry, for an invalid answer."""
        if self._key:
            confirm_address(self.settings.base_url)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        body = self._body(task, content, num_before)
        response = self._transport.ask(self._url, headers=headers, is_redirected=False, json=body)
        # A redirect is not followed, so that the key and the abstract are sent to no other address.
        if response.status_code in REDIRECT_STATI:
            raise requests.HTTPError(response=response)
        try:
            answered = parse_json(response.content)
            text = answered["choices"][0]["message"]["content"]
            usage = answered.get("usage") or {}
            tokens = [number_of(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
            return task.parse(str(text)), tokens
        except AnswerError as error:
            raise DamagedError(error.detail, error.reason) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DamagedError("the response is no chat completion", "bad_response") from error

    def _body(self, task: Task[Any], content: object, num_before: int) -> dict[str, Any]:
        """Compose the body of a request. A retry has a new seed, so that the model does not repeat a wrong answer."""
        schema = {"name": task.name, "schema": task.schema, "strict": True}
        return {
            "model": self.settings.model,
            "messages": [{"role": "system", "content": task.instructions}, {"role": "user", "content": content}],
            "temperature": RETRY_TEMPERATURE if num_before else TEMPERATURE,
            "seed": self.settings.seed + num_before,
            "max_tokens": MAX_ANSWER_TOKENS,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }

    def _explained(self, error: requests.RequestException) -> Exception:
        """Convert a failed request to an error that says what to change."""
        response, host = error.response, urlsplit(self._url).netloc
        if response is not None and not is_retryable(error):
            said = " ".join(response.text.split())[:200]
            if response.status_code in WRONG_ADDRESS:
                hint = f"check captions.base_url, captions.model and the key in {KEY_VARIABLE}"
                return SettingsError(f"{host} rejects the request ({response.status_code}): {hint}")
            return AnswerError("refused", f"{host} refuses the request ({response.status_code}): {said}")
        failure = to_archive_error(error, self._url)
        if isinstance(failure, ArchiveDownError):
            return ArchiveDownError(f"cannot reach {host}: start the model's server, or set captions.base_url")
        return AnswerError("server_failure", str(failure).replace("fetch.timeout_s", "captions.timeout_s"))


def number_of(value: object) -> int | None:
    """Return the number of tokens that a server reports; None if it is not an integer from 1 to `MAX_TOKENS`."""
    return value if isinstance(value, int) and 0 < value <= MAX_TOKENS else None


def confirm_address(base_url: str) -> None:
    """Ask the user whether the key may be sent to an address from a settings file; SettingsError if not allowed."""
    with ASKING:
        if base_url not in UNCONFIRMED or urlsplit(base_url).hostname in LOOPBACK:
            return
        question = f"Send the key in {KEY_VARIABLE} to {base_url}, which comes from a settings file? [y/N] "
        if not (sys.stdin.isatty() and input(question).strip().lower() in {"y", "yes"}):
            words = f"the key in {KEY_VARIABLE} is not sent to {base_url}, which comes from a settings file"
            hint = "give the address by --set or by HUBBLECLIP_CAPTIONS__BASE_URL, or unset the key"
            raise SettingsError(f"{words}: {hint}")
        UNCONFIRMED.discard(base_url)


def read_key(base_url: str) -> str:
    """Read the API key from the environment. The key is never logged and never stored."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    address = urlsplit(base_url)
    if key and address.scheme == "http" and address.hostname not in LOOPBACK:
        words = f"captions.base_url begins with http:, which would send the key in {KEY_VARIABLE} unencrypted"
        raise SettingsError(f"{words}: use https:, or unset the variable")
    if not (key.isprintable() and key.isascii()):
        raise SettingsError(f"the key in {KEY_VARIABLE} has characters that no HTTP header may have: set it again")
    return key
