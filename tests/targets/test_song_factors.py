"""Factors of songs from logs: what is held out, what has no target, input that is wrong."""

import numpy as np
import pytest

from probekit.errors import DataError, ProbekitError
from probekit.targets import als
from probekit.targets.item_clips import read_exclusions
from probekit.targets.logs import read_logs
from probekit.targets.song_factors import FactorConfig, draw_split, make_targets

CONFIG = FactorConfig(factors=3, user_items=5, item_users=5)


def test_targets_have_unit_length_and_planted_groups(logs, items):
    made = make_targets(logs, CONFIG, items=items)
    targets = made.targets
    assert len(targets) == 90 and made.counts["songs without listeners"] == 1  # no zeros for it
    np.testing.assert_allclose(np.linalg.norm(targets.values, axis=1), 1, rtol=1e-6)
    group = np.array([int(clip[1:]) % 3 for clip in targets.clip_ids])
    cosines = targets.values @ targets.values.T
    same = group[:, None] == group
    assert cosines[same].mean() > cosines[~same].mean() + 0.4
    held_out = targets.split != "train"  # and so for songs that the users' factors never saw
    assert (
        cosines[held_out][same[held_out]].mean() > cosines[held_out][~same[held_out]].mean() + 0.4
    )


def test_users_are_fitted_without_held_out_songs(logs, items):
    """Against the fit of the training songs alone, and its fold-in of the others."""
    targets = make_targets(logs, CONFIG, items=items).targets
    raw = read_logs(logs).without_rare(5, 5)
    is_train = np.isin(
        raw.items, [clip.replace("c", "s") for clip in targets.clip_ids[targets.split == "train"]]
    )
    added = als.confidence(raw.counts)
    fit = als.balance(als.factorize(added[:, np.flatnonzero(is_train)], 3, 10.0))
    expected = np.zeros((len(raw.items), 3))
    expected[is_train] = fit.items
    expected[~is_train] = als.fold_in(added[:, np.flatnonzero(~is_train)], fit.users, 10.0)
    np.testing.assert_allclose(
        targets.values * targets.lengths[:, None],
        expected,
        rtol=0,
        atol=1e-6,  # float32
    )
    played = targets.listeners.counts.getnnz(axis=1)
    assert (played[targets.split == "train"] == 0).all()
    assert (played[targets.split != "train"] > 0).all()
    np.testing.assert_array_equal(targets.popularity, raw.counts.getnnz(axis=0))


def test_artists_are_on_one_side(logs, items):
    targets = make_targets(logs, CONFIG, items=items).targets
    sides = {}
    for artist, split in zip(targets.groups, targets.split, strict=True):
        assert sides.setdefault(artist, split) == split
    sizes = [(targets.split == name).mean() for name in ("train", "valid", "test")]
    np.testing.assert_allclose(sizes, [0.765, 0.085, 0.15], atol=0.02)


def test_split_leaves_out_other_rows_and_large_groups_train():
    groups = np.array(["big"] * 60 + [""] * 40)
    split = draw_split(groups, np.arange(100) != 99, seed=2)
    assert split[99] == "" and set(split[:60]) == {"train"}
    assert ((split == "test").sum(), (split == "valid").sum()) == (15, 8)


def test_lambda_is_that_of_the_best_held_out_cells(logs):
    made = make_targets(
        logs, FactorConfig(factors=3, user_items=5, item_users=5, regularization=(1, 1e4))
    )
    assert made.ndcg[1] > made.popularity_ndcg and made.ndcg[1] > made.ndcg[1e4]
    assert made.targets.provenance["regularization"] == 1
    assert any("end of its range" in note for note in made.notes)


def test_the_same_seed_gives_the_same_file(logs):
    first, again = (make_targets(logs, CONFIG).targets.digest() for _ in range(2))
    other = make_targets(logs, FactorConfig(factors=3, user_items=5, item_users=5, seed=1)).targets
    assert first == again != other.digest()


def test_clips_without_audio_are_counted_and_still_fit_users(logs):
    made = make_targets(logs, CONFIG, clip_ids=[f"s{s}" for s in range(0, 90, 2)])
    assert made.counts["items without audio"] == 45 and len(made.targets) == 45


def test_first_clip_with_audio(tmp_path, logs):
    rows = [f"s{s};{clip}{s}" for s in range(90) for clip in "xy"]
    (tmp_path / "i.csv").write_text("\n".join(["song;clip", *rows]))
    ids = ["y0", *(f"x{s}" for s in range(1, 90)), "y7"]
    made = make_targets(logs, CONFIG, items=tmp_path / "i.csv", clip_ids=ids)
    assert {"y0", "x7"} <= set(made.targets.clip_ids) and "y7" not in made.targets.clip_ids


def test_excluded_items(tmp_path, logs):
    (tmp_path / "bad.txt").write_text("s1\ns2\n")
    made = make_targets(logs, CONFIG, exclude=tmp_path / "bad.txt")
    assert len(made.targets) == 88 and "s1" not in made.targets.clip_ids


def test_mismatches_of_the_echo_nest(tmp_path):
    path = tmp_path / "sid_mismatches.txt"
    path.write_text("ERROR: <SOUMNSI12AB0182807 TRMMGKQ128F9325E10> A - B  !=  C - D\n")
    assert read_exclusions(path) == ["SOUMNSI12AB0182807"]
    path.write_text(path.read_text() + "S2\n")
    with pytest.raises(DataError, match=r"sid_mismatches.txt, line 2: must be like"):
        read_exclusions(path)


def test_equal_counts_are_weighed_linearly(tmp_path, plays):
    path = tmp_path / "p.tsv"
    path.write_text("\n".join(line.rsplit("\t", 1)[0] for line in plays))
    made = make_targets(path, CONFIG)
    assert (made.targets.provenance["confidence"], made.targets.provenance["alpha"]) == (
        "linear",
        40,
    )
    assert "all counts are 1" in made.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": 91}, r"at most the number of users \(120\) and of items \(68\) of the tr"),
        ({"factors": 0}, "--factors must be >= 1"),
        ({"regularization": (0.0,)}, "--regularization must be > 0"),
        ({"regularization": (1e5,)}, "leaves nothing of the factors"),
        ({"confidence": "lin"}, "Did you mean 'linear'"),
        ({"alpha": -1.0}, "--alpha must be > 0"),
        ({"epsilon": 0.0}, "--epsilon must be > 0"),
        ({"split": (80, 10, 20)}, "sum 100"),
        ({"user_items": 1000}, "lower --min-items or --min-users"),
        ({"user_items": -1}, "--min-items must be >= 0"),
    ],
)  # fmt: skip
def test_settings_out_of_range(logs, changes, message):
    settings = {"factors": 3, "user_items": 5, "item_users": 5, **changes}
    with pytest.raises(ProbekitError, match=message):
        make_targets(logs, FactorConfig(**settings))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,clip\nu1,c1\n", "they are users of the logs. Is this the table of users"),
        ("item,clip\nc1,s1\n", "Are its columns item and clip swapped"),
        ("item,clip\nq1,c1\n", "none of its 1 items .'q1'. is in the logs"),
        ("song,title\ns1,x\n", "a column item, and clip or artist or both, got song, title"),
        ("item,clip\ns1,c\ns2,c\n", "clip 'c' belongs to two items, 's1' and 's2'"),
    ],
)  # fmt: skip
def test_tables_of_items_that_are_wrong(tmp_path, logs, text, message):
    (tmp_path / "i.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        make_targets(logs, CONFIG, items=tmp_path / "i.csv")


def test_users_in_place_of_items(tmp_path, plays):
    swapped = [line.split("\t") for line in plays]
    (tmp_path / "p.tsv").write_text("\n".join(f"{item}\t{user}\t{n}" for user, item, n in swapped))
    with pytest.raises(
        DataError, match=r"but users have: are the columns of --logs in another order"
    ):
        make_targets(tmp_path / "p.tsv", CONFIG, clip_ids=[f"s{k}" for k in range(90)])


def test_clips_of_other_names(logs):
    with pytest.raises(
        DataError, match=r"items are like 's2', clips like 'a', 'b'. If these differ"
    ):
        make_targets(logs, CONFIG, clip_ids=["a", "b"])
