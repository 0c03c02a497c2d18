"""Options that several commands share, and functions that add options to the commands suggested in messages."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout

if TYPE_CHECKING:
    from hubbleclip.config.settings import Settings


ADVISED = re.compile(r"`(hubbleclip [^`]*)`")
"""Matches a command in a message."""
CARRIED = ("--profile", "--data")
"""Options that are copied from the running command to the commands that a message suggests."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every command that reads settings."""

    profile: Annotated[str, Parameter(env_var="HUBBLECLIP_PROFILE", show_env_var=False)] = "demo"
    """Profile: demo, hubble, jwst, local, paper, siglip2, or the path of a TOML file such as mine.toml. The variable
    HUBBLECLIP_PROFILE changes the default.
    """
    data: Path | None = None
    """Root folder of all output, such as /data/hubble."""
    local: Path | None = None
    """Folder of FITS files or pictures, for the profile local, such as ~/images."""
    proposals: Path | None = None
    """JSON-lines or CSV file of proposals, for the profile local, such as proposals.jsonl."""
    set: Annotated[tuple[str, ...], Parameter(consume_multiple=False, show_default=False)] = ()
    """One setting, such as train.steps=100 or 'tiles.views=["native"]'; can be repeated. `hubbleclip settings` lists
    all.
    """

    def overrides(self) -> dict[str, Any]:
        """Collect the settings that the options change."""
        from hubbleclip.config.toml import nested, parse_assignment

        places = {"data": self.data, "archive.folder": self.local, "archive.proposals_file": self.proposals}
        # A path is made absolute, because a Prefect worker has another working directory.
        given = {name: str(place.absolute()) for name, place in places.items() if place is not None}
        return nested(dict(map(parse_assignment, self.set)) | given)

    def flags(self) -> str:
        """Return ` --profile NAME --data FOLDER`, with the leading space; options with default values are omitted."""
        is_default = self.profile == "demo" and not os.environ.get("HUBBLECLIP_PROFILE")
        flags = {"--profile": "" if is_default else self.profile, "--data": str(self.data or "")}
        return "".join(f" {name} {shlex.quote(value)}" for name, value in flags.items() if value)

    def layout(self) -> Layout:
        """Return the places of the profile's files."""
        return Layout(self.settings().root)

    def existing_layout(self) -> Layout:
        """Return the places of the profile's files; HubbleclipError if the profile has no files yet."""
        layout = self.layout()
        if not layout.root.is_dir():
            raise HubbleclipError(
                f"there is nothing at {layout.root} yet: run `hubbleclip pipeline` first, or set --data"
            )
        return layout

    def settings(self) -> Settings:
        """Read the settings of the profile and apply the options."""
        from hubbleclip.config.settings import read_settings

        return read_settings(self.profile, self.overrides())


Server = Annotated[
    bool,
    Parameter(
        name="--server",
        negative="--no-server",
        help="Record the run on the Prefect server of the data root; --no-server runs in this process alone.",
    ),
]
Json = Annotated[bool, Parameter(help="Print JSON, for programs.")]
Port = Annotated[int, Parameter(help="Port of the Prefect server, such as 4200.")]
DatasetPlace = Annotated[
    str,
    Parameter(
        help="Folder or URL of a dataset, or the first characters of its digest, such as 022de0; see `datasets`."
    ),
]
RunId = Annotated[
    str, Parameter(help="Id of a finished run or its first characters, such as 20261127, or its folder; see `runs`.")
]
TileId = Annotated[str, Parameter(help="Id of a tile or its first characters, such as 13c199; `search` shows ids.")]


def given_flags(arguments: Sequence[str]) -> list[str]:
    """Find the options in `CARRIED`, with their values, among the arguments of the running command."""
    flags: list[str] = []
    for given, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, is_joined, value = given.partition("=")
        if name in CARRIED and (value := value if is_joined else following):
            flags += [name, value]
    return flags


def complete_advice(message: str, flags: str) -> str:
    """Add `flags` to each `hubbleclip` command in a message, unless that command names a profile."""
    if not flags:
        return message
    return ADVISED.sub(lambda found: found[0] if "--profile" in found[1] else f"`{found[1]} {flags}`", message)
