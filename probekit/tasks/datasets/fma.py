"""FMA (Free Music Archive): clips of 30 s with one genre each, in nested subsets."""

import csv
from collections.abc import Iterator
from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

OPTIONS = ("subset",)

Name = tuple[str, str]

_TABLE = "fma_metadata/tracks.csv"
_SIZES = ("small", "medium", "large")  # each holds those before it, as clips of 30 s
_SPLITS = {"training": "train", "validation": "valid", "test": "test"}
_SPLIT, _SUBSET, _GENRE, _ARTIST = (
    *(("set", "split"), ("set", "subset")),
    *(("track", "genre_top"), ("artist", "id")),
)
_NEEDED: tuple[Name, ...] = (_SPLIT, _SUBSET, _GENRE, _ARTIST)
_COLUMNS = {
    "album": "comments date_created date_released engineer favorites id information listens"
    " producer tags title tracks type",
    "artist": "active_year_begin active_year_end associated_labels bio comments date_created"
    " favorites id latitude location longitude members name related_projects tags website"
    " wikipedia_page",
    "set": "split subset",
    "track": "bit_rate comments composer date_created date_recorded duration favorites genre_top"
    " genres genres_all information interest language_code license listens lyricist number"
    " publisher tags title",
}


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the option ``subset``, or of smaller ones in it; a group is one artist.

    The official split, in which no artist is on two sides, is read only for the protocol ``split``.
    Clips are expected in the subset's folder, or in that of a larger one.
    """
    table = locate(root, _TABLE, card=card)
    subset = _subset(card)
    sizes = _SIZES[: _SIZES.index(subset) + 1]
    folder = _audio_folder(table.parent.parent, subset)
    clips = []
    for line, track, row in _tracks(table):
        if row[_SUBSET] not in sizes:
            continue
        if not (track.isascii() and track.isdecimal()):
            raise DataError(f"{table}, line {line}: track id must be an integer, got {track!r}")
        if row[_SPLIT] not in _SPLITS:
            raise DataError(
                f"{table}, line {line}: split must be one of {', '.join(_SPLITS)}, "
                f"got {row[_SPLIT]!r}"
            )
        name = f"{int(track):06d}"
        clips.append(
            {
                "clip_id": name,
                "path": f"{folder}/{name[:3]}/{name}.mp3",
                "split": _SPLITS[row[_SPLIT]] if card.protocol.kind == "split" else "",
                "group": row[_ARTIST],
                "labels": (check_label(card, row[_GENRE], table, track),),
            }
        )
    return to_manifest(card, clips, root, table)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout: ``tracks.csv`` with its three header rows, and folders of mp3.

    A track of the subset ``large``, which has neither genre nor recording here, must be left out.
    """
    assert card.labels is not None
    subset = _subset(card)
    first = ("Electronic", "Folk")  # genres of both subsets
    genres = [*first, *(genre for genre in card.labels if genre not in first)]
    n_genres = min(len(genres), max(2, writer.clips // 16))
    sides = ("training", "training", "training", "training", "validation", "test")
    rows: list[list[object]] = []
    for k in range(writer.clips):
        track, genre, side = 2 + 997 * k, genres[k // 6 % n_genres], sides[k % 6]
        size = "small" if genre in first else subset
        name = f"{track:06d}"
        writer.write_audio(
            f"fma_{subset}/{name[:3]}/{name}.mp3",
            [card.labels.index(genre)],
            seconds=1.0,
            sr=44100,
            channels=2,
        )
        artist = 10 * (k // 6) + sides.index(side)
        assigned = f"[{genres.index(genre)}, {100 + artist % 3}]"
        facts: dict[Name, object] = {_SPLIT: side, _SUBSET: size, _GENRE: genre, _ARTIST: artist}
        rows.append(_row(track, {**facts, ("track", "genres"): assigned}))
    others: dict[Name, object] = {_SPLIT: "training", _SUBSET: "large", _ARTIST: 1}
    rows.append(_row(2 + 997 * writer.clips, others))
    groups = ["", *(group for group, names in _COLUMNS.items() for _ in names.split())]
    names = ["", *(name for names in _COLUMNS.values() for name in names.split())]
    third = ["track_id", *[""] * (len(names) - 1)]
    writer.write_table(_TABLE, [groups, names, third, *rows])


def _subset(card: TaskCard) -> str:
    """Return the subset that a card asks for."""
    subset = str(card.options.get("subset"))
    if subset not in _SIZES:
        raise unknown_name_error(f"option subset of {card.name}", subset, _SIZES)
    return subset


def _audio_folder(root: Path, subset: str) -> str:
    """Return the folder with the subset's clips: its own, or that of a larger subset."""
    larger = [f"fma_{size}" for size in _SIZES[_SIZES.index(subset) :]]
    return next((name for name in larger if (root / name).is_dir()), larger[0])


def _tracks(table: Path) -> Iterator[tuple[int, str, dict[Name, str]]]:
    """Yield the line, id and needed cells of each track; the file is never in memory."""
    line = 1
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            groups, names, third = (next(reader, []) for _ in range(3))
            columns = list(zip(groups, names, strict=False))
            missing = [" / ".join(name) for name in _NEEDED if name not in columns]
            if missing or third[:1] != ["track_id"]:
                what = f"no column {', '.join(missing)}" if missing else "the third is another"
                raise DataError(
                    f"{table}: expected three header rows separated by commas: groups of columns, "
                    "names of columns, and one that begins with track_id; "
                    f"{what}. "
                    "Get fma_metadata.zip again"
                )
            indices = {name: columns.index(name) for name in _NEEDED}
            for cells in reader:
                line = reader.line_num
                if len(cells) != len(columns):
                    raise DataError(
                        f"{table}, line {line}: expected {len(columns)} fields, got {len(cells)}"
                    )
                yield line, cells[0], {name: cells[k] for name, k in indices.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{table}, after line {line}: not a CSV file in UTF-8: {error}. Get fma_metadata.zip "
            "again"
        ) from error


def _row(track: int, facts: dict[Name, object]) -> list[object]:
    """Return a row of ``tracks.csv`` with the given cells; texts run over two lines, as there."""
    cells: dict[Name, object] = {
        ("album", "title"): "Some Album, Vol. 1",
        ("artist", "bio"): "<p>First line\nand second, with a comma</p>",
        ("track", "genres_all"): "[21, 12]",
        **facts,
    }
    columns = [(group, name) for group, names in _COLUMNS.items() for name in names.split()]
    return [track, *(cells.get(column, "") for column in columns)]
