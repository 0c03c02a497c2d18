"""A small catalog that keeps every rule. The first row of a table is used by others; a later one can be changed alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hubbleclip.core import records
from hubbleclip.core.records import Record

NOW = datetime(2024, 1, 2, tzinfo=UTC)
RUNS = ("20240102T000000-00000001", "20240102T000000-00000002", "20240102T000000-00000003")


def hex_of(letter: str, length: int) -> str:
    """An artificial hash."""
    return letter * length


def observation(obs_id: str) -> records.Observation:
    return records.Observation(
        obs_id=obs_id,
        archive="hst",
        obsid=7,
        proposal_id="hst:1",
        instrument="WFC3/UVIS",
        filters="F606W",
        target_name="M31",
        target_class="GALAXY",
        is_moving=False,
        ra_deg=10.0,
        dec_deg=41.0,
        footprint="POLYGON",
        start_mjd=58000.0,
        exposure_s=300.0,
        calib_level=3,
        released_mjd=58100.0,
        title="Stars",
        fetched_at=NOW,
        visit="iabc01",
        fingerprint=hex_of("a", 32),
        query_digest=hex_of("d", 16),
    )


def product(uri: str, **changes: Any) -> records.Product:
    row = {
        "uri": uri,
        "obs_id": "o1",
        "proposal_id": "hst:1",
        "file_name": "a_drz.fits",
        "kind": "drz",
        "size_bytes": 9,
        "choice": "the only file",
        "sha256": hex_of("b", 64),
        "path": "products/b",
        "fetched_at": NOW,
        "archive_version": "1",
        "fetched_version": "1",
        "version": 1,
        "source": "mast",
        "etag": "e",
    }
    return records.Product(**(row | changes))


def product_version(version: int) -> records.ProductVersion:
    return records.ProductVersion(
        uri="mast:p1",
        version=version,
        sha256=hex_of("b", 64),
        archive_version="1",
        size_bytes=9,
        source="mast",
        fetched_at=NOW,
    )


def tile(letter: str, **changes: Any) -> records.Tile:
    row = {
        "tile_id": hex_of(letter, 32),
        "product_uri": "mast:p1",
        "product_sha256": hex_of("b", 64),
        "obs_id": "o1",
        "proposal_id": "hst:1",
        "path": f"tiles/{letter}.png",
        "png_sha256": hex_of("c", 64),
        "chip": 1,
        "y0": 0,
        "x0": 0,
        "size_px": 64,
        "instrument": "WFC3/UVIS",
        "filter": "F606W",
        "unit": "ELECTRONS/S",
        "ra_deg": 10.0,
        "dec_deg": 41.0,
        "corners_deg": [10.0, 41.0] * 4,
        "pixel_scale_arcsec": 0.04,
        "wcs": "WCSAXES",
        "valid_share": 1.0,
        "sky": 0.0,
        "noise": 1.0,
        "black": 0.0,
        "white": 9.0,
        "softening": 3.0,
        "settings_digest": hex_of("d", 16),
        "cut_at": NOW,
        "view": "native",
        "shrink": 1.0,
        "size_bytes": 500,
        "note": "unknown camera",
    }
    return records.Tile(**(row | changes))


def sample(letter: str, group_id: str) -> records.Sample:
    return records.Sample(
        tile_id=hex_of(letter, 32),
        split="train",
        group_id=group_id,
        proposal_id="hst:1",
        archive="hst",
        category="STARS",
        title="Stars",
        pi="A. Nova",
        cycle=20,
        obs_id="o1",
        target_name="M31",
        target_class="GALAXY",
        is_moving=False,
        instrument="WFC3/UVIS",
        filter="F606W",
        ra_deg=10.0,
        dec_deg=41.0,
        corners_deg=[10.0, 41.0] * 4,
        pixel_scale_arcsec=0.04,
        valid_share=1.0,
        product_uri="mast:p1",
        product_sha256=hex_of("b", 64),
        png_sha256=hex_of("c", 64),
        caption_kinds=["abstract"],
        captions=["Stars."],
        view="native",
        chip=1,
        y0=0,
        x0=0,
        shrink=1.0,
        wcs="WCSAXES",
        unit="ELECTRONS/S",
        black=0.0,
        white=9.0,
        softening=3.0,
        caption_source="proposal",
    )


def run(run_id: str) -> records.Run:
    return records.Run(
        run_id=run_id,
        dataset_digest=hex_of("1", 32),
        settings_digest=hex_of("d", 16),
        path="runs/a",
        model="tiny",
        pretrained="",
        loss="clip",
        is_shuffled=False,
        steps=10,
        samples_seen=100,
        seed=1,
        device="cpu",
        best_step=0,
        settings="{}",
        code_version="0.1.0",
        started_at=NOW,
        ended_at=NOW,
    )


def dataset(letter: str, **changes: Any) -> records.Dataset:
    row = {
        "digest": hex_of(letter, 32),
        "inputs_digest": hex_of("e", 32),
        "path": "datasets/a",
        "num_samples": 0,
        "num_shards": 0,
        "contract_version": "1.2.0",
        "built_at": NOW,
        "test_list_sha256": hex_of("f", 64),
    }
    return records.Dataset(**(row | changes))


def shard(letter: str, num_samples: int) -> records.Shard:
    return records.Shard(
        dataset_digest=hex_of(letter, 32),
        shard="train-000000.tar",
        split="train",
        sha256=hex_of("9", 64),
        size_bytes=2048,
        num_samples=num_samples,
    )


def metric(name: str) -> records.Metric:
    return records.Metric(
        run_id=RUNS[0], protocol="fair", split="test", model="fine_tuned", name=name, value=0.5, low=0.4, high=0.6
    )


def proposal(number: str) -> records.Proposal:
    return records.Proposal(
        proposal_id=f"hst:{number}",
        archive="hst",
        number=number,
        cycle=20,
        proposal_type="GO",
        category="STARS",
        title="Stars",
        pi="A. Nova",
        abstract="Stars.",
        source="abstracts.cat",
        fetched_at=NOW,
        provenance="{}",
    )


def promotion(run_id: str, previous: str | None, difference: float | None) -> records.Promotion:
    low, high = (None, None) if difference is None else (difference - 0.1, difference + 0.1)
    return records.Promotion(
        run_id=run_id,
        previous_run_id=previous,
        is_promoted=True,
        metric="recall",
        value=0.5,
        difference=difference,
        low=low,
        high=high,
        decided_at=NOW,
    )


def summary(letter: str, **changes: Any) -> records.AbstractSummary:
    row = {
        "abstract_sha256": hex_of(letter, 64),
        "writer": "small-1.1.7",
        "is_model": True,
        "model": "small",
        "prompt_version": 1,
        "prompt_digest": hex_of("d", 16),
        "schema_version": 1,
        "seed": 7,
        "objects": ["star"],
        "phenomena": ["accretion"],
        "science_aims": ["measure it"],
        "target_names": ["M31"],
        "category": "Stars",
        "summary": "Stars.",
        "search_phrases": ["star"],
        "ungrounded": ["quasar"],
        "num_named": 3,
        "num_calls": 2,
        "prompt_tokens": 500,
        "answer_tokens": 90,
        "duration_s": 1.5,
        "answered_at": NOW,
    }
    return records.AbstractSummary(**(row | changes))


def assignment(letter: str, group_id: str, split: str, reason: str | None = None) -> records.SplitAssignment:
    return records.SplitAssignment(tile_id=hex_of(letter, 32), group_id=group_id, split=split, reason=reason)


def valid_rows() -> dict[str, list[Record]]:
    """Rows of every table."""
    parts = ["mast:p1", "mast:p1", "mast:p2"]
    later = NOW + timedelta(hours=6)
    return {
        "proposal": [proposal("1"), proposal("2")],
        "observation": [observation("o1"), observation("o2")],
        "product": [product("mast:p1"), product("mast:p2", version=None, superseded_at=NOW)],
        "product_version": [product_version(1), product_version(2)],
        "listing": [
            records.Listing(obs_id="o1", settings_digest=hex_of("d", 16), fingerprint=hex_of("a", 32), listed_at=NOW)
        ],
        "tile": [
            tile("1"),
            tile("2"),
            tile("3"),
            tile("4", proposal_id="hst:2"),
            tile("5"),
            tile("6", view="colour", part_uris=parts),
            tile("7"),
        ],
        "caption": [records.Caption(proposal_id="hst:1", kind="abstract", text="Stars.")],
        "abstract_summary": [
            summary("a"),
            summary("b", writer="rules-1.1", is_model=False, model="rules", prompt_tokens=None, answer_tokens=None),
        ],
        "split": [
            assignment("1", "g1", "train"),
            assignment("2", "g1", "train"),
            assignment("3", "g3", "excluded", "overlap"),
            assignment("4", "g4", "train"),
        ],
        "rejection": [
            records.Rejection(
                entity="observation",
                entity_id="o2",
                stage="products",
                reason="covered",
                detail="",
                settings_digest=hex_of("d", 16),
                rejected_at=NOW,
            )
        ],
        "attempt": [
            records.Attempt(
                entity="product",
                entity_id="mast:p1",
                stage="fetch",
                attempts=1,
                error="busy",
                detail="",
                first_at=NOW,
                last_at=NOW,
                next_try_at=later,
            )
        ],
        "watermark": [
            records.Watermark(archive="hst", query_digest=hex_of("d", 16), released_mjd=58100.0, updated_at=NOW)
        ],
        "day_count": [
            records.DayCount(archive="hst", query_digest=hex_of("d", 16), day_mjd=58100, num_rows=2, counted_at=NOW)
        ],
        "dataset": [
            dataset("1", num_samples=1, num_shards=1),
            dataset("2", num_shards=1),
            dataset("3", parent_digest=hex_of("1", 32), num_new_samples=0),
        ],
        "shard": [shard("1", 1), shard("2", 0)],
        "placement": [
            records.Placement(
                dataset_digest=hex_of("1", 32),
                tile_id=hex_of("1", 32),
                shard="train-000000.tar",
                offset=512,
                length=500,
            )
        ],
        "sample": [sample("1", "g1"), sample("2", "g1")],
        "run": [run(run_id) for run_id in RUNS],
        "checkpoint": [
            records.Checkpoint(run_id=run_id, step=step, path="runs/a/c.pt", sha256=hex_of("8", 64))
            for run_id, step in [*((run_id, 0) for run_id in RUNS), (RUNS[0], 10)]
        ],
        "metric": [metric("recall_at_1"), metric("recall_at_5")],
        "report": [
            records.Report(
                report_id=f"{RUNS[0]}-1", run_id=RUNS[0], settings_digest=hex_of("d", 16), path="reports/a", made_at=NOW
            )
        ],
        "promotion": [promotion(RUNS[0], None, None), promotion(RUNS[1], RUNS[0], 0.1)],
    }
