"""Artist groups: features against librosa, bags by hand, topics of made groups, mistakes."""

import json

import numpy as np
import pytest
import soundfile
from sklearn.decomposition import LatentDirichletAllocation

import probekit
from probekit.analysis import group_map
from probekit.errors import DataError, ProbekitError, UnknownNameError
from probekit.figures.scatter import draw_projection
from probekit.targets import clip_columns, clip_features
from probekit.targets.artist_groups import GroupConfig, make_artist_groups
from probekit.targets.target_file import read_targets, write_targets
from probekit.training.target_clips import with_targets

SR = 22050
VOICES = {"low": 200.0, "high": 3000.0, "middle": 900.0, "top": 6000.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve tones of four voices; ``top`` has test clips alone."""
    base = tmp_path_factory.mktemp("voices")
    lines = ["clip_id,path,label,split,group"]
    rng = np.random.default_rng(0)
    for voice, frequency in VOICES.items():
        for k in range(3):
            name = f"{voice}{k}"
            wave = np.sin(2 * np.pi * frequency * np.arange(SR // 2) / SR + k)
            soundfile.write(base / f"{name}.wav", 0.3 * wave + 0.01 * rng.normal(size=11025), SR)
            split = "test" if voice == "top" or k == 2 else "train"
            lines.append(f"{name},{name}.wav,{'ab'[k % 2]},{split},{voice}")
    (base / "voices.csv").write_text("\n".join(lines) + "\n")
    return base


@pytest.fixture
def make(folder, tmp_path):
    def call(table=None, task="voices.csv", **options):
        config = GroupConfig(**{"words": 8, "topics": 3, **options})
        return make_artist_groups(
            str(folder / task), config, table=table, cache=tmp_path, root=folder
        )

    return call


def test_mfcc_are_librosa_s(folder):
    librosa = pytest.importorskip("librosa")
    wave, _ = soundfile.read(folder / "low0.wav", dtype="float32")
    expected = librosa.feature.mfcc(
        y=wave.astype(np.float64), sr=SR, n_mfcc=25, n_fft=2048, hop_length=1024, n_mels=128
    ).T
    clips = probekit.load_task(str(folder / "voices.csv")).manifest(folder)
    frames = clip_features.Mfcc(clips).frames(wave)
    # the sum of 128 bands that differ by up to 1e-4 dB
    np.testing.assert_allclose(frames, expected, rtol=0, atol=2e-3)
    differences = clip_features.Mfcc(clips, differences=True).frames(wave)
    np.testing.assert_allclose(differences, np.diff(expected, axis=0), rtol=0, atol=4e-3)


def test_bags_are_mean_counts_of_the_nearest_words(make, folder):
    made = make()
    assert made.group_names == ("high", "low", "middle", "top")
    assert made.clip_counts.tolist() == [2, 2, 2, 3]  # training clips; and the new group's
    assert made.bags.sum(1).tolist() == [11, 11, 11, 11]  # frames of half a second
    model = LatentDirichletAllocation(3, max_iter=10, learning_method="batch", random_state=0)
    expected = model.fit_transform(made.bags[:3])
    np.testing.assert_allclose(made.proportions[:3], expected, atol=1e-12)
    np.testing.assert_allclose(made.proportions[3:], model.transform(made.bags[3:]), atol=1e-12)
    np.testing.assert_allclose(made.targets.values.sum(1), 1, atol=1e-6)


def test_targets_are_those_of_the_group_and_leave_test_clips_out(make, folder):
    made = make()
    by_id = dict(zip(made.targets.clip_ids, made.targets.values, strict=True))
    assert np.array_equal(by_id["low0"], by_id["low2"])  # a test clip of a training group
    assert not np.allclose(by_id["low0"], by_id["high0"])
    split = dict(zip(made.targets.clip_ids, made.targets.split, strict=True))
    assert split["low0"] == "train" and split["low2"] == split["top0"] == "test"
    assert any("without training clips" in note for note in made.notes)
    # a test clip that sounds otherwise changes nothing that is trained on
    wave, _ = soundfile.read(folder / "low2.wav")
    try:
        noise = np.random.default_rng(1).normal(size=len(wave))
        soundfile.write(folder / "low2.wav", 0.1 * noise, SR)
        again, everything = make(), make(clips="all")
    finally:
        soundfile.write(folder / "low2.wav", wave, SR)
    assert np.array_equal(again.targets.values, made.targets.values)
    assert not np.array_equal(everything.bags, made.bags)
    assert any("as published" in note for note in everything.notes)
    assert everything.targets.provenance["clips"] == "all"


def test_same_seed_same_targets(make):
    first, second, other = make(), make(), make(seed=1)
    assert first.targets.digest() == second.targets.digest()
    assert first.targets.digest() != other.targets.digest()


def test_differences_labels_and_other_groups(make, folder, tmp_path):
    assert make(source="d").bags.sum(1)[0] == 10
    labels = make(source="labels", topics=2)
    assert labels.word_names == ("a", "b")
    assert labels.bags.tolist() == [[0.5, 0.5]] * 3 + [[2 / 3, 1 / 3]]
    recordings = make(group_column="recording")
    assert len(recordings.group_names) == 12
    assert any("6 groups of one clip" in note for note in recordings.notes)
    table = tmp_path / "sites.csv"
    table.write_text(
        "clip_id,site,kinds\n"
        + "".join(f"{v}{k},s{k},x;{v}\n" for v in ("low", "high") for k in range(3))
    )
    sites = make(table=table, group_column="site", source="labels:kinds", topics=2)
    assert sites.group_names == ("s0", "s1", "s2") and sites.word_names == ("high", "low", "x")
    assert "no target for 2 clips without a group" in sites.notes


def test_tables_of_fma(tmp_path, folder):
    clips = probekit.load_task(str(folder / "voices.csv")).manifest(folder)
    table = tmp_path / "tracks.csv"
    ids = clips.clip_ids
    lines = [",artist,track", ",id,genres", "track_id,,"]
    lines += [f'{k},{k % 2},"[1, {k}]"' for k in range(3)]
    table.write_text("\n".join(lines) + "\n")
    first = clips.subset(range(3))
    numbered = first.with_table(first.table.assign(clip_id=["000000", "000001", "000002"]))
    assert clip_columns.read_groups(numbered, "artist.id", table) == ["0", "1", "0"]
    labels = clip_columns.read_labels(numbered, "track.genres", table)
    assert labels == [("1", "0"), ("1", "1"), ("1", "2")]
    with pytest.raises(DataError, match="none of its clip ids"):
        clip_columns.read_groups(clips, "artist.id", table)
    assert len(ids) == 12


def test_frames_in_the_cache(folder, tmp_path):
    task = str(folder / "voices.csv")
    probekit.extract("mfcc", task=task, root=folder, cache=tmp_path, frames=True)
    config = GroupConfig(source="mfcc:stream=mfcc", words=8, topics=3)
    made = make_artist_groups(task, config, cache=tmp_path, root=folder)
    assert made.targets.provenance["features"]["from"] == "mfcc"
    assert made.bags.sum(1)[0] == 22  # frames of the extractor, every 512 samples
    with pytest.raises(UnknownNameError, match="stream of mfcc"):
        config = GroupConfig(source="mfcc:stream=nothing", words=8, topics=3)
        make_artist_groups(task, config, cache=tmp_path, root=folder)


def test_a_feature_that_fails_for_some_clips(make, folder):
    content = (folder / "low0.wav").read_bytes()
    try:
        (folder / "low0.wav").write_bytes(b"RIFF of nothing")
        made = make()
    finally:
        (folder / "low0.wav").write_bytes(content)
    assert any(
        note.startswith("1 of 6 clips without features, such as 'low0'") for note in made.notes
    )
    assert made.clip_counts.tolist() == [2, 1, 2, 3]
    assert "low0" in made.targets.clip_ids  # it has the target of its group


def test_files_and_training(make, folder, tmp_path):
    made = make()
    path = tmp_path / "m.h5"
    write_targets(path, made.targets)
    read = read_targets(path)
    assert read.kind == "distributions" and read.digest() == made.targets.digest()
    task = probekit.load_task(str(folder / "voices.csv"))
    replaced = with_targets(task.card, task.manifest(folder), path)
    assert replaced.loss == "cross-entropy" and replaced.card.protocol.kind == "split"
    assert "3 topics of 3 groups (group), from mfcc, seed 0" in replaced.notes[0]


def test_map_and_tables(make, tmp_path):
    made = make()
    points = group_map.map_groups(made)
    roots = np.sqrt(made.proportions)
    expected = np.linalg.norm(roots[:, None] - roots[None], axis=2)
    found = np.linalg.norm(points.points[:, None] - points.points[None], axis=2)
    assert (found <= expected + 1e-9).all()  # a projection
    assert draw_projection(points).axes
    assert len(group_map.tabulate_topics(made)) == 3
    shares = [row["topic 1"] for row in group_map.tabulate_groups(made)]
    assert shares == made.proportions[:, 0].tolist()


def test_essentia_vector_by_the_rules_of_the_code():
    pool = {
        "lowlevel.mfcc.mean": np.arange(3.0),
        "lowlevel.mfcc.cov": np.ones((3, 3)),
        "metadata.audio_properties.length": 30.0,
        "rhythm.beats_position": np.arange(60.0),
        "rhythm.bpm": 120.0,
        "tonal.chords_key": "Bb",
        "tonal.chords_scale": "minor",
    }
    vector = clip_features.pool_vector(pool)
    assert vector.tolist() == [0, 1, 2, 120, *[k == 1 for k in range(12)], 0, 1]


def test_essentia_is_missing(make, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(clip_features, "import_module", absent)
    with pytest.raises(DataError, match=r"pip install essentia.*AGPL-3\.0"):
        make(source="essentia")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"group_column": "artistt"}, UnknownNameError, "Did you mean 'artist'"),
        ({"group_column": "fold"}, DataError, "no group column: 'fold' is empty"),
        (
            {"group_column": "split"},
            DataError,
            "at least two groups, but 6 clips have only 'train'",
        ),
        ({"words": 4000}, DataError, "66 frames of 6 clips are fewer than the 4,000 words"),
        ({"words": 1}, ProbekitError, "--words must be >= 2, got 1"),
        ({"topics": 0}, ProbekitError, "--topics must be >= 2, got 0"),
        ({"clips": "some"}, UnknownNameError, "choice of --clips"),
        ({"fold": "3"}, UnknownNameError, "fold of"),
        ({"source": "labels:kind"}, DataError, "needs the table with that column"),
        ({"source": "vggish"}, ProbekitError, "no embeddings of 'vggish'"),
    ],
)
def test_mistakes_are_one_message(make, options, error, words):
    with pytest.raises(error, match=words):
        make(**options)


def test_several_folds_need_a_choice(make, folder):
    lines = (folder / "voices.csv").read_text().replace("split", "fold").splitlines()
    (folder / "folds.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ProbekitError, match="several folds, whose training clips differ"):
        make(task="folds.csv")
    made = make(task="folds.csv", fold="test")
    assert json.loads(json.dumps(made.targets.provenance))["fold"] == "test"
    assert make(task="folds.csv", clips="all").targets.split is None
