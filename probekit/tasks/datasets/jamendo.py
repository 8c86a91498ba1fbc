"""MTG-Jamendo: full tracks of 30 s to an hour with tags of mood, instrument and genre."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import read_text, to_manifest
from probekit.tasks.standin.writer import StandInWriter

OPTIONS = ("subset", "split", "center")
NEEDED = ("subset",)
_LIST = "data/splits/split-{}/autotagging_{}-{}.tsv"
_COLUMNS = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_FOLDERS = ("audio", "audio-low", "mp3")
_SUFFIXES = (".mp3", ".low.mp3")  # the smaller files have the second
_KINDS = {"moodtheme": "mood/theme", "instrument": "instrument", "genre": "genre"}
_TAGS = ("calm", "dark", "happy", "sad")


@dataclass(frozen=True)
class _Track:
    """A line of a list."""

    id: str
    artist: str
    path: str
    seconds: float
    tags: tuple[str, ...]


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the tracks of the option ``subset``, split as the option ``split`` says.

    Classes are the tags of the lists in alphabetical order; a group is one artist. The option
    ``center`` takes so many seconds from the middle of each track.
    """
    subset, number = card.options["subset"], card.options.get("split", 0)
    lists = {
        side: locate(root, _LIST.format(number, subset, name), card=card)
        for side, name in _SPLITS.items()
    }
    assert root is not None
    tracks = [(side, track) for side, table in lists.items() for track in _read(table)]
    folder, suffix = _place(root, [track.path for _, track in tracks])
    center = card.options.get("center")
    clips = []
    for side, track in tracks:
        clip = {
            "clip_id": track.id,
            "path": f"{folder}/{track.path.removesuffix('.mp3')}{suffix}",
            "split": side,
            "group": track.artist,
            "labels": track.tags,
        }
        if center is not None and track.seconds > center:
            start = round((track.seconds - center) / 2, 3)
            clip |= {"start": start, "end": start + center}
        clips.append(clip)
    classes = sorted({tag for _, track in tracks for tag in track.tags})
    table = lists["train"]
    return to_manifest(card, clips, root, table, target="multi", class_names=classes)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the lists and tracks of 1 s, with four tags, one or two a track."""
    subset, number = card.options["subset"], card.options.get("split", 0)
    kind = _KINDS.get(subset, "genre")
    rows: dict[str, list[list[object]]] = {side: [] for side in _SPLITS}
    for k in range(max(writer.clips, 8 * len(_TAGS))):
        side = ("train", "train", "valid", "test")[k // len(_TAGS) % 4]
        numbers = [k % len(_TAGS), (k + 1) % len(_TAGS)][: 1 + k % 2]
        track = 1000 + k
        path = f"{track % 100:02d}/{track}.mp3"
        writer.write_audio(f"audio/{path}", numbers, seconds=1.0, sr=16000)
        tags = [f"{kind}---{_TAGS[number]}" for number in sorted(numbers)]
        artist = f"artist_{100 * (k // 16) + list(_SPLITS).index(side):06d}"
        album = f"album_{k // 4:06d}"
        rows[side].append([f"track_{track:07d}", artist, album, path, 1.0, *tags])
    for side, name in _SPLITS.items():
        path = _LIST.format(number, subset, name)
        writer.write_table(path, rows[side], header=_COLUMNS, delimiter="\t")


def _read(table: Path) -> Iterator[_Track]:
    """Yield the tracks of a list, whose tags are the remaining fields of a line."""
    lines = read_text(table).splitlines()
    if not lines or tuple(lines[0].split("\t")) != _COLUMNS:
        raise DataError(
            f"{table}: expected a header with {', '.join(_COLUMNS)}, separated by tabs, got "
            f"{(lines or [''])[0][:80]!r}. Get the original file again"
        )
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < len(_COLUMNS):
            raise DataError(
                f"{table}, line {number}: expected {', '.join(_COLUMNS)}, separated by tabs, "
                f"got {len(fields)} fields"
            )
        track, artist, _, path, seconds, *tags = fields
        try:
            length = float(seconds)
        except ValueError as error:
            raise DataError(
                f"{table}, line {number}: DURATION must be a number, got {seconds!r}"
            ) from error
        yield _Track(track, artist, path, length, tuple(tags))


def _place(root: Path, paths: list[str]) -> tuple[str, str]:
    """Return the folder of the recordings and their suffix: full or low quality."""
    names = [path.removesuffix(".mp3") for path in paths[:200]]
    places = [(folder, suffix) for folder in _FOLDERS for suffix in _SUFFIXES]
    return next(
        (
            (folder, suffix)
            for folder, suffix in places
            if any((root / folder / f"{name}{suffix}").exists() for name in names)
        ),
        places[0],
    )
