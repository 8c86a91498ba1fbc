"""Recordings inside of HDF5, Parquet and tar: the same sound as from a file of its own."""

import io
import tarfile

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from probekit.audio import archives, recording
from probekit.errors import AudioError

SR, N = 32000, 320000


def sound(seed, sr=SR, seconds=10):
    return 0.2 * np.random.default_rng(seed).standard_normal(sr * seconds)


def encoded(wave, sr, kind):
    stream = io.BytesIO()
    soundfile.write(stream, wave, sr, format=kind)
    return stream.getvalue()


def write_panns(path, names, waves, rate=SR):
    with h5py.File(path, "w") as file:
        file["audio_name"] = np.array(names, "S20")
        file["waveform"] = np.array(waves, np.int16)
        file["target"] = np.zeros((len(names), 527), bool)
        if rate is not None:
            file.attrs["sample_rate"] = rate
    return path


def as_int16(wave):
    return np.rint(wave * 32767).clip(-32768, 32767).astype(np.int16)


def test_panns_leaves_out_empty_rows(tmp_path):
    wave = as_int16(sound(0))
    names = [b"Yaaaaaaaaaaa.wav", b"", b"Ybbb.b_-bbbb.wav"]
    path = write_panns(tmp_path / "a.h5", names, [wave, 0 * wave, wave[::-1]])
    assert list(archives.list_members(path)) == ["Yaaaaaaaaaaa", "Ybbb.b_-bbbb"]
    loaded = recording.load(f"{path}::Ybbb.b_-bbbb")
    assert loaded.sr == SR and loaded.duration == 10
    np.testing.assert_array_equal(loaded.wave, wave[::-1] / np.float32(32768))
    file = tmp_path / "own.wav"
    soundfile.write(file, wave, SR)
    at_16k = recording.load(f"{path}::Yaaaaaaaaaaa", 16000).wave
    np.testing.assert_array_equal(at_16k, recording.load(file, 16000).wave)
    part = recording.load(f"{path}::Yaaaaaaaaaaa", start=1.0, end=2.0)
    np.testing.assert_array_equal(part.wave, wave[SR : 2 * SR] / np.float32(32768))


def test_mp3_in_hdf5_parquet_and_tar(tmp_path):
    wave = sound(1, seconds=2)
    mp3, flac = encoded(wave, SR, "MP3"), encoded(wave, SR, "FLAC")
    with h5py.File(tmp_path / "a_mp3.hdf", "w") as file:
        file["audio_name"] = np.array([b"Yccccccccccc.mp3"], "S20")
        store = file.create_dataset("mp3", (1,), h5py.vlen_dtype(np.uint8))
        store[0] = np.frombuffer(mp3, np.uint8)
    rows = {"video_id": ["ddddddddddd", "e"], "audio": [{"bytes": flac, "path": "x.flac"}] * 2}
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "b.parquet", row_group_size=1)
    with tarfile.open(tmp_path / "c.tar", "w") as archive:
        entry = tarfile.TarInfo("audio/bal_train/fffffffffff.flac")
        entry.size = len(flac)
        archive.addfile(entry, io.BytesIO(flac))
        archive.addfile(tarfile.TarInfo("audio/notes.txt"))
    for name, content, kind in [
        ("a_mp3.hdf::Yccccccccccc", mp3, "mp3"),
        ("b.parquet::e", flac, "flac"),
        ("c.tar::fffffffffff", flac, "flac"),
    ]:
        own = tmp_path / f"own.{kind}"
        own.write_bytes(content)
        found = recording.load(tmp_path / name)
        np.testing.assert_array_equal(found.wave, recording.load(own).wave)
        assert archives.hash_member(tmp_path / name)
        assert archives.stat(tmp_path / name).st_size > 0
    assert list(archives.list_members(tmp_path / "c.tar")) == ["fffffffffff"]


def test_files_of_other_kinds_have_no_recordings(tmp_path):
    with h5py.File(tmp_path / "embeddings.h5", "w") as file:
        file["x"] = np.zeros(3)
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "t.parquet")
    assert archives.list_members(tmp_path / "embeddings.h5") == {}
    assert archives.list_members(tmp_path / "t.parquet") == {}


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (None, "has no attribute sample_rate"),
        (16000, r"rows of 320,000 samples at 16,000 Hz are 20 s, not AudioSet's 10 s"),
    ],
)
def test_rates_that_cannot_be_right(tmp_path, rate, message):
    path = write_panns(tmp_path / "a.h5", [b"Y.wav"], [np.zeros(N, np.int16)], rate)
    with pytest.raises(AudioError, match=message):
        archives.list_members(path)


def test_damage(tmp_path):
    for name in ("a.h5", "a.parquet", "a.tar"):
        (tmp_path / name).write_bytes(b"damaged" * 200)
        with pytest.raises(AudioError, match=rf"{name}: damaged"):
            archives.list_members(tmp_path / name)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["audio_name"] = np.array([b"Y.mp3"], "S20")
        store = file.create_dataset("mp3", (1,), h5py.vlen_dtype(np.uint8))
        store[0] = np.frombuffer(b"no sound", np.uint8)
    with pytest.raises(AudioError, match=r"b\.h5::Y: not audio"):
        recording.load(tmp_path / "b.h5::Y")
    with pytest.raises(AudioError, match="has no recording 'Z'"):
        recording.load(tmp_path / "b.h5::Z")
    with pytest.raises(AudioError, match="no such file"):
        recording.load(tmp_path / "c.h5::Z")
