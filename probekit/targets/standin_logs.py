"""Stand-in listening logs and songs whose sound decides who plays them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probekit.tasks.standin.writer import StandInWriter, prepare_folder

_SR = 16000
_SAME_TASTE, _OTHER_TASTE = 0.5, 0.05  # shares of a taste group's songs that users play
_SONGS_PER_ARTIST = 3


@dataclass(frozen=True)
class StandInLogs:
    """Files of stand-in logs.

    Attributes
    ----------
    root : pathlib.Path
        Their folder.
    plays : pathlib.Path
        Users, songs and counts.
    items : pathlib.Path
        Song, clip and artist.
    clips : pathlib.Path
        Table of recordings.
    """

    root: Path
    plays: Path
    items: Path
    clips: Path


def write_standin_logs(
    root: Path,
    songs: int = 160,
    users: int = 240,
    groups: int = 4,
    seconds: float = 8.0,
    seed: int = 0,
) -> StandInLogs:
    """Write songs and logs: users of a taste group play songs of one sound most.

    Parameters
    ----------
    root : pathlib.Path
        A new or empty folder, or one of earlier stand-in logs.
    songs, users : int >= 1
        Numbers of songs and users.
    groups : int >= 1
        Number of sounds, and of groups of users.
    seconds : float > 0
        Duration of a song.
    seed : int >= 0
        Of all random numbers.

    Raises
    ------
    DataError
        If the folder holds other files.
    """
    prepare_folder(root, "songs", "songs")
    writer = StandInWriter(root, songs, seed)
    rng = writer.rng
    artist = np.arange(songs) // _SONGS_PER_ARTIST
    sound = artist % groups
    for song in range(songs):
        writer.write_audio(f"audio/{song:04}.wav", [int(sound[song])], seconds=seconds, sr=_SR)
    writer.write_table(
        "clips.csv",
        [(f"song-{song:04}", f"audio/{song:04}.wav") for song in range(songs)],
        header=("clip_id", "path"),
    )
    writer.write_table(
        "items.csv",
        [(f"S{song}", f"song-{song:04}", f"artist {artist[song]}") for song in range(songs)],
        header=("item", "clip", "artist"),
    )
    taste = rng.integers(groups, size=users)
    appeal = np.exp(rng.normal(0, 0.3, songs))  # of a song, whatever its sound
    rates = np.where(taste[:, None] == sound, _SAME_TASTE, _OTHER_TASTE) * appeal
    played = np.argwhere(rng.random((users, songs)) < rates)
    counts = rng.geometric(0.3, len(played))
    writer.write_table(
        "plays.tsv",
        [(f"U{u}", f"S{s}", int(n)) for (u, s), n in zip(played, counts, strict=True)],
        delimiter="\t",
    )
    return StandInLogs(root, root / "plays.tsv", root / "items.csv", root / "clips.csv")
