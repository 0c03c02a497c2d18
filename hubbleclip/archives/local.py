"""Archive that consists of a local folder of FITS files or JPEG pictures.

Files are read in place and never copied. Fields that are missing from a file's header stay empty. An unreadable file is
still listed as an observation, so that the tiles stage can reject it with a precise reason.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from hubbleclip.archives.base import Delivery, ObservationPage, ProcessLocal, proposal_id_of
from hubbleclip.archives.json_lines import read_proposal_rows
from hubbleclip.archives.stsci.parsers import ProposalText
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.errors import DownloadError, SettingsError
from hubbleclip.core.io import sha256_bytes, sha256_file
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import HEADER_SOURCE, Observation, Product, Proposal, Rejection, reject
from hubbleclip.core.text_cleaning import without_zeros
from hubbleclip.fits.integrity import content_name
from hubbleclip.fits.keywords import FileFacts, read_facts

LOG = logging.getLogger(__name__)
FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
JPEG = (".jpg", ".jpeg")
USABLE = {"a FITS file": FITS, "a JPEG file": JPEG}
"""File name suffixes of each kind of content that can be read."""
PACKED = (".fz", ".bz2", ".xz", ".z", ".zip", ".tar", ".tar.gz", ".tgz")
"""Suffixes of files that are packed or compressed in a format that is not read."""
SUFFIXES = {"science": FITS, "preview": JPEG, "total_preview": JPEG}
"""File name suffixes of the files to use, by the value of `archive.products`."""
SKIPPED = "skipped"
"""Rejection reason: the file is not read because of its name."""
PROPOSALS_NAME = "proposals.jsonl"
"""Name of the proposals file that is read from the folder if `archive.proposals_file` is not set."""
BYTES_PER_MB = 1_000_000
OBSERVATIONS_PER_PAGE = 5000


def scan_folder(folder: Path, suffixes: tuple[str, ...], own_folder: Path) -> tuple[list[Path], dict[str, str]]:
    """List the files below a folder that are neither hidden nor in `own_folder`, sorted by their relative path.

    Files whose name ends in one of `suffixes` (lower case, with the dot) are read. All other files are skipped. The
    returned dictionary has the relative path of each skipped file, and the reason or a way to make the file usable.
    """
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(own_folder))
    by_name = {path.relative_to(folder).as_posix(): path for path in files}
    names = sorted(name for name in by_name if not any(part.startswith(".") for part in name.split("/")))
    read = [by_name[name] for name in names if name.lower().endswith(suffixes)]
    return read, {name: _why(by_name[name], suffixes) for name in names if not name.lower().endswith(suffixes)}


def _why(path: Path, suffixes: tuple[str, ...]) -> str:
    """Explain why a file whose name ends in none of `suffixes` is skipped, or how it can be made usable."""
    if path.name.lower().endswith(PACKED):
        return "a packed file: unpack it"
    try:
        with path.open("rb") as file:
            content = content_name(file.read(512))
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    usable = USABLE.get(content or "")
    if usable is None:
        return f"{content or 'a file'} whose name ends in none of {', '.join(suffixes)}"
    if path.name.lower().endswith(usable):
        return f"{content}, which this value of archive.products does not use"
    return f"{content} under another name: rename it so that it ends in {usable[0]}"


class LocalArchive(ProcessLocal):
    """Archive of the files in a folder. Each file is one observation, and its path in the folder is the `obs_id`.

    SettingsError is raised if a folder or a file that the settings name does not exist.
    """

    name = "local"
    is_local = True

    def __init__(self, settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> None:
        folder, proposals_file = settings.folder, settings.proposals_file
        if folder is None:
            raise SettingsError(
                "no folder is set for the local archive: set archive.folder, or run `make` with LOCAL=folder"
            )
        if not folder.is_dir():
            raise SettingsError(f"archive.folder {folder} is not a folder: set it to a folder with FITS or JPEG files")
        if proposals_file is not None and not proposals_file.is_file():
            raise SettingsError(f"archive.proposals_file {proposals_file} is not a file: correct the path")
        default = folder.resolve() / PROPOSALS_NAME
        self.settings = settings
        self._reject = partial(reject, settings_digest=settings.digest())
        self.folder = folder.resolve()
        self.own_folder = layout.root.resolve()  # files in this folder are not read, even if it is inside `folder`
        self.proposals_file = proposals_file.resolve() if proposals_file else default if default.is_file() else None
        self._lock = threading.Lock()

    @cached_property
    def files(self) -> tuple[list[Path], dict[str, str]]:
        """The files that are read, and the skipped files, each with an explanation; see `scan_folder`."""
        return scan_folder(self.folder, SUFFIXES[self.settings.products], self.own_folder)

    @cached_property
    def facts(self) -> dict[str, FileFacts]:
        """Facts from the header of each file, by `obs_id`, sorted by `obs_id`."""
        with self._lock:  # several threads may need the facts at the same time, but only one reads the headers
            return {item.obs_id: item for item in (read_facts(path, self.folder) for path in self.files[0])}

    @cached_property
    def rows(self) -> dict[tuple[str, str], ProposalText]:
        """Rows of the proposals file, by (mission, number); empty if there is no proposals file."""
        return read_proposal_rows(self.proposals_file) if self.proposals_file else {}

    def query_observations(self, since_mjd: float, until_mjd: float | None = None) -> Iterator[ObservationPage]:
        """Return every file as an observation, or as a rejection; see `Archive.query_observations`."""
        skipped = {name: why for name, why in self.files[1].items() if self.folder / name != self.proposals_file}
        if skipped:
            names = ", ".join(list(skipped)[:3])
            LOG.warning("%d files are skipped, such as %s: see `hubbleclip status`", len(skipped), names)
            rejected = partial(self._reject, "observation", stage="observations", reason=SKIPPED)
            written = {name.encode(errors="replace").decode(): why for name, why in skipped.items()}
            yield ObservationPage(rejections=[rejected(name, detail=why) for name, why in written.items()])
        observations = [self._observation(facts) for facts in self.facts.values()]
        for start in range(0, len(observations), OBSERVATIONS_PER_PAGE):
            yield ObservationPage(observations=observations[start : start + OBSERVATIONS_PER_PAGE])

    def count_rows(self, since_mjd: float, until_mjd: float) -> int:
        """Return 0, because `num_rows` is empty on every page of this archive; see `Archive.count_rows`."""
        return 0

    def _observation(self, facts: FileFacts) -> Observation:
        """Convert header facts to an Observation; fields that no header gives, such as the release date, are None."""
        values: dict[str, Any] = dict.fromkeys(Observation.__slots__)
        values |= {name: getattr(facts, name) for name in FileFacts.__slots__ if name in values}
        values |= {
            "archive": self.name,
            "proposal_id": proposal_id_of(self.name, facts.number),
            "instrument": facts.instrument or "UNKNOWN",
            "filters": ";".join(facts.filters) or None,
            "target_name": facts.target,
            "fetched_at": datetime.now(UTC),
            # the fingerprint changes when the file changes, so that later stages process the file again
            "fingerprint": sha256_bytes(_version_of(self.folder / facts.obs_id).encode())[:32],
        }
        return Observation(**values)

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        """List the file of each observation; see `Archive.list_products`."""
        products: list[Product] = []
        rejections: list[Rejection] = []
        names, in_use = {item.obs_id for item in observations}, frozenset[str]().union(*(taken or {}).values())
        num_used = Counter({key: len(obs_ids - names) for key, obs_ids in (taken or {}).items()})

        def order(item: Observation) -> tuple[bool, str, str]:
            # Files in use come first. Other files are sorted by a hash of their path. Paths may contain dates: in the
            # order of paths, the limit of files per proposal would keep only the earliest files.
            return item.obs_id not in in_use, item.proposal_id, sha256_bytes(item.obs_id.encode())

        for observation in sorted(observations, key=order):
            found = self._choose(observation, num_used[observation.proposal_id])
            if isinstance(found, Rejection):
                rejections.append(found)
            else:
                products.append(found)
                num_used[observation.proposal_id] += 1
        return products, rejections

    def _choose(self, observation: Observation, num_used: int) -> Product | Rejection:
        """Make a product of an observation's file, or a rejection. `num_used` counts the proposal's other products."""
        path, limit = self.folder / observation.obs_id, self.settings.max_products_per_proposal
        rejected = partial(self._reject, "observation", observation.obs_id, "products")
        if observation.obs_id not in self.facts or not path.is_file():
            return rejected(reason="no_file", detail=f"{path} does not exist any more")
        size_bytes = path.stat().st_size
        if size_bytes > self.settings.max_product_mb * BYTES_PER_MB:
            detail = f"the file has {size_bytes} bytes: raise archive.max_product_mb"
            return rejected(reason="too_large", detail=detail)
        if num_used >= limit:
            return rejected(reason="over_limit", detail=f"the proposal already has {limit} files")
        return Product(
            uri=f"local:{observation.obs_id}",
            obs_id=observation.obs_id,
            proposal_id=observation.proposal_id,
            file_name=path.name,
            kind=self.facts[observation.obs_id].kind,
            size_bytes=size_bytes,
            choice="the only file",
            archive_version=_version_of(path),
        )

    def renewed_files(self, products: Sequence[Product]) -> tuple[list[str], list[str]]:
        """Return no files, because `archive_version` changes whenever a file changes; see `Archive.renewed_files`."""
        return [], []

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """Look up proposals in the proposals file and in the headers of the folder's files.

        A proposal that is not in the proposals file is made from the header of its first file and has no abstract. Each
        sample of this proposal gets the title in the header of the sample's own file.
        """
        first_file: dict[str, FileFacts] = {}
        for facts in self.facts.values():
            first_file.setdefault(proposal_id_of(self.name, facts.number), facts)
        proposals: list[Proposal] = []
        rejections: list[Rejection] = []
        for number in dict.fromkeys(numbers):
            proposal_id = proposal_id_of(self.name, number)
            if proposal_id in first_file:
                proposals.append(self._proposal(proposal_id, first_file[proposal_id]))
            else:
                words = f"no file in {self.folder} belongs to this proposal"
                rejections.append(self._reject("proposal", proposal_id, "proposals", reason="not_found", detail=words))
        return proposals, rejections

    def _proposal(self, proposal_id: str, facts: FileFacts) -> Proposal:
        """Merge a proposal's row in the proposals file with the header of a file. The row takes precedence."""
        number = without_zeros(facts.number)
        # a row of the proposals file without a mission applies to every mission
        row = self.rows.get((facts.mission, number)) or self.rows.get(("", number))
        text = row or ProposalText(number=number)
        text = replace(text, title=text.title or facts.title, pi=text.pi or facts.pi)
        source = self.proposals_file.name if row and self.proposals_file else HEADER_SOURCE
        return text.to_proposal(proposal_id, self.name, source)

    def fetch_product(self, product: Product, *, is_kept: bool = True) -> Delivery:
        """Hash a file without copying it. The path is absolute, because the file is outside of the profile's folder."""
        path = (self.folder / product.uri.removeprefix("local:")).resolve()
        try:
            sha256, size_bytes = sha256_file(path), path.stat().st_size
        except OSError as error:
            raise DownloadError("unreadable", f"{path} cannot be read: {error.strerror}") from error
        found = replace(product, sha256=sha256, path=path.as_posix(), size_bytes=size_bytes, source="local")
        return Delivery(replace(found, fetched_version=product.archive_version, fetched_at=datetime.now(UTC)))


def _version_of(path: Path) -> str:
    """Describe a file's version by its size and modification time, which are known without reading the file."""
    try:
        status = path.stat()
    except OSError:
        return "gone"
    return f"{status.st_size} bytes, written {datetime.fromtimestamp(status.st_mtime, UTC).isoformat()}"
