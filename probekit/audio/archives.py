"""Recordings inside of larger files, as people have AudioSet: HDF5, Parquet and tar.

Such a recording has the path ``FILE::NAME``, and is decoded as if it were a file.

- PANNs' HDF5: ``audio_name``, ``waveform`` (int16, a row a clip) and the attribute ``sample_rate``.
  Missing clips are rows without a name, which are left out.
- PaSST's HDF5: ``audio_name`` and ``mp3``, the bytes of a file a row.
- Parquet of Hugging Face's datasets: ``video_id`` and ``audio``, with the bytes of a file.
- tar of wav, flac and other recordings, not compressed.
"""

import os
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from probekit._typing import Array
from probekit.audio import pyav_backend, soundfile_backend
from probekit.errors import AudioError

MARK = "::"
SUFFIXES = (".h5", ".hdf", ".hdf5", ".parquet", ".tar")
"""Suffixes of files that may have recordings inside."""
_AUDIO = frozenset({*soundfile_backend.SUFFIXES, *pyav_backend.SUFFIXES})
_CLIP_SECONDS = (5.0, 15.0)  # of a row of PANNs' HDF5, whose clips have 10 s
_MEMORY = Path("/dev/shm")
_lock = threading.Lock()  # HDF5 and Parquet readers are shared by threads


@dataclass(frozen=True)
class Member:
    """A recording inside of a file.

    Attributes
    ----------
    kind : {"waveform", "bytes", "parquet", "tar"}
        How it is stored.
    place : tuple of int
        Its row; for tar, the first byte and the number of bytes; for Parquet, row group and row.
    suffix : str
        Of a file with its bytes.
    """

    kind: str
    place: tuple[int, ...]
    suffix: str


def split(path: Path) -> tuple[Path, str] | None:
    """Return file and name of a path ``FILE::NAME``; None for a plain path."""
    file, mark, name = str(path).partition(MARK)
    return (Path(file), name) if mark and name else None


def file_of(path: Path) -> Path:
    """Return a recording's file, or the file that it is in."""
    parts = split(path)
    return parts[0] if parts else path


def stat(path: Path) -> os.stat_result:
    """Return the facts of a recording's file, or of the file that it is in."""
    return file_of(path).stat()


def list_members(file: Path) -> dict[str, Member]:
    """Return the recordings inside of a file by their names, without suffix.

    Parameters
    ----------
    file : pathlib.Path
        A file with one of :data:`SUFFIXES`.

    Returns
    -------
    dict of str to Member
        Empty for a file of another kind, such as an HDF5 file of embeddings.

    Raises
    ------
    AudioError
        If the file is damaged, or one of a known kind lacks what is needed.
    """
    facts = file.stat()
    return _members(file, facts.st_size, facts.st_mtime_ns)


def hash_member(path: Path) -> str:
    """Return the SHA-256 of a recording's stored bytes."""
    with on_disk(path) as real:
        return sha256(real.read_bytes()).hexdigest()


@contextmanager
def on_disk(path: Path) -> Iterator[Path]:
    """Yield the path of a file with a recording; a temporary one for a member of a larger file.

    Raises
    ------
    AudioError
        If the larger file is missing or damaged, or has no such member.
    """
    parts = split(path)
    if parts is None:
        yield path
        return
    file, name = parts
    try:
        member = list_members(file).get(name)
        if member is None:
            raise AudioError(f"{path}: {file.name} has no recording {name!r}")
        with _lock:
            content, sr = _read(file, member)
    except OSError as error:
        raise AudioError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    folder = _MEMORY if _MEMORY.is_dir() else None
    handle, temporary = tempfile.mkstemp(suffix=member.suffix, prefix="probekit-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            if isinstance(content, bytes):
                stream.write(content)
            else:
                soundfile.write(stream, content, sr, format="WAV", subtype="PCM_16")
        yield Path(temporary)
    finally:
        with suppress(OSError):
            Path(temporary).unlink()


@lru_cache(maxsize=4096)
def _members(file: Path, size: int, mtime: int) -> dict[str, Member]:
    with _lock:
        try:
            if file.suffix == ".tar":
                return _tar_members(file)
            if file.suffix == ".parquet":
                return _parquet_members(file)
            return _hdf5_members(file)
        except OSError as error:
            raise AudioError(f"{file}: damaged, or cannot be read ({error})") from error


def _tar_members(file: Path) -> dict[str, Member]:
    members: dict[str, Member] = {}
    try:
        with tarfile.open(file, "r:") as archive:
            for entry in archive:
                path = Path(entry.name)
                if entry.isfile() and path.suffix.lower() in _AUDIO:
                    place = (entry.offset_data, entry.size)
                    members.setdefault(path.stem, Member("tar", place, path.suffix.lower()))
    except tarfile.TarError as error:
        raise AudioError(f"{file}: damaged, or not a tar file ({error})") from error
    return members


def _parquet_members(file: Path) -> dict[str, Member]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        names = table.schema_arrow.names
        if not {"video_id", "audio"} <= set(names):
            return {}
        members: dict[str, Member] = {}
        for group in range(table.num_row_groups):
            ids = table.read_row_group(group, ["video_id"])["video_id"].to_pylist()
            for row, name in enumerate(ids):
                members.setdefault(str(name), Member("parquet", (group, row), ".flac"))
    except pyarrow.ArrowInvalid as error:
        raise AudioError(f"{file}: damaged, or not a Parquet file ({error})") from error
    return members


def _hdf5_members(file: Path) -> dict[str, Member]:
    content = _open_hdf5(file)
    if "audio_name" not in content or not {"waveform", "mp3"} & set(content):
        return {}
    key = "waveform" if "waveform" in content else "mp3"
    names, rows = content["audio_name"][:], len(content[key])
    if len(names) != rows:
        raise AudioError(f"{file}: {len(names):,} names for {rows:,} rows of {key}")
    if key == "waveform":
        _check_waveforms(file, content)
    members: dict[str, Member] = {}
    kind = "waveform" if key == "waveform" else "bytes"
    suffix = ".wav" if key == "waveform" else ".mp3"
    for row, name in enumerate(names):
        text = name.decode() if isinstance(name, bytes) else str(name)
        if text:  # a row without a name has no sound
            members.setdefault(text.rpartition(".")[0] or text, Member(kind, (row,), suffix))
    return members


def _check_waveforms(file: Path, content: Any) -> None:
    """Refuse rows of samples whose rate is not known, or cannot be right."""
    waveform = content["waveform"]
    if waveform.ndim != 2 or waveform.dtype != np.int16:
        raise AudioError(
            f"{file}: waveform must be int16 of shape (clips, samples), got {waveform.dtype} of "
            f"{waveform.shape}"
        )
    rate = content.attrs.get("sample_rate")
    if rate is None:
        raise AudioError(f"{file}: has no attribute sample_rate, so that its rate is not known")
    seconds = waveform.shape[1] / float(rate)
    if not _CLIP_SECONDS[0] <= seconds <= _CLIP_SECONDS[1]:
        raise AudioError(
            f"{file}: rows of {waveform.shape[1]:,} samples at {int(rate):,} Hz are "
            f"{seconds:.3g} s, not AudioSet's 10 s: is its attribute sample_rate that of the "
            "samples?"
        )


def _read(file: Path, member: Member) -> tuple[bytes | Array, int]:
    """Return the bytes of a file, or samples and their rate."""
    if member.kind == "tar":
        with file.open("rb") as stream:
            stream.seek(member.place[0])
            return stream.read(member.place[1]), 0
    if member.kind == "parquet":
        return _row_group(file, member.place[0])[member.place[1]], 0
    content = _open_hdf5(file)
    if member.kind == "bytes":
        return np.asarray(content["mp3"][member.place[0]], np.uint8).tobytes(), 0
    return content["waveform"][member.place[0]], int(content.attrs["sample_rate"])


@lru_cache(maxsize=64)
def _open_hdf5(file: Path) -> Any:
    import h5py

    return h5py.File(file)


@lru_cache(maxsize=2)
def _row_group(file: Path, group: int) -> list[bytes]:
    import pyarrow.parquet

    column = pyarrow.parquet.ParquetFile(file).read_row_group(group, ["audio"])["audio"]
    return [entry["bytes"] for entry in column.to_pylist()]
