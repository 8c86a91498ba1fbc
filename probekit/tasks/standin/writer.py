"""Stand-in data: a dataset's exact layout with synthetic sounds, to try a task without it."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from probekit.errors import DataError, ProbekitError

Signal = npt.NDArray[np.float32]

MARKER = "STAND-IN.txt"
_LOW, _HIGH = 150.0, 3400.0  # Hz; also files at 8 kHz hold these
_STEPS = (0.6180339887, 0.7548776662, 0.5698402910)  # fractions that fill the range evenly
_AUDIO_IN_MP4 = {".mp4": "mp4", ".m4a": "ipod"}
_TEXT = """\
Stand-in data of probekit, for the task {task}: NOT the dataset {dataset}.

The files have the dataset's names and layout; their sounds are synthetic, and labels, splits and
groups are made up. Results on them say nothing about the real task; probekit shows "stand-in data"
beside each. 'probekit data rehearse' wrote them, and replaces them when it is run again.
"""
_FILES = "\nfiles:\n"


class StandInWriter:
    """A folder in which a dataset is played.

    Parameters
    ----------
    root : pathlib.Path
        The folder; files are written below it.
    clips : int >= 1
        About how many clips the dataset shall have.
    seed : int >= 0
        Of everything that is drawn.

    Attributes
    ----------
    rng : numpy.random.Generator
        Where all chance comes from.
    written : list of str
        Paths of the files written so far, relative to ``root``.
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
        rate: int,
        channels: int = 1,
        subtype: str | None = None,
    ) -> None:
        """Write a sound in which its classes and values can be heard.

        Parameters
        ----------
        path : str
            Where, relative to the root; the suffix says the format: .wav, .flac, .mp3, .ogg, .au
            (soundfile), .mp4 and .m4a (PyAV).
        classes : sequence of int >= 0
            Numbers of its classes; each adds three partials and a modulation of its own.
        values : sequence of float
            Numbers from 0 to 1, for regression; each moves brightness and modulation.
        seconds : float > 0
            Duration.
        rate : int
            Sample rate in Hz, at least 8000.
        channels : int >= 1
            All alike but for level and a delay.
        subtype : str, optional
            As soundfile names it, for example ``PCM_24``; the format's default where not given.

        Raises
        ------
        ProbekitError
            If the format needs PyAV and it is not installed.
        """
        wave = _mix(self.rng, classes, values, max(1, round(seconds * rate)), rate)
        if channels > 1:
            levels = self.rng.uniform(0.6, 1.0, channels).astype(np.float32)
            wave = np.stack([level * np.roll(wave, 3 * k) for k, level in enumerate(levels)], 1)
        place = self._place(path)
        suffix = place.suffix.lower()
        if suffix in _AUDIO_IN_MP4:
            _write_mp4(place, wave, rate, _AUDIO_IN_MP4[suffix])
        else:
            soundfile.write(place, wave, rate, subtype)

    def table(
        self,
        path: str,
        rows: Iterable[Sequence[object]],
        *,
        header: Sequence[str] | None = None,
        delimiter: str = ",",
        quoting: int = csv.QUOTE_MINIMAL,
        before: str = "",
    ) -> None:
        """Write a table.

        Parameters
        ----------
        path : str
            Where, relative to the root.
        rows : iterable of sequence
            Cells.
        header : sequence of str, optional
            Names of the columns.
        delimiter : str
            The one character between fields.
        quoting : int
            As in the module :mod:`csv`.
        before : str
            Text in front of everything.
        """
        kind: Any = quoting
        with self._place(path).open("w", newline="", encoding="utf-8") as stream:
            stream.write(before)
            writer = csv.writer(stream, delimiter=delimiter, quoting=kind, lineterminator="\n")
            if header is not None:
                writer.writerow(header)
            writer.writerows(rows)

    def text(self, path: str, content: str) -> None:
        """Write a text file, UTF-8.

        Parameters
        ----------
        path : str
            Where, relative to the root.
        content : str
            What.
        """
        self._place(path).write_text(content, encoding="utf-8")

    def _place(self, path: str) -> Path:
        """Return where a file goes; its folder exists then."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        self.written.append(path)
        return place


def is_stand_in(root: Path | None) -> bool:
    """Tell whether a folder holds stand-in data."""
    return root is not None and (root / MARKER).exists()


def begin(root: Path, task: str, dataset: str) -> None:
    """Make a folder ready for stand-in data, and mark it as such before anything is in it.

    Parameters
    ----------
    root : pathlib.Path
        The folder; made where it does not exist.
    task, dataset : str
        What is played, for the text of the marker.

    Raises
    ------
    DataError
        If the folder holds anything else than a finished rehearsal, whose files are removed.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"--root {root}: is not a folder")
    marker = root / MARKER
    earlier = [marker, *(root / name for name in _listed(marker))] if marker.exists() else []
    others = {path for path in root.rglob("*") if not path.is_dir()} - set(earlier)
    if others or len(earlier) == 1:
        raise DataError(
            f"--root {root}: the folder is not empty. Stand-in data is never mixed with other "
            "files, nor with those of a rehearsal that was interrupted: name a new folder"
        )
    for path in earlier:
        path.unlink(missing_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    marker.write_text(_TEXT.format(task=task, dataset=dataset), encoding="utf-8")


def finish(stage: StandInWriter) -> None:
    """List the files of a finished rehearsal in its marker, so that the next one replaces them."""
    with (stage.root / MARKER).open("a", encoding="utf-8") as stream:
        stream.write(_FILES + "".join(f"{name}\n" for name in stage.written))


def _listed(marker: Path) -> list[str]:
    """Return the files that a marker lists; never one outside of its folder."""
    root = marker.parent.resolve()
    names = marker.read_text(encoding="utf-8").partition(_FILES)[2].splitlines()
    return [name for name in names if (root / name).resolve().is_relative_to(root)]


def _mix(
    rng: np.random.Generator,
    classes: Sequence[int],
    values: Sequence[float],
    samples: int,
    rate: int,
) -> Signal:
    """Add up the voices of classes and values over a noise floor, with a peak below 0.9."""
    time = np.arange(samples, dtype=np.float32) / np.float32(rate)
    floor = 10.0 ** rng.uniform(-2.5, -1.7)
    out = np.float32(floor) * rng.standard_normal(samples, dtype=np.float32)
    for number in classes:
        out += _voice(rng, number, time)
    for place, value in enumerate(values):
        out += _gauge(rng, place, value, time)
    peak = float(np.abs(out).max())
    return out * np.float32(rng.uniform(0.3, 0.9) / max(peak, 0.1))


def _voice(rng: np.random.Generator, number: int, time: Signal) -> Signal:
    """Return a class: three partials and a rate of modulation that follow from its number."""
    detune = rng.uniform(0.99, 1.01)
    out = np.zeros_like(time)
    for step in _STEPS:
        pitch = detune * _LOW * (_HIGH / _LOW) ** ((0.5 + number * step) % 1.0)
        out += rng.uniform(0.7, 1.0) * _tone(rng, pitch, time)
    modulation = _tone(rng, 2.0 + 10.0 * ((0.5 + number * _STEPS[0]) % 1.0), time)
    return out * np.float32(rng.uniform(0.15, 0.3)) * (1 + np.float32(0.6) * modulation)


def _gauge(rng: np.random.Generator, place: int, value: float, time: Signal) -> Signal:
    """Return a number: a low tone gives way to a high one, and their modulation quickens."""
    pitches = [_LOW * (_HIGH / _LOW) ** ((0.1 + 0.3 * place + part) % 1.0) for part in (0, 0.5)]
    levels = 10.0 ** (-1.5 * np.array([value, 1.0 - value]) - 0.5)  # 30 dB from one to the other
    tones = [lev * _tone(rng, f, time) for f, lev in zip(pitches, levels, strict=True)]
    return (tones[0] + tones[1]) * (1 + np.float32(0.5) * _tone(rng, 2.0 + 6.0 * value, time))


def _tone(rng: np.random.Generator, pitch: float, time: Signal) -> Signal:
    """Return a sinusoid of a random phase."""
    wave: Signal = np.sin(np.float32(2 * np.pi * pitch) * time + np.float32(rng.uniform(0, 6.2832)))
    return wave


def _write_mp4(place: Path, wave: Signal, rate: int, container: str) -> None:
    """Write AAC in an MP4 file."""
    try:
        import av
    except ImportError as error:
        raise ProbekitError(
            f"{place.name}: writing {place.suffix} needs PyAV: pip install 'probekit[video]'"
        ) from error
    block = np.atleast_2d(wave.T).astype(np.float32)
    with av.open(str(place), "w", format=container) as out:
        stream = out.add_stream("aac", rate=rate, layout="mono" if len(block) == 1 else "stereo")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block), format="fltp", layout=stream.layout.name
        )
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
