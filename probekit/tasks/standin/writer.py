"""Stand-in data: synthetic sounds and tables in a dataset's exact layout, to try a task."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from probekit.errors import DataError

Signal = npt.NDArray[np.float32]

MARKER = "STAND-IN.txt"
_LOW, _HIGH = 150.0, 3400.0  # Hz; also files at 8 kHz hold these
_STEPS = (0.6180339887, 0.7548776662, 0.5698402910)  # fractions that fill the range evenly
_AUDIO_IN_MP4 = {".mp4": "mp4", ".m4a": "ipod"}
_TEXT = """\
Stand-in data of probekit, for the task {task}: NOT the dataset {dataset}.

The files have the dataset's names and layout; their sounds are synthetic, and labels, splits and
groups are invented. Results on them say nothing about the real task; probekit shows "stand-in data"
beside each. 'probekit data rehearse' wrote them, and replaces them when it is run again.
"""
_FILES = "\nfiles:\n"  # before the names of all files, each listed before it is written


class StandInWriter:
    """Writer of a stand-in dataset's recordings and tables.

    Parameters
    ----------
    root : pathlib.Path
        The folder that all paths are relative to.
    clips : int >= 1
        About how many clips the dataset should have.
    seed : int >= 0
        Seed of ``rng``.

    Attributes
    ----------
    rng : numpy.random.Generator
        Source of all random numbers.
    written : list of str
        Paths of the files written so far, relative to ``root``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from probekit.tasks.standin.writer import StandInWriter
    >>> writer = StandInWriter(Path("birds"), clips=2)
    >>> for k, label in enumerate(("robin", "wren")):
    ...     writer.write_audio(f"{label}/0.wav", [k], seconds=0.5, sr=16000)
    >>> writer.written
    ['robin/0.wav', 'wren/0.wav']
    """

    def __init__(self, root: Path, clips: int, seed: int = 0) -> None:
        self.root = root
        self.clips = clips
        self.rng = np.random.default_rng(seed)
        self.written: list[str] = []

    def write_audio(
        self,
        path: str,
        classes: Sequence[int] = (),
        *,
        values: Sequence[float] = (),
        seconds: float,
        sr: int,
        channels: int = 1,
        subtype: str | None = None,
    ) -> None:
        """Write a sound that depends on its classes and values.

        Parameters
        ----------
        path : str
            Relative to the root; the suffix says the format: .wav, .flac, .mp3, .ogg, .au
            (soundfile), .mp4 and .m4a (PyAV).
        classes : sequence of int >= 0
            Numbers of its classes; each adds three partials and a modulation of its own.
        values : sequence of float
            Numbers from 0 to 1, for regression; each moves brightness and modulation.
        seconds : float > 0
            Duration.
        sr : int
            Sample rate in Hz, at least 8000.
        channels : int >= 1
            They differ in level and delay only.
        subtype : str, optional
            As in soundfile, for example ``PCM_24``; the format's default if None.
        """
        wave = _mix(self.rng, classes, values, max(1, round(seconds * sr)), sr)
        if channels > 1:
            levels = self.rng.uniform(0.6, 1.0, channels).astype(np.float32)
            wave = np.stack([level * np.roll(wave, 3 * k) for k, level in enumerate(levels)], 1)
        file = self._open_path(path)
        suffix = file.suffix.lower()
        if suffix in _AUDIO_IN_MP4:
            _write_mp4(file, wave, sr, _AUDIO_IN_MP4[suffix])
        else:
            soundfile.write(file, wave, sr, subtype)

    def write_table(
        self,
        path: str,
        rows: Iterable[Sequence[object]],
        *,
        header: Sequence[str] | None = None,
        delimiter: str = ",",
        quoting: int = csv.QUOTE_MINIMAL,
        preamble: str = "",
    ) -> None:
        """Write a table.

        Parameters
        ----------
        path : str
            Relative to the root.
        rows : iterable of sequence
            Cells.
        header : sequence of str, optional
            Names of the columns.
        delimiter : str
            The one character between fields.
        quoting : int
            As in the module :mod:`csv`.
        preamble : str
            Text before the header.
        """
        kind: Any = quoting
        with self._open_path(path).open("w", newline="", encoding="utf-8") as stream:
            stream.write(preamble)
            table = csv.writer(stream, delimiter=delimiter, quoting=kind, lineterminator="\n")
            if header is not None:
                table.writerow(header)
            table.writerows(rows)

    def write_text(self, path: str, content: str) -> None:
        """Write a text file, UTF-8."""
        self._open_path(path).write_text(content, encoding="utf-8")

    def _open_path(self, path: str) -> Path:
        """Return the absolute path of a new file, and make its folder."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        self.written.append(path)
        marker = self.root / MARKER
        if marker.exists():
            with marker.open("a", encoding="utf-8") as stream:
                stream.write(f"{path}\n")
        return file


def is_standin(root: Path | None) -> bool:
    """Tell whether a folder holds stand-in data."""
    return root is not None and (root / MARKER).exists()


def prepare_folder(root: Path, task: str, dataset: str) -> None:
    """Make a folder for stand-in data, and mark it as such before any other file is in it.

    Files of earlier stand-in data are removed, also if its writing was interrupted.

    Raises
    ------
    DataError
        If the folder holds other files.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"--root {root}: is not a folder")
    marker = root / MARKER
    earlier = [marker, *(root / name for name in _read_written(marker))] if marker.exists() else []
    others = {path for path in root.rglob("*") if not path.is_dir()} - set(earlier)
    if others:
        raise DataError(
            f"--root {root}: the folder is not empty, it has {min(others).relative_to(root)}. "
            "Stand-in data is never mixed with other files: name a new folder"
        )
    for path in earlier:
        path.unlink(missing_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    marker.write_text(_TEXT.format(task=task, dataset=dataset) + _FILES, encoding="utf-8")


def _read_written(marker: Path) -> list[str]:
    """Return the files that a marker lists; never one outside of its folder."""
    root = marker.parent.resolve()
    names = marker.read_text(encoding="utf-8").partition(_FILES)[2].splitlines()
    return [name for name in names if (root / name).resolve().is_relative_to(root)]


def _mix(
    rng: np.random.Generator,
    classes: Sequence[int],
    values: Sequence[float],
    samples: int,
    sr: int,
) -> Signal:
    """Return the sum of the voices of classes and values and a noise floor, peak below 0.9."""
    time = np.arange(samples, dtype=np.float32) / np.float32(sr)
    floor = 10.0 ** rng.uniform(-2.5, -1.7)
    out = np.float32(floor) * rng.standard_normal(samples, dtype=np.float32)
    for number in classes:
        out += _voice(rng, number, time)
    for number, value in enumerate(values):
        out += _gauge(rng, number, value, time)
    peak = float(np.abs(out).max())
    return out * np.float32(rng.uniform(0.3, 0.9) / max(peak, 0.1))


def _voice(rng: np.random.Generator, number: int, time: Signal) -> Signal:
    """Return a class's sound: three partials and a modulation rate that follow from its number."""
    detune = rng.uniform(0.99, 1.01)
    out = np.zeros_like(time)
    for step in _STEPS:
        pitch = detune * _LOW * (_HIGH / _LOW) ** ((0.5 + number * step) % 1.0)
        out += rng.uniform(0.7, 1.0) * _tone(rng, pitch, time)
    modulation = _tone(rng, 2.0 + 10.0 * ((0.5 + number * _STEPS[0]) % 1.0), time)
    return out * np.float32(rng.uniform(0.15, 0.3)) * (1 + np.float32(0.6) * modulation)


def _gauge(rng: np.random.Generator, number: int, value: float, time: Signal) -> Signal:
    """Return a value's sound: from a low tone to a high one, with faster modulation."""
    pitches = [_LOW * (_HIGH / _LOW) ** ((0.1 + 0.3 * number + part) % 1.0) for part in (0, 0.5)]
    levels = 10.0 ** (-1.5 * np.array([value, 1.0 - value]) - 0.5)  # over 30 dB
    tones = [lev * _tone(rng, f, time) for f, lev in zip(pitches, levels, strict=True)]
    return (tones[0] + tones[1]) * (1 + np.float32(0.5) * _tone(rng, 2.0 + 6.0 * value, time))


def _tone(rng: np.random.Generator, pitch: float, time: Signal) -> Signal:
    """Return a sinusoid of a random phase."""
    wave: Signal = np.sin(np.float32(2 * np.pi * pitch) * time + np.float32(rng.uniform(0, 6.2832)))
    return wave


def _write_mp4(path: Path, wave: Signal, sr: int, container: str) -> None:
    """Write AAC in an MP4 file."""
    import av

    block = np.atleast_2d(wave.T).astype(np.float32)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream("aac", rate=sr, layout="mono" if len(block) == 1 else "stereo")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block), format="fltp", layout=stream.layout.name
        )
        frame.sample_rate = sr
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
