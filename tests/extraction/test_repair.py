import json

import numpy as np
import pytest

from probekit import extract
from probekit.cache import embeddings, head, index, integrity, layout, part
from probekit.errors import CacheError, ProbekitError
from probekit.extraction import repair as repairing
from probekit.extraction.repair import repair_embeddings, verify_cache


@pytest.fixture
def cache(audio, tmp_path, small_parts):
    extract("melstats", audio=audio, cache=tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def parts(cache):
    return sorted(cache.glob("*/*/part-*.h5"))


def flip(path, offset=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if offset is None else offset] ^= 1
    path.write_bytes(content)


def bytes_of(paths):
    return {path: path.read_bytes() for path in paths}


def test_a_whole_cache_needs_nothing(cache, parts):
    ticks = []
    found = verify_cache(cache, lambda: ticks.append(1))
    assert (found.parts, found.damaged, found.missing, found.advice) == (6, {}, {}, [])
    assert len(ticks) == 6
    assert repair_embeddings(cache, "melstats", "tiny").parts == []


def test_damage_and_loss_are_named_and_just_that_is_mended(cache, parts, content):
    before, whole = content(cache, "melstats"), bytes_of(parts)
    deleted, flipped, cut, at_the_start, *rest = parts
    deleted.unlink()
    flip(flipped)
    cut.write_bytes(cut.read_bytes()[:-10])
    flip(at_the_start, 0)
    found = verify_cache(cache)
    assert set(found.damaged) == {str(p) for p in (flipped, cut, at_the_start)}
    assert set(found.missing) == {str(deleted)}
    count = sum(layout.assign_bucket(i, 6) == 0 for i in before.rows)
    assert f"{count} clips belong in it" in found.missing[str(deleted)]
    name = parts[0].parent.parent.name.replace("-", "@")
    assert found.advice == [f"probekit cache repair {name} tiny embeds only its clips again"]
    told = []
    mended = repair_embeddings(cache, "melstats", "tiny", begin=told.append)
    assert mended.parts == [p.name for p in (deleted, flipped, cut, at_the_start)]
    assert told == [mended.done]
    assert mended.done == sum(layout.assign_bucket(i, 6) < 4 for i in before.rows)
    assert bytes_of(rest) == {path: whole[path] for path in rest}
    assert content(cache, "melstats") == before
    assert verify_cache(cache).damaged == verify_cache(cache).missing == {}
    assert not list(cache.glob(f"*/*/{integrity.QUARANTINE_PREFIX}*"))


def test_all_parts_may_be_gone(cache, parts, content):
    before = content(cache, "melstats")
    for path in parts:
        path.unlink()
    assert len(verify_cache(cache).missing) == 6
    assert repair_embeddings(cache, "melstats", "tiny").done == 24
    assert content(cache, "melstats") == before


def test_frames_and_streams_are_mended_as_they_were(audio, tmp_path, small_parts, content):
    extract("mfcc", audio=audio, cache=tmp_path, frames=True, limit=3)
    before = content(tmp_path, "mfcc")
    for path in tmp_path.glob("*/*/part-*.h5"):
        flip(path)
    mended = repair_embeddings(tmp_path, "mfcc", "tiny")
    assert mended.done == 3
    assert content(tmp_path, "mfcc") == before


def test_a_few_clips_stay_a_few(audio, tmp_path, small_parts, content):
    extract("melstats", audio=audio, cache=tmp_path, limit=5)
    assert verify_cache(tmp_path).missing == {}
    before = content(tmp_path, "melstats")
    path = sorted(tmp_path.glob("*/*/part-*.h5"))[0]
    path.unlink()
    assert list(verify_cache(tmp_path).missing) == [str(path)]
    repair_embeddings(tmp_path, "melstats", "tiny")
    assert content(tmp_path, "melstats") == before


def test_failures_stay_failures(audio, tmp_path, small_parts, content):
    (audio / "tone" / "tone0.wav").write_text("no")
    [summary] = extract("melstats", audio=audio, cache=tmp_path)
    before = content(tmp_path, "melstats")
    (audio / "tone" / "tone0.wav").unlink()
    for path in tmp_path.glob("*/*/part-*.h5"):
        path.unlink()
    mended = repair_embeddings(tmp_path, "melstats", "tiny")
    assert list(mended.failed) == list(summary.failed) == list(before.failed)
    assert mended.done == 23


def test_recordings_that_moved_are_found_and_missing_ones_refused(
    cache, parts, audio, tmp_path, content
):
    before = content(cache, "melstats")
    flip(parts[0])
    damaged = bytes_of(parts)
    audio.rename(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match=r"of the \d+ recordings were not found.*--root"):
        repair_embeddings(cache, "melstats", "tiny")
    assert bytes_of(parts) == damaged
    repair_embeddings(cache, "melstats", "tiny", root=tmp_path / "elsewhere")
    assert content(cache, "melstats") == before


def test_without_a_manifest_it_says_so_and_changes_nothing(cache, parts):
    flip(parts[0])
    damaged = bytes_of(parts)
    for path in (cache / "manifests").iterdir():
        path.unlink()
    (parts[0].parent / index.INDEX_FILE).unlink()
    with pytest.raises(CacheError, match="its clips are unknown: no manifest"):
        repair_embeddings(cache, "melstats", "tiny")
    assert bytes_of(parts) == damaged


def test_clips_that_only_the_index_knows_are_not_dropped_silently(cache, parts):
    assert len(embeddings.find_embeddings(cache, "melstats", "tiny").index.table) == 24
    for path in (cache / "manifests").iterdir():
        path.unlink()
    parts[0].unlink()
    with pytest.raises(CacheError, match="no saved manifest has the recordings of"):
        repair_embeddings(cache, "melstats", "tiny")


def test_another_version_of_the_extractor_is_refused(cache, parts, monkeypatch):
    from probekit import cards

    flip(parts[0])
    damaged = bytes_of(parts)
    card = cards.load_extractor_card("melstats")
    later = card.model_copy(update={"version": 99})
    monkeypatch.setattr(cards, "load_extractor_card", lambda name: later)
    with pytest.raises(CacheError, match=r"version: 1 in the cache, 99 requested"):
        repair_embeddings(cache, "melstats", "tiny")
    assert bytes_of(parts) == damaged


def test_weights_that_only_the_user_has_are_asked_for():
    used = {"main": "sha256:" + "0" * 64}
    with pytest.raises(CacheError, match=r"sha256:0000.*--weights vggish=PATH"):
        repairing._recorded_seeds("vggish", used, {})
    assert repairing._recorded_seeds("vggish", used, {"vggish.main": "x"}) == {}
    seeds = {"main": "random:5 (initialization 1)"}
    assert repairing._recorded_seeds("vggish", seeds, {}) == {"vggish.main": "random:5"}


def test_imported_embeddings_say_where_they_came_from(tmp_path):
    from probekit.cache import import_export
    from probekit.data import readers

    (tmp_path / "clips.csv").write_text("clip_id\na\nb\n")
    np.save(tmp_path / "x.npy", np.eye(2))
    clips = readers.from_csv(tmp_path / "clips.csv", name="songs", need_path=False)
    made = import_export.import_arrays(
        "mine", clips, [tmp_path / "x.npy"], cache=tmp_path / "c", dataset="songs"
    )
    flip(next(made.folder.glob("*.h5")))
    with pytest.raises(CacheError, match=r"cache import', from x\.npy \(SHA-256"):
        repair_embeddings(tmp_path / "c", "mine", "songs")


def test_a_repair_that_was_stopped_goes_on(cache, parts, content, monkeypatch):

    before = content(cache, "melstats")
    flip(parts[1])
    flip(parts[3])
    write, count = part.write_part, [0]

    def full(path, own):
        count[0] += 1
        if count[0] == 2:
            raise OSError(28, "No space left on device")
        write(path, own)

    monkeypatch.setattr(part, "write_part", full)
    with pytest.raises(ProbekitError, match="no space left on device"):
        repair_embeddings(cache, "melstats", "tiny")
    assert list(verify_cache(cache).missing) == [str(parts[3])]
    assert [p.name for p in cache.glob(f"*/*/{integrity.QUARANTINE_PREFIX}*")] == [
        integrity.QUARANTINE_PREFIX + parts[3].name
    ]
    repair_embeddings(cache, "melstats", "tiny")
    assert content(cache, "melstats") == before
    assert not list(cache.glob(f"*/*/{integrity.QUARANTINE_PREFIX}*"))


def test_other_files_are_examined_too(cache, parts):
    (parts[0].parent / "dataset.json").write_text("{")
    [kept] = (cache / "manifests").iterdir()
    kept.write_bytes(b"no")
    found = verify_cache(cache)
    assert set(found.damaged) == {str(kept), str(parts[0].parent / "dataset.json")}


def test_a_damaged_head_is_made_anew_and_seeds_are_known(audio, tmp_path, content):
    extract("convnet", audio=audio, cache=tmp_path, weights=["convnet=random:0"], limit=1)
    [where] = tmp_path.glob("convnet-*")
    expected, before = head.load_head(where), content(tmp_path, "convnet")
    assert expected is not None
    (where / head.HEAD_FILE).write_bytes(b"no")
    assert list(verify_cache(tmp_path).damaged) == [str(where / head.HEAD_FILE)]
    assert repair_embeddings(tmp_path, "convnet", "tiny").parts == [
        head.HEAD_FILE
    ]  # the seed is known
    for path in where.glob("*/part-*.h5"):
        flip(path)
    assert repair_embeddings(tmp_path, "convnet", "tiny").done == 1
    assert content(tmp_path, "convnet") == before
    np.testing.assert_array_equal(head.load_head(where).weight, expected.weight)
    json.dumps(vars(verify_cache(tmp_path)))
