"""GTZAN: 1,000 excerpts of 30 s in ten genres, with the fault-filtered split."""

from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import to_manifest
from probekit.tasks.standin.writer import StandInWriter

OPTIONS = ("split",)
_FOLDERS = ("genres", "genres_original", "Data/genres_original")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the excerpts that the card's option ``split`` lists, or all where it has none.

    Names follow from the card, so embeddings can be evaluated where there is no audio; with
    ``root``, each excerpt's suffix (``.au`` or ``.wav``) is looked up.
    """
    assert card.labels is not None
    folder = "genres"
    if root is not None:
        has_genres = any((root / genre).is_dir() for genre in card.labels)
        audio = root if has_genres else locate(root, *_FOLDERS, card=card)
        folder = audio.relative_to(root).as_posix()
    rows = []
    for split, genre, number in _list_excerpts(card):
        name = f"{genre}.{number:05d}"
        path = f"{folder}/{genre}/{name}"
        suffix = ".wav"
        if root is not None and not (root / f"{path}.wav").exists():
            suffix = ".au"
        rows.append({"clip_id": name, "path": path + suffix, "split": split, "labels": (genre,)})
    return to_manifest(card, rows, root)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write every excerpt of the task: its list is in the card, so there are never fewer.

    Excerpts last 0.3 s instead of 30 s; ``writer.clips`` is ignored.
    """
    assert card.labels is not None
    for _, genre, number in _list_excerpts(card):
        path = f"genres/{genre}/{genre}.{number:05d}.au"
        writer.write_audio(path, [card.labels.index(genre)], seconds=0.3, sr=22050)


def _list_excerpts(card: TaskCard) -> list[tuple[str, str, int]]:
    """Return (split, genre, number) of every excerpt of the task, in a fixed order."""
    assert card.labels is not None
    if "split" not in card.options:
        return [("", genre, number) for genre in card.labels for number in range(100)]
    return [
        (split, genre, number)
        for split, genres in card.options["split"].items()
        for genre in card.labels
        for number in _numbers(genres[genre])
    ]


def _numbers(text: str | int) -> list[int]:
    """Read ``"0-3 7 9-11"``."""
    numbers: list[int] = []
    for piece in str(text).split():
        first, _, last = piece.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
