"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from hubbleclip.config.settings import Settings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every command that reads settings."""

    profile: Annotated[
        str, Parameter(help="demo, hubble, jwst, local, paper, siglip2, or the path of a TOML file.")
    ] = "demo"
    data: Annotated[Path | None, Parameter(help="Root folder of all output.")] = None
    local: Annotated[Path | None, Parameter(help="Folder of FITS files, for the profile local.")] = None
    proposals: Annotated[Path | None, Parameter(help="JSON-lines file of proposals, for the profile local.")] = None
    set: Annotated[
        tuple[str, ...], Parameter(help="One setting, as section.name=value.", negative=(), consume_multiple=False)
    ] = ()

    def overrides(self) -> dict[str, Any]:
        """Collect the settings that the options change.

        Returns
        -------
        dict
            Nested plain values, which can also be sent to a Prefect server.

        """
        from hubbleclip.config.toml import parse_assignment, set_path

        values: dict[str, Any] = {}
        for assignment in self.set:
            set_path(values, *parse_assignment(assignment))
        for path, value in (
            ("data", self.data),
            ("archive.folder", self.local),
            ("archive.proposals_file", self.proposals),
        ):
            if value is not None:
                # The path is made absolute, because a Prefect worker has another working directory.
                set_path(values, path, str(value.absolute()))
        return values

    def settings(self) -> Settings:
        """Read the settings of the profile and apply the options.

        Returns
        -------
        Settings
            The validated, frozen settings.

        """
        from hubbleclip.config.settings import read_settings

        return read_settings(self.profile, self.overrides())


@dataclass(frozen=True, kw_only=True)
class PairOptions(Options):
    """Options of `pairs`, which has its own default profile."""

    profile: Annotated[str, Parameter(help="pairs, or the path of a TOML file.")] = "pairs"


Server = Annotated[
    bool,
    Parameter(
        name="--server", negative="--no-server", help="Record the run on a Prefect server, by default a private one."
    ),
]
