import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch

from probekit import cards, evaluate, extract
from probekit.audio import recording as decoding
from probekit.audio import resample
from probekit.cache import embeddings, layout, part
from probekit.cache import manifests as cached_manifests
from probekit.data import manifest as manifests
from probekit.data import readers
from probekit.errors import CacheError, CardError, DataError, ProbekitError, UnknownNameError
from probekit.extraction import garbage
from probekit.extraction.audio_loader import decode_clip, to_device
from probekit.extraction.plan import Clip
from probekit.extractors import load
from probekit.extractors.pooling import pool

pytestmark = pytest.mark.usefixtures("small_parts")


def clip_ids(corpus):
    return readers.from_folder(corpus).clip_ids


def test_embeddings_are_those_of_the_extractor_on_each_clip_alone(corpus, tmp_path):
    [summary] = extract("mfcc", audio=corpus, cache=tmp_path, frames=True)
    assert (summary.done, summary.total, summary.cached) == (24, 24, 0)
    mfcc = load.build_extractor(load.resolve_spec("mfcc"))
    stored = embeddings.find_embeddings(tmp_path, "mfcc", "tiny")
    clips = readers.from_folder(corpus)
    seconds = 0.0
    for clip_id, path in zip(clips.clip_ids, clips.column("path"), strict=True):
        decoded = decoding.load(corpus / path, 22050)
        seconds += decoded.duration
        [alone] = mfcc([torch.from_numpy(decoded.wave)])
        frames = alone["mfcc"].numpy()
        scale = np.abs(frames).max()
        np.testing.assert_allclose(stored.frames(clip_id), frames, atol=1e-5 * scale)
        for how, expected in pool(frames).items():
            [vector] = stored.vectors([clip_id], pool=[how])
            np.testing.assert_allclose(vector, expected, atol=1e-5 * scale)
    assert summary.audio_seconds == pytest.approx(seconds)


def test_doing_it_again_does_nothing_and_says_so(main, corpus, tmp_path, files):
    arguments = ["extract", "-e", "melstats", "--audio", corpus, "--cache", tmp_path]
    first = main(*arguments)
    assert first.returncode == 0, first.stderr
    assert "melstats: 24 clips embedded" in first.stdout
    before = files(tmp_path)
    again = main(*arguments)
    assert again.returncode == 0
    assert "melstats: nothing to do, 24 of 24 clips" in again.stdout
    after = files(tmp_path)
    derived = {path for path in after if path.suffix == ".parquet"}
    assert {k: v for k, v in after.items() if k not in derived} == {
        k: v for k, v in before.items() if k not in derived
    }


def test_sources_are_recorded(corpus, tmp_path, content):
    extract("melstats", audio=corpus, cache=tmp_path)
    stored = content(tmp_path, "melstats")
    assert set(stored.rows) == set(clip_ids(corpus))
    path = corpus / "tone" / "tone3.wav"
    source = stored.rows["tone/tone3"].source
    assert source["size"] == path.stat().st_size
    assert source["mtime"] == path.stat().st_mtime_ns
    assert source["duration"] == soundfile.info(path).duration
    assert np.isnan([source["start"], source["end"]]).all()
    meta = stored.metas[0]
    assert meta["extractor"] == "melstats"
    assert meta["fingerprint"] == load.resolve_spec("melstats").fingerprint
    assert meta["provenance"]["device"] == "cpu"
    assert meta["provenance"]["torch"] == torch.__version__


def test_stretches_are_clips(corpus, tmp_path, content):
    table = tmp_path / "clips.csv"
    table.write_text(
        "clip_id,path,start,end\nwhole,noise/noise4.wav,,\nfirst,noise/noise4.wav,,0.1\n"
        "last,noise/noise4.wav,0.25,\nmiddle,noise/noise4.wav,0.1,0.3\n"
    )
    extract("melstats", manifest=table, root=corpus, cache=tmp_path / "cache")
    stored = content(tmp_path / "cache", "melstats", "clips")
    melstats = load.build_extractor(load.resolve_spec("melstats"))
    for name, start, end in (("middle", 0.1, 0.3), ("last", 0.25, None), ("first", None, 0.1)):
        wave = decoding.load(corpus / "noise/noise4.wav", 22050, start=start, end=end).wave
        [alone] = melstats([torch.from_numpy(wave)])
        np.testing.assert_allclose(
            stored.rows[name].streams["stats"]["clip"], alone["stats"], rtol=1e-4, atol=1e-4
        )
        assert stored.rows[name].source["duration"] == pytest.approx(
            0.1 if name == "first" else 0.2, abs=0.051
        )
    assert len({row.streams["stats"]["clip"].tobytes() for row in stored.rows.values()}) == 4


def test_a_limit_takes_a_few_spread_over_all(main, corpus, tmp_path, content):
    arguments = ["extract", "-e", "melstats", "--audio", corpus, "--cache", tmp_path]
    assert "5 clips embedded" in main(*arguments, "--limit", 5).stdout
    few = content(tmp_path, "melstats").rows
    assert {clip_id.split("/")[0] for clip_id in few} == {"click", "noise", "tone"}
    assert {"click/click0", "tone/tone7"} <= set(few)
    done = main(*arguments)
    assert "19 clips embedded" in done.stdout
    assert "5 were cached" in done.stdout
    extract("melstats", audio=corpus, cache=tmp_path / "other")
    assert content(tmp_path, "melstats") == content(tmp_path / "other", "melstats")


def test_a_dry_run_writes_nothing(main, corpus, tmp_path, files):
    cache = tmp_path / "cache"
    arguments = ["extract", "-e", "mfcc", "--audio", corpus, "--cache", cache]
    done = main(*arguments, "--dry-run")
    assert done.returncode == 0
    assert "mfcc: 24 of 24 clips to embed, 0 cached; about" in done.stdout
    assert not cache.exists()
    main(*arguments, "--limit", 5)
    before = files(cache)
    assert "19 of 24 clips to embed, 5 cached" in main(*arguments, "--dry-run").stdout
    assert files(cache) == before


def test_several_extractors_in_one_call(main, corpus, tmp_path):
    done = main(
        "extract", "-e", "melstats", "-e", "mfcc", "--audio", corpus, "--cache", tmp_path, "--json"
    )
    first, second = json.loads(done.stdout)
    assert (first["extractor"], second["extractor"]) == ("melstats", "mfcc")
    assert first["done"] == second["done"] == 24
    assert {entry.layout.extractor for entry in embeddings.list_embeddings(tmp_path)} == {
        "melstats",
        "mfcc",
    }


def test_the_manifest_is_kept(corpus, tmp_path):
    extract("melstats", audio=corpus, cache=tmp_path, limit=3)
    clips = cached_manifests.latest_manifest(tmp_path, "tiny")
    assert clips.digest() == readers.from_folder(corpus).digest()
    assert cached_manifests.saved_names(tmp_path) == ["tiny"]
    assert cached_manifests.latest_manifest(tmp_path, "tin") is None
    other = readers.from_folder(corpus).subset(range(4))
    extract("melstats", manifest=other, cache=tmp_path)
    assert len(cached_manifests.latest_manifest(tmp_path, "tiny")) == 4


def test_new_clips_and_other_manifests_share_a_folder(audio, tmp_path, content):
    cache = tmp_path / "cache"
    extract("melstats", audio=audio, cache=cache, limit=10)
    shutil.copy(audio / "tone/tone0.wav", audio / "tone/new.wav")
    [summary] = extract("melstats", audio=audio, cache=cache)
    assert (summary.cached, summary.done) == (10, 15)
    clips = manifests.from_rows(
        "tiny",
        [
            {"clip_id": "other", "path": "click/click0.wav"},
            {"clip_id": "tone/new", "path": "tone/new.wav"},
        ],
        root=audio,
    )
    [summary] = extract("melstats", manifest=clips, cache=cache)
    assert (summary.cached, summary.done) == (1, 1)
    stored = content(cache, "melstats").rows
    assert set(stored) == {*clip_ids(audio), "other"}
    for clip_id, same in (("other", "click/click0"), ("tone/new", "tone/tone0")):
        np.testing.assert_array_equal(
            stored[clip_id].streams["stats"]["clip"], stored[same].streams["stats"]["clip"]
        )


def changed(path, level):
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, (samples * level).astype(np.int16), rate, "PCM_16")


def test_changed_recordings_are_embedded_again_and_touched_ones_are_not(audio, tmp_path, content):
    cache = tmp_path / "cache"
    extract("melstats", audio=audio, cache=cache)
    before = content(cache, "melstats").rows
    changed(audio / "tone/tone0.wav", 0.5)
    os.utime(audio / "noise/noise1.flac", ns=(1, 10**18))
    [summary] = extract("melstats", audio=audio, cache=cache)
    assert (summary.done, summary.cached) == (1, 23)
    after = content(cache, "melstats").rows
    vectors = [
        {i: row.streams["stats"]["clip"].tobytes() for i, row in rows.items()}
        for rows in (before, after)
    ]
    assert {i for i in before if vectors[0][i] != vectors[1][i]} == {"tone/tone0"}


def test_hashes_see_what_size_and_time_do_not(audio, tmp_path):
    cache = tmp_path / "cache"
    extract("melstats", audio=audio, cache=cache)
    path = audio / "tone/tone0.wav"
    before = path.stat()
    changed(path, 0.5)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert extract("melstats", audio=audio, cache=cache)[0].done == 0
    assert extract("melstats", audio=audio, cache=cache, verify_audio=True)[0].done == 1
    assert extract("melstats", audio=audio, cache=cache, verify_audio=True)[0].done == 0


def test_recordings_that_are_gone_keep_their_embeddings(audio, tmp_path, content):
    cache = tmp_path / "cache"
    clips = readers.from_folder(audio)
    extract("melstats", manifest=clips, cache=cache)
    before = content(cache, "melstats")
    (audio / "tone/tone0.wav").unlink()
    [summary] = extract("melstats", manifest=clips, cache=cache)
    assert (summary.done, summary.cached, summary.failed) == (0, 24, {})
    shutil.rmtree(audio)
    [summary] = extract("melstats", manifest=clips, cache=cache, verify_audio=True)
    assert (summary.done, summary.cached, summary.failed) == (0, 24, {})
    assert content(cache, "melstats") == before


def test_a_recording_that_cannot_be_hashed_keeps_its_embedding(audio, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    extract("melstats", audio=audio, cache=cache)
    os.utime(audio / "tone/tone0.wav", ns=(1, 1))

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("probekit.extraction.plan.sha256", refuse)
    [summary] = extract("melstats", audio=audio, cache=cache)
    assert (summary.done, summary.cached) == (0, 24)


def test_frames_are_added_later(audio, tmp_path, content):
    cache = tmp_path / "cache"
    extract("mfcc", audio=audio, cache=cache)
    pooled = content(cache, "mfcc").rows
    assert set(pooled["tone/tone0"].streams["mfcc"]) == {"mean", "std", "max"}
    assert extract("mfcc", audio=audio, cache=cache, frames=True)[0].done == 24
    extract("mfcc", audio=audio, cache=tmp_path / "other", frames=True)
    assert content(cache, "mfcc") == content(tmp_path / "other", "mfcc")
    assert extract("mfcc", audio=audio, cache=cache)[0].done == 0
    shutil.copy(audio / "tone/tone0.wav", audio / "tone/new.wav")
    assert extract("mfcc", audio=audio, cache=cache)[0].done == 1  # a new clip gets frames too
    assert "frames" in content(cache, "mfcc").rows["tone/new"].streams["mfcc"]


def test_adding_frames_never_loses_clips(audio, tmp_path, content):
    cache = tmp_path / "cache"
    extract("mfcc", audio=audio, cache=cache)
    before = content(cache, "mfcc")
    with pytest.raises(CacheError, match=r"clips of part-.* are not in this manifest.*limit="):
        extract("mfcc", audio=audio, cache=cache, frames=True, limit=5)
    clips = readers.from_folder(audio)
    (audio / "tone/tone0.wav").unlink()
    with pytest.raises(CacheError, match=r"were not found, for example .*tone0\.wav"):
        extract("mfcc", manifest=clips, cache=cache, frames=True)
    shutil.rmtree(audio)
    with pytest.raises(CacheError, match="needs all recordings again"):
        extract("mfcc", manifest=clips, cache=cache, frames=True)
    assert content(cache, "mfcc") == before


def test_streams_are_added_later(corpus, tmp_path, content):
    options = {"audio": corpus, "weights": ["convnet=random:3"]}
    extract("convnet:stream=max5", **options, cache=tmp_path / "cache", limit=2)
    extract("convnet", **options, cache=tmp_path / "cache", streams=["layers"], limit=2)
    extract("convnet", **options, cache=tmp_path / "other", streams=["layers", "max5"], limit=2)
    stored = content(tmp_path / "cache", "convnet")
    assert stored == content(tmp_path / "other", "convnet")
    assert set(stored.rows["click/click0"].streams) == {"layers", "max5"}
    [entry] = embeddings.list_embeddings(tmp_path / "cache")
    assert entry.layout.provenance == ["random weights (seed 3)"]


def test_a_network_that_crops_takes_long_recordings(tmp_path):
    (tmp_path / "audio").mkdir()
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 31 * 8000)
    soundfile.write(tmp_path / "audio" / "long.wav", wave, 8000)
    soundfile.write(tmp_path / "audio" / "same.wav", wave[: 30 * 8000], 8000)
    [summary] = extract(
        "convnet", audio=tmp_path / "audio", cache=tmp_path / "cache", weights=["convnet=random:0"]
    )
    assert (summary.done, summary.failed) == (2, {})
    long, same = embeddings.find_embeddings(tmp_path / "cache", "convnet", "audio").vectors(
        ["long", "same"]
    )
    np.testing.assert_allclose(long, same, rtol=1e-4)


def test_a_network_with_a_limit_refuses_longer_recordings(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 8000)
    card = cards.load_extractor_card("melstats").model_copy(update={"max_seconds": 1.5})
    source = decode_clip(Clip("a", tmp_path / "a.wav", np.nan, np.nan), card)
    assert source.reason.startswith("2.0 s long; melstats takes at most 1.5 s, since it reads")
    assert source.wave is None
    source = decode_clip(Clip("a", tmp_path / "a.wav", 0.5, np.nan), card)
    assert len(source.wave) == 33075


@pytest.mark.parametrize("name", ["vggish", "openl3", "melstats"])
def test_recordings_are_resampled_as_the_card_says(corpus, name):
    card = cards.load_extractor_card(name)
    path = corpus / "noise/noise1.flac"
    source = decode_clip(Clip("a", path, np.nan, np.nan), card)
    original = decoding.load(path)
    expected = decoding.load(path, card.sample_rate).wave
    if card.resampler != "soxr_hq":
        kaiser = resample.KAISER_FILTERS[card.resampler]
        other = resample.resample(torch.from_numpy(original.wave), 44100, card.sample_rate, kaiser)
        assert np.abs(other.numpy()[: len(expected)] - expected[: len(other)]).max() > 1e-4
        expected = other.numpy()
    [wave] = to_device([source], card, torch.device("cpu"))
    np.testing.assert_array_equal(wave.numpy(), expected)


def test_the_resampler_can_be_a_parameter(corpus, tmp_path, monkeypatch):
    card = cards.load_extractor_card("mfcc").model_dump(mode="json", exclude_defaults=True)
    choice = {"default": "kaiser_best", "choices": ["kaiser_best", "kaiser_best_0.4"]}
    card |= {"name": "choice", "resampler": "kaiser_best", "parameters": {"resampler": choice}}
    (tmp_path / "extractors").mkdir()
    (tmp_path / "extractors" / "choice.yaml").write_text(json.dumps(card))
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    cache, names = tmp_path / "cache", ("choice", "choice:resampler=kaiser_best_0.4")
    for name in names:
        extract(name, audio=corpus, cache=cache, limit=3)
    assert garbage.find_garbage(cache) == []
    with pytest.raises(CacheError, match=r"several embeddings match choice(.|\n)*kaiser_best_0\.4"):
        embeddings.find_embeddings(cache, "choice", "tiny")
    mfcc = load.build_extractor(load.resolve_spec("mfcc"))
    for name, kaiser in zip(
        ("choice:resampler=kaiser_best", names[1]), resample.KAISER_FILTERS.values(), strict=True
    ):
        stored = embeddings.find_embeddings(cache, name, "tiny")
        for clip_id in stored.clip_ids:
            source = decoding.load(next(corpus.glob(f"{clip_id}.*")))
            wave = torch.from_numpy(source.wave)
            [clip] = mfcc([resample.resample(wave, source.sr, 22050, kaiser)])
            # a product of matrices for one clip and for three: float32 rounding of about 100 dB
            expected = clip["mfcc"].mean(0)
            np.testing.assert_allclose(stored.vectors([clip_id])[0], expected, atol=2e-3)


def test_a_card_with_another_dimension_than_its_cached_vectors_is_refused(
    corpus, tmp_path, monkeypatch
):
    card = cards.load_extractor_card("mfcc").model_dump(mode="json", exclude_defaults=True)
    card |= {"name": "mine"}
    stream = card["streams"]["mfcc"]
    card["streams"]["more"] = {**stream, "dim": 5}  # of no use here
    (tmp_path / "extractors").mkdir()
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    cache = tmp_path / "cache"

    def change(**facts):
        (tmp_path / "extractors" / "mine.yaml").write_text(json.dumps(card | facts))

    def use():
        extract("mine", audio=corpus, cache=cache)
        return evaluate("tiny", "mine", cache=cache, reports=tmp_path / "reports", probe="knn")

    change()
    [result] = use()
    assert result["sources"][0]["dim"] == 20
    change(streams={"mfcc": stream, "more": {**stream, "dim": 6}})  # a stream that is not cached
    assert use() == [result]
    change(streams={"mfcc": {**stream, "dim": 21}})
    message = r"tiny: vectors of stream 'mfcc' have dim 20, the card of mine says dim 21\. Correct"
    with pytest.raises(CardError, match=message):
        extract("mine", audio=corpus, cache=cache)
    with pytest.raises(CardError, match=message):
        evaluate("tiny", "mine", cache=cache, reports=tmp_path / "reports", probe="knn")
    change(streams={"mfcc": {**stream, "dim": 21}}, version=2)  # cached vectors are those of before
    evaluate("tiny", "mine", cache=cache, reports=tmp_path / "reports", probe="knn")


def test_one_sample_survives_every_resampler(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(1, 0.5), 192000)
    for name in ("vggish", "melstats"):
        source = decode_clip(
            Clip("a", tmp_path / "a.wav", np.nan, np.nan), cards.load_extractor_card(name)
        )
        [wave] = to_device([source], cards.load_extractor_card(name), torch.device("cpu"))
        assert len(wave) == 1


def test_half_precision_is_storage_only(corpus, tmp_path):
    extract("melstats", audio=corpus, cache=tmp_path / "single", limit=4)
    extract("melstats", audio=corpus, cache=tmp_path / "half", limit=4, dtype="float16")
    single, half = (
        embeddings.find_embeddings(tmp_path / c, "melstats", "tiny") for c in ("single", "half")
    )
    assert single.layout.fingerprint == half.layout.fingerprint
    ids = single.clip_ids
    expected = single.vectors(ids).astype(np.float16)
    np.testing.assert_allclose(half.vectors(ids), expected, rtol=2e-3)
    assert half.vectors(ids).dtype == np.float32
    with pytest.raises(CacheError, match="stored as float16; use dtype=float16"):
        extract("melstats", audio=corpus, cache=tmp_path / "half")


def test_parts_of_another_extraction_in_between_are_kept(corpus, tmp_path, content, monkeypatch):
    from probekit.extraction import worker

    embed = worker.embed_part
    once = []

    def interfere(job, extractor, tick=None):
        stored = embed(job, extractor, tick)
        if not once:
            once.append(job)
            extract("melstats", audio=corpus, cache=tmp_path)  # all clips, meanwhile
        return stored

    monkeypatch.setattr(worker, "embed_part", interfere)
    extract("melstats", audio=corpus, cache=tmp_path, limit=5)
    assert set(content(tmp_path, "melstats").rows) == set(clip_ids(corpus))


def test_a_damaged_part_does_not_get_a_new_digest(audio, tmp_path):
    cache = tmp_path / "cache"
    extract("melstats", audio=audio, cache=cache)
    folder = embeddings.find_embeddings(cache, "melstats", "tiny").folder
    path = folder / layout.part_name(
        layout.assign_bucket("tone/tone0", layout.load_layout(folder).buckets)
    )
    stat, original = path.stat(), path.read_bytes()
    values = part.read_part(path).rows["tone/tone0"].streams["stats"]["clip"].tobytes()
    damaged = bytearray(original)
    damaged[original.find(values) + 40] ^= 1
    path.write_bytes(damaged)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    changed(audio / "tone/tone0.wav", 0.5)
    with pytest.raises(CacheError, match=r"SHA-256 differs\). Delete this file") as caught:
        extract("melstats", audio=audio, cache=cache)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == damaged
    path.unlink()
    [summary] = extract("melstats", audio=audio, cache=cache)
    assert summary.done + summary.cached == 24


def test_a_foreign_part_stops_the_extraction(corpus, tmp_path):
    extract("melstats", audio=corpus, cache=tmp_path, limit=4)
    extract("mfcc", audio=corpus, cache=tmp_path, limit=4)
    source = embeddings.find_embeddings(tmp_path, "mfcc", "tiny")
    target = embeddings.find_embeddings(tmp_path, "melstats", "tiny")
    shutil.copy(min(source.folder.glob("part-*.h5")), target.folder / "part-00099.h5")
    with pytest.raises(CacheError) as caught:
        extract("melstats", audio=corpus, cache=tmp_path)
    assert source.layout.fingerprint[:16] in str(caught.value)
    assert target.layout.fingerprint[:16] in str(caught.value)
    assert "extractor: 'mfcc' in the cache, 'melstats' requested" in str(caught.value)


def test_a_wrong_root_is_noticed_before_anything_fails(corpus, tmp_path):
    table = tmp_path / "clips.csv"
    table.write_text("clip_id,path\na,tone/tone0.wav\nb,tone/tone1.flac\n")
    with pytest.raises(
        DataError, match=r"none of the 2 recordings was found in it.*tone0\.wav.*root="
    ):
        extract("melstats", manifest=table, cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"root=.*: no such folder"):
        extract("melstats", manifest=table, root=tmp_path / "gone", cache=tmp_path / "cache")
    [summary] = extract("melstats", manifest=table, root=corpus, cache=tmp_path / "cache")
    assert summary.done == 2


@pytest.mark.parametrize(
    "names, changes, error, reason",
    [
        ("melstat", {}, UnknownNameError, "Did you mean 'melstats'"),
        ("melstats:bands=3", {}, UnknownNameError, "unknown parameter of melstats 'bands'"),
        ("melstats", {"streams": ["stat"]}, UnknownNameError, "Did you mean 'stats'"),
        ("melstats", {"precision": "float16"}, UnknownNameError, "Did you mean .*'float32'"),
        ("melstats", {"dtype": "float64"}, ProbekitError, "'float64': float32 or float16"),
        (
            "melstats",
            {"device": "gpu"},
            ProbekitError,
            "device must be auto, cpu or a torch device such as cuda:0, got 'gpu'",
        ),
        ("melstats", {"device": "meta"}, ProbekitError, "cannot use it on this machine"),
        ("melstats", {"limit": 0}, ProbekitError, "limit must be >= 1, got 0"),
        ("melstats", {"task": "fsdd"}, ProbekitError, "exactly one of task=TASK .* got 2"),
        ("melstats", {"root": "."}, ProbekitError, "leave it out with audio="),
        ("melstats", {"weights": ["melstats"]}, ProbekitError, "NAME=PATH"),
    ],
)
def test_what_cannot_be_done_is_said(corpus, tmp_path, names, changes, error, reason):
    with pytest.raises(error, match=reason):
        extract(names, audio=corpus, cache=tmp_path / "cache", **changes)


def test_no_recordings_at_all(tmp_path):
    with pytest.raises(ProbekitError, match="root=DIR, audio=DIR, or manifest="):
        extract("melstats")
    with pytest.raises(ProbekitError, match="task=fsdd needs root=DIR"):
        extract("melstats", task="fsdd")
    with pytest.raises(UnknownNameError, match="Did you mean 'fsdd'"):
        extract("melstats", task="fsd", root=tmp_path)


def test_a_cache_that_cannot_be_made_is_said(corpus, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CacheError, match=r"cannot be written \(not a directory\)"):
        extract("melstats", audio=corpus, cache=tmp_path / "cache")
