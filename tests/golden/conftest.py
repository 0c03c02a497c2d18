"""Results recorded earlier: `make golden` compares them, `make golden UPDATE=1` writes them."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.core.layout import Layout
from hubbleclip.search.engine import Search

FOLDER = Path(__file__).parent


@pytest.fixture
def compare_recorded() -> Callable[..., None]:
    """Compare results by name with those of a JSON file in this folder.

    With a tolerance, the results are numbers that may differ by it. `start` begins the names of the results, if the
    file has others too. With UPDATE set, the file is written first.
    """

    def compare(
        file_name: str, found: Mapping[str, Any], tolerance: float = 0, start: str | tuple[str, ...] = ""
    ) -> None:
        path = FOLDER / file_name
        if os.environ.get("UPDATE"):
            known = json.loads(path.read_text(encoding="utf-8")) if start else {}
            kept = {name: value for name, value in known.items() if not name.startswith(start)} | dict(found)
            lines = (f" {json.dumps(name)}: {json.dumps(kept[name])}" for name in sorted(kept))
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        recorded = json.loads(path.read_text(encoding="utf-8"))
        recorded = {name: value for name, value in recorded.items() if name.startswith(start)}
        advice = f"{file_name} differs: if that is meant, `make golden UPDATE=1` records it; say so in CHANGELOG.md"
        assert sorted(found) == sorted(recorded), advice
        plain = json.loads(json.dumps(dict(found)))
        changed = {
            name: {"recorded": old, "found": plain[name]}
            for name, old in recorded.items()
            if plain[name] != (pytest.approx(old, rel=tolerance, abs=tolerance) if tolerance else old)
        }
        if changed:
            pytest.fail(f"{advice}\n{json.dumps(changed, indent=1)}", pytrace=False)

    return compare


@pytest.fixture(scope="session")
def search(made_once: Callable[..., Path]) -> Search:
    """The search of a made sky."""
    from search_sky import MadeModel, make_sky

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hubbleclip.training.checkpoints.load_run_model", lambda _: MadeModel())
        search = Search(Layout(made_once("made-sky", lambda data: make_sky(Layout(data)))), asks_sesame=False)
        search.load_model()
    return search
