"""Attacks by a server of captions, and by a file of settings that sends the key elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import ask, command
from stub_server import answer_about, completion

from tests.attack.table import Attacks
from tests.bad_server import BadServer, Respond, drip_trailers, give

pytestmark = [pytest.mark.nightly, pytest.mark.attack]
ABSTRACT = "We image nebula 7."


GOOD = json.dumps(answer_about(ABSTRACT))
ODD = json.dumps(answer_about(ABSTRACT) | {"summary": "A nebula \x1b[2J <b>at http://evil.invalid/x</b>."})
DEEP = "[" * 100_000 + "]" * 100_000
ANSWERS: dict[str, Respond] = {
    "that counts 10^19 tokens": give(completion(GOOD, usage={"prompt_tokens": 10**19})),
    "that lists its tokens": give(completion(GOOD, usage=[[1], {}])),
    "whose JSON is 100,000 deep": give(DEEP.encode()),
    "whose answer is 100,000 deep": give(completion(DEEP)),
    "whose summary has escapes, tags and an address": give(completion(ODD)),
    "that answers 30 MB": give(b" " * 30_000_000 + completion(GOOD)),
    "that redirects to another host": give(b"", 307, Location="http://localhost:9/"),
    "whose trailers drip": drip_trailers(completion(GOOD)),
}


def captions(folder: Path, url: str) -> list[str]:
    (folder / "proposals.jsonl").write_text(json.dumps({"number": 7, "title": "Gas", "abstract": ABSTRACT}))
    values = {"captions.backend": "openai", "captions.model": "any", "captions.timeout_s": 0.5}
    values |= {"archive.proposals_file": str(folder / "proposals.jsonl"), "flows.max_rejected_share": 1}
    values |= {"captions.base_url": url} if url else {}
    profile = str(folder / "mine.toml")
    return command("captions", "--no-server", data=folder / "data", profile=profile, settings=values)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_a_hostile_server(name: str, tmp_path: Path, attacks: Attacks) -> None:
    (tmp_path / "mine.toml").write_text("")
    with BadServer(ANSWERS[name]) as server:
        ending = attacks.run(f"a caption server {name}", captions(tmp_path, server.url), deadline_s=120)
    assert ending.code in {0, 2}
    assert "tokens" not in name or ending.code == 0
    if "escapes" in name:
        ((summary,),) = ask(tmp_path / "data", "SELECT summary FROM abstract_summary", "mine")
        assert not set("\x1b<>") & set(summary) and "evil.invalid" not in summary


def test_a_file_of_settings_that_sends_the_key_elsewhere(tmp_path: Path, attacks: Attacks) -> None:
    (tmp_path / "mine.toml").write_text('[captions]\nbase_url = "https://evil.invalid/v1"\n')
    key = {"OPENAI_API_KEY": "sk-secret"}
    ending = attacks.run("a profile sends the key elsewhere", captions(tmp_path, ""), deadline_s=120, env=key)
    assert (ending.code, "is not sent to https://evil.invalid/v1" in ending.err) == (2, True)
