"""Check an archive before the first ingest of a profile."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.filesize import decimal

from hubbleclip.archives.check import check_archive as run_checks
from hubbleclip.archives.check.estimate import Estimate, estimate
from hubbleclip.archives.check.probe import CheckReport, Level
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import ArchiveError, SettingsError
from hubbleclip.core.layout import Layout
from hubbleclip.missions import MISSIONS
from hubbleclip.missions.archive import ArchivePins
from hubbleclip.pipeline.engine.stage import Stage, log, served_archive


def pins_of(settings: Settings) -> ArchivePins:
    """Return known facts about an archive, such as the files of a proposal, to compare with the archive's answers."""
    if settings.archive.name in MISSIONS:
        return MISSIONS[settings.archive.name].pins
    if settings.archive.name == "simulated":
        from hubbleclip.simulator.server.pins import pins_of as simulated_pins  # noqa: PLC0415 - slow to import

        return simulated_pins(settings.simulator)
    raise SettingsError(
        f"archive.name = {settings.archive.name!r} has no recorded answers, so there is nothing to check"
    )


def check_archive(settings: Settings, keep: Path | None = None) -> tuple[CheckReport, Estimate | None]:
    """Check the archive of a profile, and estimate the size and duration of the first ingest."""
    pins = pins_of(settings)
    with served_archive(settings) as served, TemporaryDirectory(prefix="hubbleclip-check-") as folder:
        archive = served.model_copy(update={"use_ads": False})
        report = run_checks(MastArchive(archive, settings.fetch, Layout(Path(folder))), pins, keep)
    return report, estimate(report.measured, settings.fetch, settings.tiles)


def disk_line(estimated: Estimate, settings: Settings) -> tuple[bool, str]:
    """Return whether the estimated files and tiles fit on the disk, and a line of text with the sizes."""
    place = next(path for path in (settings.root, *settings.root.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    needed = estimated.file_bytes + estimated.tile_bytes
    advice = ""
    if needed > free and estimated.file_bytes and estimated.tile_bytes <= free:
        advice = ": set fetch.keep_fits = false, so that each file is deleted after it is cut"
    elif needed > free:
        advice = ": set --data to a larger disk, or select a part of the archive with archive.since or archive.cycles"
    files, tiles = decimal(round(estimated.file_bytes)), decimal(round(estimated.tile_bytes))
    return needed <= free, f"{files} for files and {tiles} for tiles; {decimal(free)} are free at {place}{advice}"


def check_before_first(stage: Stage) -> None:
    """Check a mission's archive before the first ingest from this archive."""
    settings = stage.settings
    is_real = settings.archive.name in MISSIONS and not settings.archive.from_raw and settings.archive.check_first
    if not is_real or stage.catalog.rows("SELECT 1 FROM watermark WHERE archive = ?", [settings.archive.name]):
        return
    report, estimated = check_archive(settings)
    wrong = [finding for finding in report.findings if finding.level > Level.OK]
    for one in wrong:
        level = one.level.name.lower()
        log.warning("check-archive: %s %s: needed %s, found %s", one.what, level, one.needed, one.found)
    num, took_s = len(report.findings), report.measured.total_s
    log.info("check-archive: %d of %d comparisons are as expected, in %.1f s", num - len(wrong), num, took_s)
    if estimated is not None:
        fits, line = disk_line(estimated, settings)
        log.log(logging.INFO if fits else logging.WARNING, "the first ingest needs about %s", line)
    if report.level is Level.STOPS:
        names = ", ".join(finding.what for finding in wrong if finding.level is Level.STOPS)
        raise ArchiveError(
            f"the archive failed some checks ({names}): run `hubbleclip check-archive --profile NAME` to list all"
            " results, or set archive.check_first = false to ingest nevertheless"
        )


def as_plain(report: CheckReport, estimated: Estimate | None) -> dict[str, Any]:
    """Convert a report to JSON values."""
    return {
        "level": report.level.name.lower(),
        "findings": [asdict(finding) | {"level": finding.level.name.lower()} for finding in report.findings],
        "measured": asdict(report.measured),
        "estimate": asdict(estimated) if estimated else None,
    }
