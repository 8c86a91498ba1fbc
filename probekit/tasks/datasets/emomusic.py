"""EmoMusic (1000 songs): 744 excerpts of 45 s with mean arousal and valence, and genres."""

from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.text import summarize_ids

OPTIONS = ()
_SONGS, _MEANS = "songs_info.csv", "static_annotations.csv"
_SPLITS = {"development": "train", "evaluation": "test"}
_ARTIST, _GENRE, _SET = "Artist", "Genre", "Mediaeval 2013 set"
_SONG_COLUMNS = (
    *("song_id", "file_name", _ARTIST, "Song title"),
    *("start of the segment (min.sec)", "end of the segment (min.sec)", _GENRE, _SET),
)
_LOW, _HIGH = 1.0, 9.0  # the scale of the static annotations


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the annotated excerpts with the MediaEval 2013 split; a group is one artist.

    A regression predicts the means that the card's labels name (``arousal``, ``valence``: on a
    scale from 1 to 9); otherwise the label is the genre. Excerpts without annotations are
    duplicates, which were removed after the songs were listed.
    """
    assert card.labels is not None
    emotion = card.target == "regression"
    songs = locate(root, f"annotations/{_SONGS}", _SONGS, card=card)
    means = locate(root, f"annotations/{_MEANS}", _MEANS, card=card)
    values = [f"mean_{name}" for name in card.labels] if emotion else []
    rows = read_table(means, ("song_id", *values))
    annotated = {row["song_id"].strip(): row for row in rows}
    check_spreadsheet_ids(means, annotated)
    if len(annotated) < len(rows):
        raise DataError(f"{means}: a song is annotated twice; get the original file again")
    clips = []
    for cells in read_table(songs, ("song_id", "file_name", _ARTIST, _GENRE, _SET)):
        # the official cells carry stray tabs and spaces
        row = {name: text.strip() for name, text in cells.items()}
        song = row["song_id"]
        if song not in annotated:
            continue
        if row[_SET] not in _SPLITS:
            raise DataError(
                f"{songs}: song {song}: {_SET} must be development or evaluation, got {row[_SET]!r}"
            )
        clips.append(
            {
                "clip_id": song,
                "path": f"clips_45seconds/{row['file_name']}",
                "split": _SPLITS[row[_SET]],
                "group": row[_ARTIST],
                "labels": (
                    tuple(_mean(means, song, name, annotated[song][name]) for name in values)
                    if emotion
                    else (check_label(card, row[_GENRE], songs, song),)
                ),
            }
        )
    missing = sorted(set(annotated) - {str(clip["clip_id"]) for clip in clips})
    if missing:
        raise DataError(f"{songs}: no row for annotated songs: {summarize_ids(missing)}")
    return to_manifest(card, clips, root, songs, target=card.target)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout: cells with stray tabs, times as minutes.seconds, an artist in both sets.

    Both tasks share the folder, so sounds follow from arousal, valence and genre.
    """
    assert card.labels is not None
    genres = card.labels if card.target == "single" else ["Blues", "Rock"]
    n_genres = min(len(genres), max(2, writer.clips // 10))
    songs, means = [], []
    for k in range(writer.clips):
        song, genre = str(k + 2), (k // 6) % n_genres
        side = "evaluation" if k % 6 == 5 else "development"
        artist = "Crossing Artist" if k in (4, 5) else f"Artist {side[0]}{k // 3}"
        emotion = writer.rng.uniform(0.0, 1.0, 2)
        writer.write_audio(
            f"clips_45seconds/{song}.mp3",
            [genre],
            values=[float(value) for value in emotion],
            seconds=1.5,
            sr=22050,
        )
        arousal, valence = (round(_LOW + (_HIGH - _LOW) * value, 2) for value in emotion)
        means.append([song, arousal, 1.2, valence, 1.1])
        title = [f"\t{artist}", f"Song {song}\t"]
        songs.append([song, f"{song}.mp3", *title, "0.48", "1.33", f"\t{genres[genre]}", side])
    writer.write_table(f"annotations/{_SONGS}", songs, header=_SONG_COLUMNS)
    header = ["song_id", "mean_arousal", "std_arousal", "mean_valence", "std_valence"]
    writer.write_table(f"annotations/{_MEANS}", means, header=header)


def _mean(table: Path, song: str, column: str, text: str) -> float:
    """Return a mean annotation as a number on its scale."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not _LOW <= value <= _HIGH:
        raise DataError(
            f"{table}: song {song}, column {column} must be a number from {_LOW:g} to "
            f"{_HIGH:g}, got {text!r}"
        )
    return value
