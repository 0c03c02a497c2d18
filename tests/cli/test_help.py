"""Help and completion: every argument has a meaning and an example; a shell completes commands and options."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hubbleclip.cli.app import app
from tools import write_commands
from tools.write_commands import COMMANDS, arguments


def test_the_page_of_commands_is_that_of_their_declarations() -> None:
    page = write_commands.PAGE
    assert page.read_text(encoding="utf-8") == write_commands.written(), f"{page.name} is old: run `make commands`"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_has_a_meaning_and_an_example(command: str) -> None:
    lines = {one.name: one.parameter.help or "" for one in arguments(command)}
    assert [name for name, line in lines.items() if not line] == []
    free = {one.name for one in arguments(command) if one.hint is not bool and not one.get_choices()}
    shown = ("such as", "cpu", "hubble, jwst")
    assert [name for name in free if not any(word in lines[name] for word in shown)] == []
    assert app[command].help


def test_the_profile_of_the_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBBLECLIP_PROFILE", "jwst")
    _, bound, _ = app.parse_args(["status"])
    assert bound.arguments["options"].profile == "jwst"
    _, bound, _ = app.parse_args(["status", "--profile", "paper"])
    assert bound.arguments["options"].profile == "paper"


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    script = tmp_path / "completion.sh"
    script.write_text(app.generate_completion(shell="bash"))
    for words, offered in ((["hubbleclip", "repo"], "reports"), (["hubbleclip", "train", "--sw"], "--sweep")):
        asked = f'. {script}; COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _hubbleclip; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
        assert offered in done.stdout.split()
