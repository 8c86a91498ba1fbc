"""Knocks in three rooms: a dataset whose labels are in the file names."""

from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest, from_rows
from probekit.errors import DataError
from probekit.tasks.standin.writer import StandInWriter


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips; a room is a fold and a group."""
    if root is None:
        raise DataError(f"{card.name}: give the dataset's folder with --root DIR")
    rows = [
        {
            "clip_id": f"{path.parent.name}-{path.stem}",
            "path": path.relative_to(root).as_posix(),
            "fold": path.parent.name,
            "group": path.parent.name,
            "labels": (path.stem.partition("-")[0],),
        }
        for path in sorted(root.glob("*/*.wav"))
    ]
    return from_rows(
        card.dataset,
        rows,
        root=root,
        class_names=card.labels,
        expected=card.counts["clips"],
    )


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write three rooms of synthetic sounds."""
    for room in ("hall", "study", "yard"):
        for number in range(2):
            for k, label in enumerate(("glass", "wood")):
                writer.write_audio(f"{room}/{label}-{number}.wav", [k], seconds=0.5, sr=8000)
