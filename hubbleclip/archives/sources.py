"""Where a product's bytes come from: the archive's own server, or a public copy of it in the cloud."""

from __future__ import annotations

from dataclasses import replace

from hubbleclip.archives.base import now_utc
from hubbleclip.archives.download import fetch_file
from hubbleclip.archives.mast import MastClient
from hubbleclip.archives.transport import Transport
from hubbleclip.errors import ArchiveError, DownloadError
from hubbleclip.paths import Layout
from hubbleclip.records import Product
from hubbleclip.settings import FetchSettings


class FileSources:
    """The sources that the settings name, best first. Threads may share one object."""

    def __init__(self, fetch: FetchSettings, layout: Layout, transport: Transport, mast: MastClient) -> None:
        self.settings = fetch
        self.layout = layout
        self.transport = transport
        self.mast = mast

    def fetch(self, product: Product) -> Product:
        """The product on disk, checked. Raises DownloadError, ArchiveDownError, DiskFullError."""
        try:
            url = self.mast.download_url(product.uri)
        except ArchiveError as error:
            raise DownloadError("refused", str(error)) from error
        file = fetch_file(
            self.transport,
            url,
            uri=product.uri,
            file_name=product.file_name,
            size_bytes=product.size_bytes,
            layout=self.layout,
        )
        return replace(
            product,
            sha256=file.sha256,
            path=self.layout.relative(file.path),
            size_bytes=file.size_bytes,
            source="mast",
            fetched_version=product.archive_version,
            fetched_at=now_utc(),
        )
