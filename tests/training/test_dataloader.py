import threading
import time

import numpy as np
import pytest
import soundfile
import torch

from probekit import extract
from probekit.audio.timegrid import FrameGrid
from probekit.data import manifest as manifests
from probekit.distillation.teachers import Teachers
from probekit.errors import DataError, UnknownNameError
from probekit.training import dataloader
from probekit.training.audio_store import AudioStore
from probekit.training.dataloader import TrainBatches, chunk_starts, evaluation_batches

RATE, COUNT = 8000, 21
SAMPLES = 4000
STUDENT, STEPS = FrameGrid.parse("1/8", "1/16", "1/8"), 4
OPENL3 = ("1/10", "0", "1")


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """A sound whose every sample says which clip it is of, and where: clip + place / 2**18."""
    root = tmp_path_factory.mktemp("ramps")
    rows = []
    for k in range(COUNT):
        wave = k + np.arange(3000 + 1000 * k) / 2**18
        soundfile.write(root / f"{k}.wav", wave, RATE, "FLOAT")
        rows.append({"clip_id": f"ramp-{k}", "path": f"{k}.wav"})
    clips = manifests.from_rows("ramps", rows, root=root)
    return AudioStore.open(clips, RATE, root, dtype="float32")


@pytest.fixture
def teachers(songs, teach, tmp_path, ramps):
    """A teacher whose frame k of a clip is (clip, center in seconds); it knows clips backwards."""
    ids = ramps.clip_ids[::-1]
    frames = {}
    for clip_id in ids:
        k = int(clip_id[5:])
        count = 1 + int(ramps.lengths[k] / RATE / 0.1)
        frames[clip_id] = np.stack([np.full(count, k), 0.1 * np.arange(count)], 1).astype("f4")
    teach(tmp_path, "openl3", frames, OPENL3)
    return Teachers.open(songs, ["openl3"], ids, STUDENT, STEPS, cache=tmp_path)


def decode_ramps(batch):
    """Which clip, and which first sample, the waves of a batch say that they are."""
    clip = torch.floor(batch.waves[:, 0])
    return clip.long(), ((batch.waves[:, 0] - clip) * 2**18).long()


def read(training, number, **share):
    """Rows of an epoch: clip, start and target of each batch."""
    return [
        [batch.clips.tolist(), decode_ramps(batch)[1].tolist(), batch.targets.tolist()]
        for batch in training.epoch(number, **share)
    ]


TARGETS = np.arange(COUNT) % 5


def test_each_clip_is_heard_once_in_an_epoch_with_what_belongs_to_it(ramps, teachers):
    subset = np.arange(2, COUNT)
    training = TrainBatches(ramps, teachers, TARGETS, subset, SAMPLES, 8, 0)
    assert training.steps() == 3
    seen = []
    for batch in training.epoch(0):
        assert batch.waves.shape == (len(batch), SAMPLES)
        assert (batch.waves.dtype, batch.targets.dtype) == (torch.float32, torch.int64)
        clip, start = decode_ramps(batch)
        assert torch.equal(clip, batch.clips)
        assert torch.equal(batch.targets, torch.as_tensor(TARGETS)[batch.clips])
        assert (start <= torch.tensor(ramps.lengths)[clip] - SAMPLES).all()
        assert (batch.frames.shape, batch.valid.shape) == ((len(batch), 4, 2), (len(batch), 4))
        assert batch.valid.all()
        # weights are rounded to float32, and so add up to 1 within 2**-22
        torch.testing.assert_close(batch.frames[..., 0], clip[:, None].expand(-1, 4).float())
        # the mean of the centers of frames that a student's frame overlaps is near its own center
        center = start[:, None] / RATE + torch.tensor([0.0625, 0.1875, 0.3125, 0.4375])
        assert (batch.frames[..., 1] - center).abs().max() < 0.05
        seen += clip.tolist()
    assert sorted(seen) == subset.tolist()


def test_an_epoch_follows_from_seed_and_number_alone(ramps, teachers):
    arguments = (TARGETS, range(COUNT), SAMPLES, 8)
    one = TrainBatches(ramps, teachers, *arguments, 7)
    first = [read(one, number) for number in range(4)]
    resumed = TrainBatches(ramps, None, *arguments, 7)  # what teachers there are does not matter
    assert read(resumed, 3) == first[3]
    assert read(resumed, 1) == first[1]
    assert len({str(epoch) for epoch in first}) == 4
    assert read(TrainBatches(ramps, None, *arguments, 8), 0) != first[0]
    # clips that are longer than a crop begin elsewhere in most epochs
    starts = [dict(zip(*np.concatenate([b[:2] for b in e], axis=1), strict=True)) for e in first]
    assert len({tuple(sorted(by_clip.items())) for by_clip in starts}) == 4
    assert all(by_clip[0] == by_clip[1] == 0 for by_clip in starts)


def test_every_place_at_which_a_crop_fits_is_drawn(ramps):
    few = TrainBatches(ramps, None, TARGETS, [1, 2], 4995, 8, 0)  # clip 2 has 5,000 samples
    counts = np.zeros(6, int)
    for number in range(300):
        [[clips, starts, _]] = read(few, number)
        counts[starts[clips.index(2)]] += 1
        assert starts[clips.index(1)] == 0  # 4,000 samples: zeros follow
    assert counts.min() > 25  # 50 expected, standard deviation 6.5


@pytest.mark.parametrize(
    ("clips", "batch", "sizes"),
    [(17, 8, [8, 9]), (18, 8, [8, 8, 2]), (16, 8, [8, 8]), (1, 8, [1]), (3, 2, [3])],
)
def test_no_clip_is_alone_in_a_batch(ramps, clips, batch, sizes):
    training = TrainBatches(ramps, None, TARGETS, range(clips), SAMPLES, batch, 0)
    assert [len(b) for b in training.epoch(0)] == sizes
    assert training.steps() == len(sizes)


def test_processes_share_an_epoch(ramps):
    training = TrainBatches(ramps, None, TARGETS, range(COUNT), SAMPLES, 3, 0)
    whole = read(training, 5)
    assert len(whole) == 7
    shares = [read(training, 5, rank=rank, world_size=3) for rank in range(3)]
    assert [len(share) for share in shares] == [training.steps(3)] * 3 == [3] * 3
    dealt = [share[k] for k in range(3) for share in shares]
    assert dealt == [*whole, *whole[:2]]


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (np.eye(COUNT, 3, dtype=np.int8), torch.float32),
        (np.linspace(0, 1, COUNT)[:, None], torch.float32),
        (TARGETS, torch.int64),
    ],
)
def test_targets_are_as_losses_want_them(ramps, targets, kind):
    batch = next(TrainBatches(ramps, None, targets, range(COUNT), SAMPLES, 8, 0).epoch(0))
    assert batch.targets.dtype == kind
    np.testing.assert_array_equal(batch.targets, targets[batch.clips].astype(np.float32))
    assert batch.frames is None and batch.valid is None


def test_chunks_cover_a_clip(ramps):
    for length in (1, 3999, 4000, 4001, 7999, 8000, 8001, 23000, 12345):
        starts = chunk_starts(length, SAMPLES)
        assert len(starts) == max(1, -(-length // SAMPLES))
        assert starts[0] == 0
        assert starts[-1] == max(0, length - SAMPLES)
        gaps = np.diff(starts)
        assert len(starts) == 1 or (gaps.max() <= SAMPLES and np.ptp(gaps) <= 1)


def test_the_paper_s_chunks_do_not_reach_the_end():
    # Won et al.: hop = (length - input) // 16, chunk i begins at i * hop
    hop = (465984 - 80000) // 16
    expected = [i * hop for i in range(16)]
    np.testing.assert_array_equal(chunk_starts(465984, 80000, "won"), expected)
    assert expected[-1] + 80000 < 465984
    np.testing.assert_array_equal(chunk_starts(80000, 80000, "won"), [0])
    np.testing.assert_array_equal(chunk_starts(79000, 80000, "won"), [0])


@pytest.mark.parametrize("policy", ["cover", "won"])
def test_chunks_know_their_clips(ramps, teachers, policy):
    subset = [20, 0, 7, 1]
    rows = []
    for batch in evaluation_batches(ramps, teachers, subset, SAMPLES, 5, policy):
        clip, start = decode_ramps(batch)
        assert torch.equal(clip, batch.clips)
        torch.testing.assert_close(batch.frames[..., 0], clip[:, None] * batch.valid.float())
        assert len(batch) <= 5 and batch.targets is None
        rows += zip(clip.tolist(), start.tolist(), strict=True)
    expected = [
        (k, s)
        for k in subset
        for s in chunk_starts(int(ramps.lengths[k]), SAMPLES, policy).tolist()
    ]
    assert rows == expected


def test_what_is_behind_a_clip_s_end_is_not_valid(ramps, teachers):
    [batch] = evaluation_batches(
        ramps, teachers, [0], SAMPLES, 5
    )  # 3,000 samples, frames at 0.0 … 0.3 s
    assert not batch.waves[0, 3000:].any()
    assert batch.waves[0, 2999] > 0
    assert batch.valid.tolist() == [[True, True, True, False]]


def test_what_cannot_be_batched(ramps):
    with pytest.raises(UnknownNameError, match="choice of chunks"):
        next(evaluation_batches(ramps, None, [0], SAMPLES, 5, "all"))
    silent = AudioStore.__new__(AudioStore)
    silent.__dict__.update(ramps.__dict__, failures={"ramp-4": "not audio"})
    silent.lengths = np.where(np.arange(COUNT) == 4, 0, ramps.lengths)
    with pytest.raises(DataError, match="1 of 3 clips have no audio, for example 'ramp-4': not a"):
        TrainBatches(silent, None, TARGETS, [3, 4, 5], SAMPLES, 2, 0)


def readers():
    return [t for t in threading.enumerate() if t.name == "prefetch"]


def test_what_goes_wrong_ahead_is_raised_where_it_is_needed(ramps, teachers, monkeypatch):
    training = TrainBatches(ramps, teachers, TARGETS, range(COUNT), SAMPLES, 4, 0)
    calls = []
    read_frames = teachers.read_frames

    def failing(*arguments, **named):
        calls.append(1)
        if len(calls) == 3:
            raise DataError("the third is broken")
        return read_frames(*arguments, **named)

    monkeypatch.setattr(teachers, "read_frames", failing)
    got = []
    with pytest.raises(DataError, match="the third is broken"):
        for batch in training.epoch(0):
            time.sleep(0.05)
            got.append(batch)
    assert len(got) == 2
    assert not readers()


def test_a_batch_moves_whole(ramps, teachers):
    batch = next(TrainBatches(ramps, teachers, TARGETS, range(4), SAMPLES, 4, 0).epoch(0))
    there = batch.to("meta")
    assert all(getattr(there, name).is_meta for name in ("waves", "clips", "targets", "frames"))
    assert there.valid.is_meta
    assert isinstance(there, dataloader.Batch)


def test_a_click_is_where_the_student_hears_it(tmp_path, songs):
    """From recordings on, through extraction: a click in the crop is in the same frame of both."""
    root = tmp_path / "clicks"
    root.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for k in range(6):
        wave = 1e-4 * rng.standard_normal(6 * 16000)
        at = 16000 + 11_000 * k
        wave[at : at + 40] = 0.9
        soundfile.write(root / f"{k}.wav", wave, 16000, "FLOAT")
        rows.append({"clip_id": f"click-{k}", "path": f"{k}.wav"})
    clips = manifests.from_rows("songs", rows, root=root)
    extract("mfcc", manifest=clips, cache=tmp_path, frames=True)
    sound = AudioStore.open(clips, 16000, tmp_path / "sound", dtype="float32")
    grid, steps = FrameGrid.parse("1/8", "1/16", "1/8"), 16  # crops of 2 s
    teachers = Teachers.open(
        songs, ["mfcc"], clips.clip_ids, grid, steps, cache=tmp_path, durations=sound.durations
    )
    training = TrainBatches(sound, teachers, np.zeros(6, int), range(6), 32000, 3, 0)
    heard = 0
    for number in range(12):
        for batch in training.epoch(number):
            for wave, energy, valid in zip(
                batch.waves, batch.frames[..., 0], batch.valid, strict=True
            ):
                assert valid.all()
                place = int(wave.abs().argmax())
                edge = min(place % 2000, 2000 - place % 2000)  # mfcc's windows reach over it
                if wave.abs().max() < 0.5 or edge < 400:
                    continue
                heard += 1
                assert int(energy.argmax()) == place // 2000
    assert heard > 8
