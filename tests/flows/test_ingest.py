"""A batch of files: what can be had is fetched, what cannot is left out, and an archive that is gone ends the run."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.ingest import fetch_products
from hubbleclip.archives import Archive, open_archive
from hubbleclip.errors import ArchiveUnreachableError
from hubbleclip.paths import Layout
from hubbleclip.records import Product
from hubbleclip.settings import ArchiveSettings, Settings, SimulatorSettings, read_settings
from hubbleclip.simulator.child import running_simulator, simulated_addresses

SKY = SimulatorSettings(num_proposals=4, frame_px=96)


@pytest.fixture
def settings() -> Settings:
    return read_settings("demo", {"fetch": {"attempts": 2, "backoff_s": 0.05, "timeout_s": 5}})


def archive_at(url: str, settings: Settings, folder: Path) -> Archive:
    archive = ArchiveSettings(name="simulated", **simulated_addresses(url))
    return open_archive(archive, settings.fetch, Layout(folder / "demo"))


def test_a_batch_goes_on_when_a_file_is_missing_and_ends_when_the_archive_is_gone(
    settings: Settings, tmp_path: Path
) -> None:
    with running_simulator(SKY) as url:
        archive = archive_at(url, settings, tmp_path)
        page = next(iter(archive.query_observations(48005.0)))
        products, _ = archive.list_products(page)
        missing = replace(products[0], uri="mast:HST/product/none_drz.fits")
        batch = fetch_products([missing, products[1]], archive, settings)
    assert [product.uri for product in batch["product"]] == [products[1].uri]
    assert all(isinstance(product, Product) and product.sha256 for product in batch["product"])
    assert [(r.entity_id, r.stage) for r in batch["rejection"]] == [(missing.uri, "fetch")]
    with pytest.raises(ArchiveUnreachableError):
        fetch_products(products[2:4], archive, settings)
