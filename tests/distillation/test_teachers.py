from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from probekit.audio.timegrid import FrameGrid
from probekit.cache.manifests import save_manifest
from probekit.data.manifest import from_rows
from probekit.distillation import alignment
from probekit.distillation.teachers import Teachers
from probekit.errors import CacheError, DataError, ProbekitError, UnknownNameError

IDS = [f"song-{k}" for k in range(9)]
VGGISH = ("24/25", "39/80", "39/40")
OPENL3 = ("1/10", "0", "1")
STUDENT = FrameGrid.parse("1/4", "1/8", "1/2")
STEPS = 8
RATE = 16000


def drawn(dim, seconds=10.0, hop=0.96, seed=0, dtype="float32", ids=IDS):
    """Features of clips, each a little longer than the one before."""
    rng = np.random.default_rng(seed)
    counts = [int(seconds / hop) + k for k in range(len(ids))]
    made = (rng.standard_normal((n, dim)).astype(dtype) for n in counts)
    return dict(zip(ids, made, strict=True))


def plain(frames, grid, start, steps=STEPS, student=STUDENT):
    """Weigh frames by the time that they share with each of the student's, in plain fractions."""
    hop, center, _ = map(Fraction, grid)
    values, valid = np.zeros((steps, frames.shape[1])), np.zeros(steps, bool)
    for t in range(steps):
        middle = Fraction(start) + student.first_center + t * student.hop
        low, high = middle - student.hop / 2, middle + student.hop / 2
        shared = []
        for k in range(len(frames)):
            own = center + k * hop
            shared.append(max(min(high, own + hop / 2) - max(low, own - hop / 2), Fraction(0)))
        total = sum(shared)
        if total:
            valid[t] = True
            values[t] = np.array([float(s / total) for s in shared]) @ frames
    return values, valid


@pytest.fixture
def both(teach, tmp_path):
    """Two teachers, and their features."""
    vggish, openl3 = drawn(5), drawn(7, hop=0.1, seed=1, dtype="float16")
    teach(tmp_path, "vggish", vggish, VGGISH)
    teach(tmp_path, "openl3", openl3, OPENL3, buckets=2)
    return vggish, openl3


def test_frames_are_those_of_the_seconds_that_are_heard(songs, tmp_path, both):
    vggish, openl3 = both
    teachers = Teachers.open(songs, ["vggish", "openl3"], IDS, STUDENT, STEPS, cache=tmp_path)
    assert teachers.dim == 12
    rng = np.random.default_rng(2)
    places = rng.permutation(len(IDS))
    starts = rng.integers(0, 9 * RATE, len(IDS))
    starts[:3] = 0, 9.6 * RATE + 1, 12 * RATE  # two pass the end of their clip
    features, valid = teachers.read_frames(places, starts, rate=RATE)
    assert (features.shape, features.dtype, valid.shape) == ((9, STEPS, 12), np.float32, (9, STEPS))
    for row, clip, start in zip(range(9), places, starts, strict=True):
        one, there = plain(vggish[IDS[clip]], VGGISH, Fraction(int(start), RATE))
        other, also = plain(openl3[IDS[clip]], OPENL3, Fraction(int(start), RATE))
        np.testing.assert_array_equal(valid[row], there & also)
        expected = np.concatenate([one, other], axis=1) * valid[row][:, None]
        # sums of at most four float32 products of numbers up to 5
        np.testing.assert_allclose(features[row], expected, rtol=0, atol=5e-6)
    assert [own.all() for own in valid[:3]] == [True, False, False]
    assert valid[1].any() and not valid[2].any()
    seconds = [float(Fraction(int(s), RATE)) for s in starts]
    np.testing.assert_array_equal(teachers.read_frames(places, seconds)[0], features)


def test_an_impulse_stays_in_its_second_wherever_the_crop_begins(songs, teach, tmp_path):
    hop = 0.1
    impulse = {clip_id: np.zeros((100, 1), "f4") for clip_id in IDS}
    for k, clip_id in enumerate(IDS):
        impulse[clip_id][30 + 3 * k] = 1  # at 3.0 s + 0.3 s k
    teach(tmp_path, "openl3", impulse, OPENL3)
    teachers = Teachers.open(songs, ["openl3"], IDS, STUDENT, STEPS, cache=tmp_path)
    for first in np.random.default_rng(0).integers(2 * RATE, 3 * RATE, 20):
        features, _ = teachers.read_frames(range(9), [first] * 9, rate=RATE)
        for k in range(9):
            now = 3.0 + 0.3 * k - first / RATE  # in the crop
            touched = np.flatnonzero(features[k, :, 0]) * 0.25  # begins of the student's frames
            if not len(touched):
                assert now + hop / 2 <= 1e-9 or now - hop / 2 >= 2 - 1e-9
                continue
            assert touched[0] < now + hop / 2 + 1e-9
            assert touched[-1] + 0.25 > now - hop / 2 - 1e-9
            if 0 < now < 2:
                assert np.abs(touched - int(now / 0.25) * 0.25).min() < 1e-9


def test_the_paper_s_way_takes_frames_of_0_96_s_for_1_s(songs, tmp_path, both):
    vggish, _ = both
    one = FrameGrid.parse(1, "1/2", 1)
    teachers = Teachers.open(songs, ["vggish"], IDS, one, 4, cache=tmp_path, alignment="paper")
    features, valid = teachers.read_frames([2, 3], [0, 5], rate=1)
    assert valid.all()
    np.testing.assert_allclose(features[0], vggish[IDS[2]][:4], rtol=1e-6)
    np.testing.assert_allclose(features[1], vggish[IDS[3]][5:9], rtol=1e-6)
    honest = Teachers.open(songs, ["vggish"], IDS, one, 4, cache=tmp_path).read_frames([3], [5])[0]
    assert np.abs(features[1] - honest[0]).max() > 0.1


def test_a_vector_a_clip_is_repeated(songs, teach, tmp_path, both):
    vggish, _ = both
    rng = np.random.default_rng(0)
    vectors = {clip_id: rng.standard_normal(3).astype("f4") for clip_id in IDS}
    teach(tmp_path, "cf", vectors)
    names = ["cf", "vggish:pool=mean+max", "vggish:pool=mean"]
    teachers = Teachers.open(songs, names, IDS, STUDENT, STEPS, cache=tmp_path, durations=[99] * 9)
    assert [s["pool"] for s in teachers.sources] == [["mean"], ["mean", "max"], ["mean"]]
    features, valid = teachers.read_frames([4, 0], [3 * RATE, 90 * RATE], rate=RATE)
    assert valid.all()
    for row, clip in zip(features, (4, 0), strict=True):
        own = vggish[IDS[clip]]
        expected = [vectors[IDS[clip]], own.mean(0), own.max(0), own.mean(0)]
        np.testing.assert_allclose(row, [np.concatenate(expected)] * STEPS, atol=1e-6)


def test_clips_are_found_by_their_ids(songs, tmp_path, both):
    vggish, _ = both
    some = [IDS[5], IDS[1], IDS[8]]
    teachers = Teachers.open(songs, ["vggish"], some, STUDENT, STEPS, cache=tmp_path)
    places = teachers.clip_rows([IDS[8], IDS[5]])
    np.testing.assert_array_equal(places, [2, 0])
    features, _ = teachers.read_frames(places, [2, 2])
    np.testing.assert_allclose(features[1], plain(vggish[IDS[5]], VGGISH, 2)[0], atol=5e-6)
    with pytest.raises(CacheError, match="2 of 3 clips have no teacher: 'song-0', 'song-2'"):
        teachers.clip_rows([IDS[0], IDS[1], IDS[2]])


def test_records_say_who_taught(songs, teach, tmp_path, both):
    teachers = Teachers.open(songs, ["vggish", "openl3"], IDS, STUDENT, STEPS, cache=tmp_path)
    assert [len(f) for f in teachers.fingerprints()] == [64, 64]
    assert teachers.provenance == ["by vggish", "by openl3"]
    first, second = teachers.sources
    assert (first["stream"], first["pool"], first["dim"], second["dim"]) == ("e", ["frames"], 5, 7)
    swapped = Teachers.open(songs, ["openl3", "vggish"], IDS, STUDENT, STEPS, cache=tmp_path)
    fewer = Teachers.open(songs, ["vggish", "openl3"], IDS[1:], STUDENT, STEPS, cache=tmp_path)
    digests = {teachers.digest(), swapped.digest(), fewer.digest()}
    assert len(digests) == 3
    again = Teachers.open(songs, ["vggish", "openl3"], IDS, STUDENT, STEPS, cache=tmp_path)
    assert again.digest() in digests


def test_a_teacher_that_lacks_clips(songs, teach, tmp_path):
    features = {k: v for k, v in drawn(5).items() if k not in IDS[2:7]}
    folder = teach(tmp_path, "vggish", features, VGGISH, failed=IDS[2:4])
    with pytest.raises(CacheError) as error:
        Teachers.open(songs, ["vggish"], IDS, STUDENT, STEPS, cache=tmp_path)
    message = str(error.value)
    ids = "'song-2', 'song-3', 'song-4', 'song-5', 'song-6'"
    assert f"{folder}: the teacher lacks 5 of 9 clips: {ids}" in message
    assert "broken" in message


def test_a_teacher_without_frames_says_how_to_keep_them(songs, teach, tmp_path):
    changes = {
        "params": {"content": "music", "size": 512},
        "weights": {"main": "random:3 (initialization 1)"},
        "precision": "bf16",
    }
    teach(tmp_path, "openl3", drawn(5, dtype="float16"), OPENL3, frames=False, **changes)
    with pytest.raises(CacheError, match="has pooled vectors of 'e', but not its frames") as error:
        Teachers.open(songs, ["openl3"], IDS, STUDENT, STEPS, cache=tmp_path)
    command = (
        "probekit extract -e openl3:content=music,size=512 --task song-tags --root DIR "
        "--streams e --frames --weights openl3=random:3 --precision bf16 --dtype float16 "
        f"--cache {tmp_path}"
    )
    assert str(error.value).endswith(command)


@pytest.mark.parametrize("source", ["birds", "birds/clips.csv"])
def test_the_command_names_the_folder_or_table_of_a_task_without_a_card(
    songs, teach, tmp_path, source, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    rows = [{"clip_id": name, "path": f"{name}.wav", "labels": "a"} for name in IDS]
    clips = from_rows(songs.dataset, rows, root=Path("birds"))
    save_manifest(tmp_path / "cache", replace(clips, source=tmp_path / source))
    task = songs.model_copy(update={"module": "table", "name": songs.dataset, "options": {}})
    teach(tmp_path / "cache", "student-0123abcd", drawn(5), OPENL3, frames=False)
    with pytest.raises(CacheError, match="but not its frames") as error:
        Teachers.open(task, ["runs/0123abcd"], IDS, STUDENT, STEPS, cache=tmp_path / "cache")
    option = "--task" if source.endswith("csv") else "--audio"
    assert f"probekit extract -e runs/0123abcd {option} {source} --streams" in str(error.value)


def test_a_teacher_that_ends_before_the_sound(songs, teach, tmp_path):
    features = drawn(5)
    ends = {k: 39 / 80 + (len(v) - 1) * 0.96 + 39 / 80 for k, v in features.items()}
    teach(tmp_path, "vggish", features, VGGISH)
    seconds = np.array([ends[k] for k in IDS]) + 0.9749  # the last window was not full
    Teachers.open(songs, ["vggish"], IDS, STUDENT, STEPS, cache=tmp_path, durations=seconds)
    seconds[[4, 6]] += 0.001
    with pytest.raises(
        CacheError, match=r"frames of 2 of 9 clips end .*'song-4', 'song-6'.* at 13\.4[56] s"
    ):
        Teachers.open(songs, ["vggish"], IDS, STUDENT, STEPS, cache=tmp_path, durations=seconds)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_numbers(songs, teach, tmp_path, bad):
    features = drawn(5)
    features[IDS[3]][6, 2] = bad
    with np.errstate(invalid="ignore"):
        teach(tmp_path, "vggish", features, VGGISH)
    teachers = Teachers.open(songs, ["vggish"], IDS, STUDENT, STEPS, cache=tmp_path)
    teachers.read_frames([3, 4], [0, 6])  # another place
    with pytest.raises(DataError, match="'e' of clip 'song-3' are NaN or infinite"):
        teachers.read_frames([4, 3], [6, 6])
    with pytest.raises(DataError, match="'song-3'"):
        Teachers.open(songs, ["vggish:pool=mean"], IDS, STUDENT, STEPS, cache=tmp_path)


def test_teachers_that_are_not_there(songs, tmp_path, both):
    def opened(*names, **options):
        return Teachers.open(songs, names, IDS, STUDENT, STEPS, cache=tmp_path, **options)

    with pytest.raises(CacheError, match=r"no embeddings of 'vgish'.*Did you mean 'vggish'"):
        opened("vgish")
    with pytest.raises(UnknownNameError, match="stream of vggish"):
        opened("vggish:stream=pca8")
    with pytest.raises(ProbekitError, match=r"--teacher vggish\+openl3: give each teacher its own"):
        opened("vggish+openl3")
    with pytest.raises(UnknownNameError, match="alignment"):
        opened("vggish", alignment="times")
    with pytest.raises(ProbekitError, match="no teacher"):
        opened()


def test_frames_come_before_vectors(songs, teach, tmp_path):
    vectors = {name: values[0] for name, values in drawn(5).items()}
    for k, also in enumerate(((), ("f",), ("f", "g"))):
        teach(tmp_path / str(k), "layers", vectors, also=also)

    def opened(k, name="layers"):
        return Teachers.open(songs, [name], IDS, STUDENT, STEPS, cache=tmp_path / str(k))

    (member,) = opened(1).members
    assert (member.source["stream"], member.source["pool"]) == ("f", ["frames"])
    assert opened(1).display_names == ["layers:stream=f"] and not opened(1).clip_level_notes
    for k in (0, 2):  # none, and several to choose from
        features = opened(k)
        assert features.members[0].source["pool"] == ["mean"] and features.display_names == [
            "layers, vectors"
        ]
        note = "teacher layers: one vector a clip (e)"
        assert features.provenance == ["by layers"] and features.clip_level_notes == [note]
    for asked in ("layers:stream=e", "layers:pool=mean", "layers:stream=e,pool=mean"):
        features = opened(1, asked)
        assert features.display_names == [asked] and not features.clip_level_notes
        assert features.members[0].source["stream"] == "e"
    assert opened(2, "layers:stream=g").members[0].source["pool"] == ["frames"]


def test_a_stream_that_was_not_extracted_is_not_unknown(songs, teach, tmp_path):
    teach(tmp_path, "vggish", drawn(5), VGGISH, streams=("e", "pca"))

    def opened(name):
        return Teachers.open(songs, [name], IDS, STUDENT, STEPS, cache=tmp_path)

    message = r"stream 'pca' of vggish was not extracted, only e\. .*--streams pca --frames --cache"
    with pytest.raises(CacheError, match=message):
        opened("vggish:stream=pca")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'pca'\? Known: e, pca"):
        opened("vggish:stream=pcaa")


def test_no_teacher_s_frames_are_read_that_nobody_hears(songs, tmp_path, both):
    [member] = Teachers.open(songs, ["openl3"], IDS, STUDENT, STEPS, cache=tmp_path).members
    assert member.reader.crops.frames == 22  # of 2 s at a hop of 0.1 s
    own = FrameGrid.parse(*OPENL3)
    starts = np.random.default_rng(0).integers(0, 8 * RATE, 500)
    _, weights = alignment.overlap_weights(own, STUDENT, STEPS, starts, rate=RATE)
    assert weights.shape[2] <= 22
