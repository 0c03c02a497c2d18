"""What is said of a dataset with some damage, when it is opened and when it is verified, is as recorded."""

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from synthetic_samples import build, make_sample

from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.manifest import description_bytes, read_manifest, write_table
from hubbleclip.dataset.verify import find_faults

Damage = Callable[[Path], Any]
HASH = re.compile(r"\b[0-9a-f]{32,64}\b")
OF_LIBRARIES = re.compile(r"cannot be read \(.*\):")


def rewrite(path: Path, data: bytes) -> None:
    """Write a file anew, since its content is that of other copies too."""
    path.unlink()
    path.write_bytes(data)


def described(change: Callable[[dict[str, Any]], object], *, is_forged: bool = False) -> Damage:
    """A change of the description; a forger also states the hashes of the files as they are."""

    def damage(folder: Path) -> None:
        facts = json.loads((folder / "dataset.json").read_text())
        change(facts)
        if is_forged:
            del facts["self_sha256"]
            facts["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in facts["files"]}
            for shard in facts["shards"]:
                data = (folder.parent / (shard["home_digest"] or folder.name) / shard["shard"]).read_bytes()
                shard |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        rewrite(folder / "dataset.json", description_bytes(facts) if is_forged else json.dumps(facts).encode())

    return damage


def of_shard(number: int, **changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda facts: facts["shards"][number].update(changes)


def column(name: str, change: Callable[[list[Any]], list[Any]]) -> Damage:
    """A change of the values of a column of the manifest."""

    def damage(folder: Path) -> None:
        manifest = read_manifest(folder)
        values = pa.array(change(manifest[name].to_pylist()))
        write_table(folder / "manifest.parquet", manifest.set_column(manifest.column_names.index(name), name, values))

    return damage


def last_image_ends(more: int) -> Damage:
    """Let the last image end some bytes behind the end of its shard."""

    def damage(folder: Path) -> None:
        info = read_dataset(folder)
        *_, (address, offset, _) = info.image_spans(info.manifest)
        length = Path(address).stat().st_size - offset + more
        column("length", lambda old: [*old[:-1], length])(folder)

    return damage


def without(*names: str) -> Damage:
    return lambda folder: write_table(folder / "manifest.parquet", read_manifest(folder).drop_columns([*names]))


def written(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda folder: rewrite(folder / name, change((folder / name).read_bytes()))


def flipped(name: str, share: float) -> Damage:
    def flip(data: bytes) -> bytes:
        place = int(share * (len(data) - 1))
        return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]

    return written(name, flip)


def flipped_member(shard: str, suffix: str, part: str) -> Damage:
    """A flipped bit of a member of a shard."""

    def damage(folder: Path) -> None:
        path = Path(read_dataset(folder).addresses[shard])
        with tarfile.open(path) as tar:
            member = [member for member in tar if member.name.endswith(suffix)][1]
        place = {
            "header": member.offset + 100,
            "content": member.offset_data,
            "padding": member.offset_data + member.size,
        }
        data = bytearray(path.read_bytes())
        data[place[part]] ^= 4
        rewrite(path, data)

    return damage


def replaced(name: str, kind: str) -> Damage:
    """Something else in place of a file: a link, a folder or a file that never ends."""

    def damage(folder: Path) -> None:
        path, outside = folder / name, folder.parent.parent / "outside"
        path.rename(outside)
        targets = {"zero": Path("/dev/zero"), "link": outside}
        made = {
            "fifo": lambda: os.mkfifo(path),
            "folder": path.mkdir,
            "huge": lambda: (path.touch(), os.truncate(path, 10**12)),
        }
        path.symlink_to(targets[kind]) if kind in targets else made[kind]() if kind in made else None

    return damage


def both(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


def forged(*damages: Damage) -> Damage:
    return both(*damages, described(lambda facts: None, is_forged=True))


SHARD_CHANGES: tuple[dict[str, Any], ...] = (
    *({"shard": name} for name in ("../../train-000000.tar", "/etc/passwd", None)),
    *({"home_digest": digest} for digest in ("..", f"../../{'0' * 26}", 7)),
    *({"size_bytes": -1}, {"num_samples": -1}, {"sha256": "x"}, {"colour": "red"}),
)
OF_DATASET = ("digest", "inputs_digest", "contract_version", "counts", "shards", "files", "split_report")
OF_SHARD = ("split", "sha256", "size_bytes", "num_samples", "home_digest")
FILES = (
    *({name: "0" * 64} for name in ("/dev/zero", "../x", "a/../../x", ".hidden", "")),
    *({"README.md": None}, {"README.md": "short"}, ["README.md"], None),
)
VERSIONS = ("99.0.0", "99", "1.99.0", "0.9", "", "one", "1.-1", "²", "1.0.7", "1")
NUMBERS = (-1, 0, 2**40, 2**63 - 1, -(2**63))
BESIDE = ("manifest.parquet", "dataset.json", "README.md", "croissant.json", "sky/hats.properties", "test_tiles.txt")
KINDS = dict.fromkeys(("dataset.json", "train-000001.tar"), ("fifo", "zero", "link", "folder", "huge"))
KINDS |= {"manifest.parquet": ("folder", "huge"), "README.md": ("fifo", "link")}
GROUPS: dict[str, dict[str, Damage]] = {
    "description": {
        "none": lambda folder: None,
        **{f"shard with {change}": described(of_shard(0, **change)) for change in SHARD_CHANGES},
        **{f"no {name}": described(lambda facts, name=name: facts.pop(name)) for name in OF_DATASET},
        **{
            f"no {name} of a shard": described(lambda facts, name=name: facts["shards"][1].pop(name))
            for name in OF_SHARD
        },
        **{f"files {files}": described(lambda facts, files=files: facts.update(files=files)) for files in FILES},
        **{
            f"version {one!r}": described(lambda facts, one=one: facts.update(contract_version=one)) for one in VERSIONS
        },
        **{
            f"text {text[:12]}": written("dataset.json", lambda _, text=text: text.encode())
            for text in ("[" * 200_000, '{"digest": "', "[]")
        },
    },
    "manifest": {
        **{f"no {name}": without(name) for name in ("tile_id", "caption_kinds", "captions", "shard")},
        **{
            f"{name} {one}": column(name, lambda old, one=one: [*old[:-1], one])
            for name, one in [*(("offset", one) for one in NUMBERS), *(("length", one) for one in NUMBERS[:3])]
        },
        **{
            f"{name} None": column(name, lambda old: [*old[:-1], None])
            for name in ("tile_id", "split", "group_id", "offset", "captions")
        },
        **{f"captions {one}": column("captions", lambda old, one=one: [*old[:-1], one]) for one in ([], [None])},
        **{f"captions all {one}": column("captions", lambda old, one=one: [one] * len(old)) for one in ("a text", [5])},
        "shard elsewhere": column("shard", lambda old: [*old[:-1], "../../other.tar"]),
        **{f"{more} beyond the end": last_image_ends(more) for more in (0, 1)},
    },
    "files": {
        **{f"{name} flipped at {share}": flipped(name, share) for name, share in product(BESIDE, (0, 0.9))},
        **{f"{name} lost": replaced(name, "lost") for name in (*BESIDE, "train-000001.tar")},
        **{f"{name} is a {kind}": replaced(name, kind) for name, kinds in KINDS.items() for kind in kinds},
        **{
            f"{name} and croissant.json": both(replaced(name, kind), flipped("croissant.json", 0))
            for name, kind in (("README.md", "lost"), ("LICENSE.md", "link"))
        },
    },
    "shards": {
        **{
            f"{part} of {suffix} in train-00000{number % 2}.tar": flipped_member(
                f"train-00000{number % 2}.tar", suffix, part
            )
            for number, (part, suffix) in enumerate(product(("header", "content", "padding"), ("json", "png", "txt")))
        },
        "behind the samples": flipped("train-000001.tar", 1),
        "shorter": written("val-000001.tar", lambda data: data[:-512]),
        "longer": written("val-000001.tar", lambda data: data + bytes(512)),
        "lost with the parent": lambda folder: shutil.rmtree(
            folder.parent / read_dataset(folder).description["parent_digest"]
        ),
    },
    "forged": {
        "counts": described(lambda facts: facts.update(counts={}), is_forged=True),
        "digest": described(lambda facts: facts.update(digest="0" * 32), is_forged=True),
        "inputs": described(lambda facts: facts.update(inputs_digest="0" * 32), is_forged=True),
        "no manifest": described(lambda facts: facts["files"].pop("manifest.parquet"), is_forged=True),
        "no test list": described(lambda facts: facts["files"].pop("test_tiles.txt"), is_forged=True),
        "num_samples": described(of_shard(-1, num_samples=1), is_forged=True),
        "split": described(of_shard(-1, split="train"), is_forged=True),
        "test list": forged(written("test_tiles.txt", lambda _: b"")),
        "without title": forged(without("title")),
        "without a column of newer versions": forged(without("view")),
        "other title": forged(column("title", lambda old: ["Another", *old[1:]])),
        "moved image": forged(column("offset", lambda old: [old[0] + 512, *old[1:]])),
        "without title and flipped": both(forged(without("title")), flipped("train-000001.tar", 0.3)),
        "two": both(flipped("README.md", 0.5), flipped("croissant.json", 0.5), flipped("train-000001.tar", 0.1)),
    },
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of two nights, of which the second has shards of the first."""
    root = tmp_path_factory.mktemp("whole") / "datasets"
    pictures = [b"picture" * (1 + number) for number in range(20)]
    samples = [make_sample(number, number % 5, picture) for number, picture in enumerate(pictures)]
    for num in (10, 20):
        newest = build(samples[:num], {one.tile_id: pictures[number] for number, one in enumerate(samples)}, root)
    root.with_name("newest").write_text(newest.dataset.digest)
    return root


@pytest.mark.parametrize("group", GROUPS)
def test_damages_are_told_as_recorded(
    group: str, datasets: Path, tmp_path: Path, compare_recorded: Callable[..., None]
) -> None:
    found = {}
    for number, (name, damage) in enumerate(GROUPS[group].items()):
        folder = (
            shutil.copytree(datasets, tmp_path / f"{number}/datasets", copy_function=os.link)
            / datasets.with_name("newest").read_text()
        )
        damage(folder)
        try:
            opened = f"opens with {read_dataset(folder).manifest.num_rows} rows"
        except DatasetError as error:
            opened = str(error)
        faults = [fault for fault in find_faults(folder) if fault != opened]
        texts = [OF_LIBRARIES.sub("cannot be read:", one) for one in (opened, *faults)]
        found[name] = [HASH.sub("#", one.replace(str(folder.parent), "")) for one in texts]
    compare_recorded(f"damages_of_{group}.json", found)
