import io
import itertools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic_samples import built_in, make_samples_with_pngs

from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset import reader
from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.loader import (
    GAIN_JITTER,
    WHOLE_SHARE,
    TrainBatches,
    iterate_batches,
    iterate_eval_images,
    token_counter,
)
from hubbleclip.dataset.reader import decode_resized, open_split, resized
from hubbleclip.dataset.sampler import GroupBatchSampler, derangement, draw_views, positive_ids
from hubbleclip.images.encode import encode_png

SETTINGS = TrainSettings(steps=6, batch_size=4, workers=0, seed=5, min_crop_share=0.6)
TOKENIZER = open_clip.SimpleTokenizer(context_length=16)
PARTS = ("tiles_b1ss", "theta_b23", "gain_b", "tokens_bl", "group_ids_b2")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    samples, pngs = make_samples_with_pngs()
    return built_in(tmp_path_factory.mktemp("datasets"), samples, pngs), pngs


def open_batches(folder: Path, settings: TrainSettings = SETTINGS, **options):
    tiles = open_split(read_dataset(folder), "train")
    return TrainBatches(tiles, settings, image_size=8, tokenizer=TOKENIZER, context_length=16, **options)


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in PARTS)


def test_evaluation_sees_every_tile_once_in_order_of_tile_id(built, monkeypatch) -> None:
    monkeypatch.setattr(reader, "TILES_PER_READ", 3)
    folder, pngs = built
    tiles = open_split(read_dataset(folder), "test")
    seen = torch.cat(list(iterate_eval_images(tiles, 16, 3)))[:, 0]
    ids = sorted(tiles.rows["tile_id"].to_pylist())
    assert tiles.rows["tile_id"].to_pylist() == ids
    expected = [np.asarray(Image.open(io.BytesIO(pngs[tile_id]))) for tile_id in ids]
    assert np.array_equal(seen, expected) and np.array_equal(tiles.read_all_tiles(16), expected)


def test_hard_negatives_have_the_most_frequent_category_and_instrument_of_a_group(tmp_path) -> None:
    samples, pngs = make_samples_with_pngs()
    cameras = {0: "WFC3/IR", 10: "WFC3/IR", 1: "WFC3/IR"}  # of 4 tiles of group 0, two or more; of group 1, one
    samples = [
        replace(one, instrument=cameras.get(k, one.instrument), category="Stars" if k % 10 == 2 else None)
        for k, one in enumerate(samples)
    ]
    samples = [replace(one, instrument="WFC3/IR") if k == 20 else one for k, one in enumerate(samples)]
    batches = open_batches(built_in(tmp_path, samples, pngs), SETTINGS.model_copy(update={"hard_share": 0.5}))
    classes = batches.sampler.class_of_group.tolist()
    infrared, _, stars, *others = classes
    assert batches.sampler.hard_share == 0.5
    assert len({infrared, stars, *others}) == 3 and set(others) == {classes[1]}


def test_a_batch_depends_on_seed_and_step_only(built) -> None:
    folder, _ = built
    first, again = open_batches(folder), open_batches(folder)
    assert same(first[3], again[3])
    assert not same(first[3], first[4])
    assert not same(first[3], open_batches(folder, SETTINGS.model_copy(update={"seed": 6}))[3])


def test_loader_threads_change_nothing(built) -> None:
    folder, _ = built
    alone = list(iterate_batches(open_batches(folder), 2, pin=False))
    others = list(iterate_batches(open_batches(folder, SETTINGS.model_copy(update={"workers": 2})), 2, pin=False))
    assert len(alone) == 4
    assert all(same(one, other) for one, other in zip(alone, others, strict=True))


def test_a_damaged_tile_stops_the_loader_threads(built) -> None:
    batches = open_batches(built[0], SETTINGS.model_copy(update={"workers": 2}), cache_bytes=0)
    spans = [(address, offset + 7, length) for address, offset, length in batches.tiles.spans]
    batches.tiles = replace(batches.tiles, spans=spans)
    with pytest.raises(DatasetError, match=f"damaged: delete {built[0]} and run"):
        list(iterate_batches(batches, 0, pin=False))
    assert not any(thread.name.startswith("loader") for thread in threading.enumerate())
    with pytest.raises(DatasetError, match=f"damaged: delete {built[0]} and /there and run `hubbleclip shards` again"):
        replace(batches.tiles, place="/there").read_all_tiles(16)


def test_ranks_share_one_batch(built) -> None:
    folder, _ = built
    whole, halves = open_batches(folder)[1], [open_batches(folder, rank=rank, world=2)[1] for rank in (0, 1)]
    for part in PARTS:
        both = torch.stack([getattr(half, part) for half in halves], dim=1).flatten(0, 1)
        assert torch.equal(both, getattr(whole, part))


def words(batches, step: int) -> list[str]:
    return [TOKENIZER.decode(row[row > 0].tolist()) for row in batches[step].tokens_bl]


def pairs_of(batches) -> list[tuple[str, str]]:
    """Number of the proposal of each tile, and of the text with which it is paired, in six batches."""
    numbers = [proposal_id.split(":")[1] for proposal_id in batches.tiles.rows["proposal_id"].to_pylist()]
    return [
        (numbers[row], next(filter(str.isdigit, text.split())))
        for step in range(6)
        for row, text in zip(batches.sampler.rows(step), words(batches, step), strict=True)
    ]


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("kind", ["abstract", "title"])
def test_texts_are_those_of_the_tile_or_if_shuffled_those_of_one_other_group(built, kind, shuffled) -> None:
    settings = SETTINGS.model_copy(update={"captions": {kind: 1.0}, "shuffled": shuffled})
    batches = open_batches(built[0], settings)
    for row in np.flatnonzero(batches.tiles.group_n % 2):  # every second group has a summary too
        batches.tiles.captions[row] = [*batches.tiles.captions[row][:1], "Gas.", *batches.tiles.captions[row][1:]]
        batches.tiles.caption_kinds[row] = ("abstract", "summary", "title")
    own = np.array([*"012567"])
    seen = own[derangement(6, SETTINGS.seed)] if shuffled else own
    assert set(pairs_of(batches)) == set(zip(own, seen, strict=True))


def test_a_sentence_that_all_proposals_share_leaves_their_other_texts_apart(built) -> None:
    batches = open_batches(built[0], SETTINGS.model_copy(update={"batch_size": 128}))
    captions = [[f"Hubble looks again. This is number {group}."] for group in batches.tiles.group_n]
    batches.tiles.__dict__["captions"] = captions
    ids = batches[0].group_ids_b2
    groups, texts = ids[:, 0], words(batches, 0)
    assert {groups[row].item() for row, text in enumerate(texts) if "number" not in text} == set(
        range(batches.tiles.num_groups)
    )
    positive = (ids[:, None] == ids[None, :]).any(dim=2)
    equal = torch.tensor([[one == other for other in texts] for one in texts])
    assert torch.equal(positive, equal | (groups[:, None] == groups[None, :]))
    assert not positive.all()


@pytest.mark.parametrize(("stars", "nums"), [("old red stars", {1}), ("red stars", {1, 2})])
def test_sentences_are_drawn_together_only_if_the_model_sees_them_whole(stars, nums, built) -> None:
    """Two sentences of 7 tokens fit into 16, of which two are those of start and end, and those of 8 and 7 do not."""
    batches = open_batches(built[0], SETTINGS.model_copy(update={"captions": {"abstract_sentences": 1.0}}))
    captions = [[f"We look at {stars} {n}. All of them are near {n}."] for n in batches.tiles.group_n]
    batches.tiles.__dict__["captions"] = captions
    texts = [text for step in range(6) for text in words(batches, step)]
    assert {text.count("look") + text.count("near") for text in texts} == nums


def test_one_group_is_refused(tmp_path) -> None:
    with pytest.raises(DatasetError, match="train has 1 proposal groups, 2 are needed"):
        open_batches(built_in(tmp_path, *make_samples_with_pngs(4, 1)))


def test_every_flipped_bit_that_makes_a_tile_unreadable_names_the_tile(built) -> None:
    tiles, refused = open_split(read_dataset(built[0]), "train"), 0
    picture = built[1][tiles.rows["tile_id"][0].as_py()]
    for place in range(8 * len(picture)):
        damaged = bytearray(picture)
        damaged[place // 8] ^= 1 << place % 8
        try:
            tiles._decode(0, bytes(damaged), 16)
        except DatasetError as error:
            assert tiles.rows["tile_id"][0].as_py() in str(error)
            refused += 1
    assert refused > 4 * len(picture)


def test_tokens_are_counted_alike_with_and_without_an_encoder() -> None:
    class Bare:
        def __call__(self, texts):
            return TOKENIZER(texts, context_length=40)

    text = "A spiral galaxy, seen face-on."
    assert token_counter(TOKENIZER)(text) == token_counter(Bare())(text) == len(TOKENIZER.encode(text))


def test_tokens_are_counted_where_padding_is_the_end_token() -> None:
    class EndIsPadding:
        def __call__(self, texts):
            return torch.tensor([([7, *range(10, 10 + len(text.split())), 9] + [9] * 12)[:12] for text in texts])

    assert [token_counter(EndIsPadding())(text) for text in ("", "one", "one two three")] == [0, 1, 3]


@pytest.mark.parametrize(("spare_bytes", "is_cached"), [(-1, False), (0, True)])
def test_tiles_are_kept_up_to_the_memory_limit(built, spare_bytes, is_cached) -> None:
    batches = open_batches(built[0], cache_bytes=24 * 16 * 16 + spare_bytes)
    assert (batches.cached is not None) == is_cached
    assert same(batches[1], open_batches(built[0])[1])


def test_a_batch_of_one_text_alone_is_refused(built) -> None:
    batches = open_batches(built[0])
    batches.tiles.__dict__["captions"] = [["The same text for all."] for _ in batches.tiles.group_n]
    with pytest.raises(DatasetError, match="all captions of batch 2 are the same"):
        batches[2]


def test_each_tile_has_its_captions_and_their_kinds_without_writers(built) -> None:
    tiles = open_split(read_dataset(built[0]), "val")
    kinds = [["abstract", "summary@rules-1.1"], ["title", "abstract"]] * 4
    captions, rows = [["One text.", "Its first summary."], ["One text.", "Another."]] * 4, tiles.rows
    for name, values in (("caption_kinds", kinds), ("captions", captions)):
        rows = rows.set_column(rows.column_names.index(name), name, pa.chunked_array([values[:3], values[3:]]))
    changed = replace(tiles, rows=rows)
    assert changed.caption_kinds == [("abstract", "summary"), ("title", "abstract")] * 4
    assert (changed.captions, changed.main_captions) == (captions, ["One text."] * 8)


@pytest.mark.parametrize(
    ("shape_yx", "kernel"),
    [((8, 8), "BOX"), ((8, 4), "BOX"), ((3, 8), "BICUBIC"), ((8, 3), "BICUBIC"), ((2, 2), "BICUBIC")],
)
def test_a_tile_is_averaged_only_if_neither_side_grows(shape_yx, kernel) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape_yx, dtype=np.uint8))
    expected = image.resize((4, 4), Image.Resampling[kernel])
    assert np.array_equal(resized(image, 4), np.asarray(expected))
    levels_yx, other = np.asarray(image), io.BytesIO()
    colour = Image.merge("RGB", [image, image.transpose(Image.Transpose.ROTATE_180), image])
    colour.save(other, "PNG")
    assert np.array_equal(decode_resized(encode_png(levels_yx), 4), np.asarray(expected))
    assert np.array_equal(decode_resized(other.getvalue(), 4), resized(colour.convert("L"), 4))
    assert np.array_equal(decode_resized(encode_png(levels_yx), 8), resized(image, 8))


@pytest.mark.parametrize("step", [0, 4])
def test_views_and_gains_are_drawn_after_the_texts_from_the_stream_of_seed_and_step(built, step) -> None:
    batch = open_batches(built[0])[step]
    rng = np.random.default_rng([SETTINGS.seed, 3, step])
    rng.random((SETTINGS.batch_size, 4))  # four numbers for each text
    views = draw_views(rng, SETTINGS.batch_size, SETTINGS.min_crop_share, WHOLE_SHARE)
    gains = np.exp(GAIN_JITTER * rng.uniform(-1, 1, SETTINGS.batch_size))
    assert np.array_equal(batch.theta_b23, views)
    assert np.allclose(batch.gain_b, gains, rtol=1e-6)


def sampler_of(sizes: list[int], batch_size: int, seed: int = 0, **options) -> GroupBatchSampler:
    ends = np.cumsum([0, *sizes])
    return GroupBatchSampler(
        rows_of_group=[np.arange(low, high) for low, high in itertools.pairwise(ends)],
        batch_size=batch_size,
        seed=seed,
        **options,
    )


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=30), batch=st.integers(2, 40), step=st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_a_batch_has_as_few_tiles_a_group_as_the_data_allow(sizes, batch, step) -> None:
    sampler = sampler_of(sizes, batch)
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    rows = sampler.rows(step)
    assert np.array_equal(group_of[rows], sampler.groups(step))
    most = np.bincount(group_of[rows]).max()
    assert most <= -(-batch // len(sizes))
    if batch <= sum(min(size, most) for size in sizes) and most <= min(sizes):
        assert len(set(rows.tolist())) == batch


HARD = {"class_of_group": np.arange(12) % 3, "hard_share": 0.5}
OF_HARD = [[17, 5, 12, 14], [1, 8, 19, 7], [11, 23, 20, 3], [0, 9, 22, 4], [6, 18, 10, 13], [2, 15, 21, 16]]
OF_HARD += [[3, 14, 20, 12], [19, 23, 7, 8], [5, 11, 1, 17], [4, 16, 9, 10], [21, 2, 0, 22], [6, 18, 13, 15]]


@pytest.mark.parametrize(
    ("sizes", "batch_size", "options", "expected"),
    [
        ([2] * 12, 4, HARD, OF_HARD),
        ([3, 1, 2, 2, 1, 2, 3], 3, {}, [[5, 3, 2], [10, 7, 8], [4, 3, 11], [6, 13, 8], [1, 12, 9], [7, 8, 0]]),
        ([3, 1, 9, 2], 10, {}, [[0, 3, 14, 2, 14, 3, 1, 7, 13, 12], [3, 13, 6, 1, 8, 3, 2, 14, 11, 3]]),
    ],
)
def test_the_batches_are_those_of_the_recorded_trainings(sizes, batch_size, options, expected) -> None:
    sampler = sampler_of(sizes, batch_size, seed=4, **options)
    assert [sampler.rows(step).tolist() for step in range(len(expected))] == expected


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=20), share=st.floats(0, 2), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_groups_and_their_tiles_come_equally_often_and_no_tile_follows_itself(sizes, share, seed) -> None:
    class_of_group, batch = np.arange(len(sizes)) % 3, max(1, round(share * len(sizes)))
    sampler = sampler_of(sizes, batch, seed, class_of_group=class_of_group, hard_share=seed % 3 / 2)
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    shown = [[] for _ in sizes]
    for step in range(40):
        rows = sampler.rows(step)
        assert len(set(group_of[rows])) == min(batch, len(sizes))
        for row in rows:
            shown[group_of[row]].append(row)
        assert max(map(len, shown)) - min(map(len, shown)) <= 1
    for rows, size in zip(shown, sizes, strict=True):
        counts = np.bincount(np.array(rows) - min(rows), minlength=size)
        assert counts.max() - counts.min() <= 1
        if size > 1 and batch <= len(sizes):  # the rows of a batch with several tiles of a group are in any order
            assert not any(one == other for one, other in itertools.pairwise(rows))


@given(num=st.integers(2, 60), seed=st.integers(0, 2**32))
def test_derangement_moves_every_group(num, seed) -> None:
    out = derangement(num, seed)
    assert sorted(out) == list(range(num))
    assert (out != np.arange(num)).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abcdef")), min_size=1, max_size=12))
def test_rows_are_positives_where_group_or_text_is_equal_and_not_through_others(pairs) -> None:
    groups, texts = zip(*pairs, strict=True)
    ids = positive_ids(groups, texts)
    found = (ids[:, None] == ids[None, :]).any(axis=2)
    assert found.tolist() == [[g == h or t == u for h, u in pairs] for g, t in pairs]


def test_views_stay_inside_the_tile_and_keep_their_share() -> None:
    theta = draw_views(np.random.default_rng(0), 2000, 0.4).astype(float)
    corners = np.array([[x, y, 1] for x in (-1, 1) for y in (-1, 1)]).T
    assert np.abs(theta @ corners).max() <= 1 + 1e-6
    area = np.abs(np.linalg.det(theta[:, :, :2]))
    assert 0.4 - 1e-6 <= area.min() < 0.41
    assert 0.99 < area.max() <= 1 + 1e-6


def test_views_and_shuffled_pairs_are_those_of_the_recorded_trainings() -> None:
    assert derangement(7, 5).tolist() == [6, 3, 1, 5, 0, 4, 2]
    theta = draw_views(np.random.default_rng(1), 3, 0.4, 0.3)
    expected = [
        [[0.0, 0.98447, 0.01018], [-0.98447, 0.0, -0.00282]],
        [[0.0, -0.76622, 0.02319], [-0.76622, 0.0, -0.22089]],
        [[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]],
    ]
    np.testing.assert_allclose(theta, expected, atol=1e-5)


@pytest.mark.parametrize(("num_tiles", "is_new"), [(2, False), (3, True)])
def test_three_tiles_are_the_fewest_that_come_in_a_new_order_in_each_cycle(num_tiles, is_new) -> None:
    sampler = sampler_of([num_tiles] * 3, 3)
    shown = [min(sampler.rows(step).tolist()) for step in range(12 * num_tiles)]  # of the first group
    cycles = {tuple(shown[start : start + num_tiles]) for start in range(0, len(shown), num_tiles)}
    assert (len(cycles) > 1) == is_new
