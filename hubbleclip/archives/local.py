"""A folder of FITS files, or of JPEG pictures, as an archive. Files stay where they are; what their headers cannot tell
is left empty.

A file that cannot be read at all is still listed, so that cutting tiles rejects it with its own reason.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from hubbleclip.archives.base import Delivery, Known, draw_key, now_utc, proposal_id_of, reject
from hubbleclip.archives.json_lines import read_proposal_rows
from hubbleclip.archives.stsci.parsers import ProposalText
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.errors import DownloadError, SettingsError
from hubbleclip.core.io import sha256_bytes, sha256_file
from hubbleclip.core.layout import Layout
from hubbleclip.core.process_local import ProcessLocal
from hubbleclip.core.records import Observation, Product, Proposal, Rejection
from hubbleclip.core.text_cleaning import clean_number
from hubbleclip.fits.keywords import FileFacts, read_facts

LOG = logging.getLogger(__name__)
SUFFIXES = {"science": (".fits", ".fit", ".fits.gz", ".fit.gz"), "preview": (".jpg", ".jpeg")}
"""Which files of the folder count, by `archive.products`."""
PROPOSALS_NAME = "proposals.jsonl"
BYTES_A_MB = 1_000_000


class LocalArchive(ProcessLocal):
    """One folder behind the Archive protocol. An observation is a file, its obs_id the path below the folder."""

    name = "local"
    is_at_hand = True

    def __init__(self, settings: ArchiveSettings, folder: Path, proposals_file: Path | None) -> None:
        self.settings = settings
        self.folder = folder
        self.proposals_file = proposals_file
        self._lock = threading.Lock()

    @cached_property
    def facts(self) -> dict[str, FileFacts]:
        """What each file's header says, by obs_id, in sorted order."""
        with self._lock:
            paths = files_of(self.folder, SUFFIXES[self.settings.products])
            return {item.obs_id: item for item in (read_facts(path, self.folder) for path in paths)}

    @cached_property
    def rows(self) -> dict[tuple[str, str], ProposalText]:
        """The proposals file by mission and number; empty without one."""
        return read_proposal_rows(self.proposals_file) if self.proposals_file else {}

    @cached_property
    def repeats(self) -> dict[str, str]:
        """Files that are byte for byte an earlier one: obs_id to the obs_id of the first."""
        return find_repeats(self.folder, self.facts)

    def query_observations(self, since_mjd: float) -> Iterator[list[Observation]]:
        """Every file, a page at a time."""
        observations = [self._observation(facts) for facts in self.facts.values()]
        for start in range(0, len(observations), self.settings.page_size):
            yield observations[start : start + self.settings.page_size]

    def _observation(self, facts: FileFacts) -> Observation:
        return Observation(
            obs_id=facts.obs_id,
            archive=self.name,
            obsid=None,
            proposal_id=proposal_id_of(self.name, facts.number),
            instrument=facts.instrument or "UNKNOWN",
            filters=";".join(facts.filters) or None,
            target_name=facts.target,
            target_class=None,
            is_moving=facts.is_moving,
            ra_deg=facts.ra_deg,
            dec_deg=facts.dec_deg,
            footprint=None,
            start_mjd=facts.start_mjd,
            exposure_s=facts.exposure_s,
            calib_level=None,
            released_mjd=None,
            title=facts.title,
            fetched_at=now_utc(),
            fingerprint=sha256_bytes(_version_of(self.folder / facts.obs_id).encode())[:32],
        )

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        """The file of each observation; a repeated, vanished or too large one, or one over the limit, is rejected."""
        products: list[Product] = []
        rejections: list[Rejection] = []
        used = {key: len(names) for key, names in (taken or {}).items()}
        for observation in sorted(observations, key=draw_key):
            path = self.folder / observation.obs_id
            problem = self._problem(observation, path, used.get(observation.proposal_id, 0))
            if problem is not None:
                rejections.append(self._rejection("observation", observation.obs_id, "products", problem))
                continue
            used[observation.proposal_id] = used.get(observation.proposal_id, 0) + 1
            products.append(self._product(observation, path))
        return products, rejections

    def _rejection(self, entity: str, entity_id: str, stage: str, problem: tuple[str, str]) -> Rejection:
        reason, detail = problem
        digest = self.settings.digest()
        return reject(entity, entity_id, stage, reason=reason, detail=detail, settings_digest=digest)

    def _problem(self, observation: Observation, path: Path, num_used: int) -> tuple[str, str] | None:
        """Why a file is left out: reason and detail."""
        if observation.obs_id not in self.facts or not path.is_file():
            return "no_file", f"{path} is gone"
        if observation.obs_id in self.repeats:
            return "repeated", f"the same bytes as {self.repeats[observation.obs_id]}"
        size_bytes = path.stat().st_size
        if size_bytes > self.settings.max_product_mb * BYTES_A_MB:
            return "too_large", f"{size_bytes} bytes; see archive.max_product_mb"
        if num_used >= self.settings.max_products_per_proposal:
            return "over_limit", f"the proposal has its {self.settings.max_products_per_proposal} files already"
        return None

    def _product(self, observation: Observation, path: Path) -> Product:
        return Product(
            uri=f"local:{observation.obs_id}",
            obs_id=observation.obs_id,
            proposal_id=observation.proposal_id,
            file_name=path.name,
            kind=self.facts[observation.obs_id].kind,
            size_bytes=path.stat().st_size,
            choice="the only file",
            archive_version=_version_of(path),
        )

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """From the proposals file where it has the number, else made from the first file's header, without abstract."""
        first: dict[str, FileFacts] = {}
        for facts in self.facts.values():
            first.setdefault(proposal_id_of(self.name, facts.number), facts)
        proposals: list[Proposal] = []
        rejections: list[Rejection] = []
        for number in dict.fromkeys(numbers):
            proposal_id = proposal_id_of(self.name, number)
            if proposal_id in first:
                proposals.append(self._proposal(proposal_id, first[proposal_id]))
            else:
                problem = "not_found", f"no file in {self.folder} belongs to it"
                rejections.append(self._rejection("proposal", proposal_id, "proposals", problem))
        return proposals, rejections

    def _proposal(self, proposal_id: str, facts: FileFacts) -> Proposal:
        number = clean_number(facts.number) if facts.number.isdigit() else facts.number
        row = self.rows.get((facts.mission, number)) or self.rows.get(("", number))
        return Proposal(
            proposal_id=proposal_id,
            archive=self.name,
            number=number,
            cycle=row.cycle if row else None,
            proposal_type=row.proposal_type if row else None,
            category=row.category if row else None,
            title=(row.title if row else None) or facts.title,
            pi=(row.pi if row else None) or facts.pi,
            abstract=row.abstract if row else None,
            source=self.proposals_file.name if row and self.proposals_file else "header",
            fetched_at=now_utc(),
        )

    def remember(self, known: Known) -> None:
        """Nothing: files are read where they stand."""

    def fetch_product(self, product: Product) -> Product:
        """Hash the file in place; its path is absolute, as it stands outside the profile. Raises DownloadError."""
        path = (self.folder / product.uri.removeprefix("local:")).resolve()
        try:
            sha256, size_bytes = sha256_file(path), path.stat().st_size
        except OSError as error:
            raise DownloadError("unreadable", f"{path} cannot be read: {error.strerror}") from error
        return replace(
            product,
            sha256=sha256,
            path=path.as_posix(),
            size_bytes=size_bytes,
            source="local",
            fetched_version=product.archive_version,
            fetched_at=now_utc(),
        )

    def deliver_product(self, product: Product) -> Delivery:
        """As fetch_product: no file is brought anywhere."""
        return Delivery(self.fetch_product(product))


def open_local(settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> LocalArchive:
    """The local archive of these settings. Raises SettingsError for a missing folder or proposals file."""
    folder = settings.folder
    if folder is None:
        raise SettingsError("the local archive needs a folder of files: set archive.folder, or LOCAL=folder")
    if not folder.is_dir():
        raise SettingsError(f"archive.folder {folder} is not a folder: set it to one that holds FITS or JPEG files")
    proposals_file = settings.proposals_file
    if proposals_file is not None and not proposals_file.is_file():
        raise SettingsError(f"archive.proposals_file {proposals_file} is not a file")
    default = folder / PROPOSALS_NAME
    return LocalArchive(settings, folder.resolve(), proposals_file or (default if default.is_file() else None))


def _version_of(path: Path) -> str:
    """What changes with a file: its size and when it was written."""
    try:
        found = path.stat()
    except OSError:
        return "gone"
    return f"{found.st_size} bytes, written {datetime.fromtimestamp(found.st_mtime, UTC).isoformat()}"


def files_of(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of these kinds below a folder, sorted by their path in it; hidden ones and those in hidden folders are left
    alone.
    """
    found = (path for path in folder.rglob("*") if path.name.lower().endswith(suffixes) and path.is_file())
    visible = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(visible, key=lambda path: path.relative_to(folder).as_posix())


def find_repeats(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Byte-equal files: each later name with the first. Only files of equal size are read, empty ones never."""
    by_size: dict[int, list[str]] = {}
    for name in names:
        by_size.setdefault((folder / name).stat().st_size, []).append(name)
    repeats: dict[str, str] = {}
    for size, group in by_size.items():
        first: dict[str, str] = {}
        for name in group if size and len(group) > 1 else []:
            original = first.setdefault(sha256_file(folder / name), name)
            if original != name:
                repeats[name] = original
    return repeats
