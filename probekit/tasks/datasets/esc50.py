"""ESC-50 and its parts: 2,000 recordings of environmental sounds in 50 classes and five folds."""

from pathlib import Path

from probekit.cards import TaskCard
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets import _tables
from probekit.tasks.standin.writer import StandInWriter
from probekit.tasks.task import check_labels
from probekit.utils.suggest import unknown_name_error

_TABLE = "meta/esc50.csv"
_COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
_ESC10 = (0, 1, 10, 11, 12, 20, 21, 38, 40, 41)  # the table's numbers of the classes of ESC-10
_PARTS = {"all": (True, False), "esc10": (True,), "others": (False,)}


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the card's option ``part``; a group is a source recording.

    Parameters
    ----------
    card : TaskCard
        The task; ``part`` is ``all``, ``esc10`` or ``others``.
    root : pathlib.Path or None
        The folder that holds ``meta`` and ``audio``.

    Returns
    -------
    Manifest
        With the five official folds.

    Raises
    ------
    DataError
        If the table is not there or not as published.
    """
    table = _tables.locate(root, _TABLE, card=card)
    wanted = _wanted(card)
    rows = [
        {
            "clip_id": row["filename"].removesuffix(".wav"),
            "path": f"audio/{row['filename']}",
            "fold": row["fold"],
            "group": row["src_file"],
            "labels": (check_labels(card, row["category"], table, row["filename"]),),
        }
        for row in _tables.rows(table, _COLUMNS)
        if _in_esc10(table, row) in wanted
    ]
    return manifests.from_rows(
        card.dataset,
        rows,
        root=root,
        names=card.labels,
        expected=card.counts.get("clips"),
        source=table,
    )


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write the layout with stand-in sounds: up to ten classes, each in every fold.

    Parameters
    ----------
    card : TaskCard
        The task; its classes are played.
    stage : Stage
        Where to write.
    """
    assert card.labels is not None
    wanted = _wanted(card)
    own = [number for number in range(50) if (number in _ESC10) in wanted]
    classes = list(zip(own, card.labels, strict=False))[: max(2, min(10, stage.clips // 10))]
    rows = []
    for k in range(max(stage.clips, 5 * len(classes))):
        number, label = classes[k % len(classes)]
        fold, take = k // len(classes) % 5 + 1, k // len(classes) // 5
        source, letter = 100_000 + 100 * (5 * number + fold) + take // 2, "AB"[take % 2]
        file = f"{fold}-{source}-{letter}-{number}.wav"
        stage.write_audio(f"audio/{file}", [number], seconds=1.0, rate=44100)
        rows.append((file, fold, number, label, number in _ESC10, source, letter))
    stage.table(_TABLE, rows, header=_COLUMNS)


def _wanted(card: TaskCard) -> tuple[bool, ...]:
    """Return which values of the column ``esc10`` the task takes."""
    part = card.options.get("part", "all")
    if part not in _PARTS:
        raise unknown_name_error(f"part of ESC-50 in {card.name}", str(part), _PARTS)
    return _PARTS[part]


def _in_esc10(table: Path, row: dict[str, str]) -> bool:
    """Tell whether a clip is in ESC-10: True in the original, TRUE or true in copies."""
    text = row["esc10"].strip().lower()
    if text not in ("true", "false"):
        raise DataError(
            f"{table}: {row['filename']}: column esc10 is {row['esc10']!r}, expected True or False"
        )
    return text == "true"
