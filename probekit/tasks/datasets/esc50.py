"""ESC-50 and its parts: 2,000 recordings of environmental sounds in 50 classes and five folds."""

from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

OPTIONS = ("part",)
_TABLE = "meta/esc50.csv"
_COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
_ESC10 = (0, 1, 10, 11, 12, 20, 21, 38, 40, 41)  # the table's numbers of the classes of ESC-10
_PARTS = {"all": (True, False), "esc10": (True,), "others": (False,)}


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the card's option ``part``; a group is a source recording.

    ``part`` is ``all``, ``esc10`` or ``others``. Folds are the five official ones.
    """
    table = locate(root, _TABLE, card=card)
    in_esc10 = _part(card)
    rows = [
        {
            "clip_id": row["filename"].removesuffix(".wav"),
            "path": f"audio/{row['filename']}",
            "fold": row["fold"],
            "group": row["src_file"],
            "labels": (check_label(card, row["category"], table, row["filename"]),),
        }
        for row in read_table(table, _COLUMNS)
        if _is_esc10(table, row) in in_esc10
    ]
    return to_manifest(card, rows, root, table)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout with up to ten classes, each in every fold."""
    assert card.labels is not None
    in_esc10 = _part(card)
    numbers = [number for number in range(50) if (number in _ESC10) in in_esc10]
    classes = list(zip(numbers, card.labels, strict=False))[: max(2, min(10, writer.clips // 10))]
    rows = []
    for k in range(max(writer.clips, 5 * len(classes))):
        number, label = classes[k % len(classes)]
        fold, take = k // len(classes) % 5 + 1, k // len(classes) // 5
        source, letter = 100_000 + 100 * (5 * number + fold) + take // 2, "AB"[take % 2]
        file = f"{fold}-{source}-{letter}-{number}.wav"
        writer.write_audio(f"audio/{file}", [number], seconds=1.0, sr=44100)
        rows.append((file, fold, number, label, number in _ESC10, source, letter))
    writer.write_table(_TABLE, rows, header=_COLUMNS)


def _part(card: TaskCard) -> tuple[bool, ...]:
    """Return the values of the column ``esc10`` that the task's clips have."""
    part = card.options.get("part", "all")
    if part not in _PARTS:
        raise unknown_name_error(f"part of ESC-50 in {card.name}", str(part), _PARTS)
    return _PARTS[part]


def _is_esc10(table: Path, row: dict[str, str]) -> bool:
    """Tell whether a clip is in ESC-10: True in the original, TRUE or true in copies."""
    text = row["esc10"].strip().lower()
    if text not in ("true", "false"):
        raise DataError(
            f"{table}: {row['filename']}: column esc10 must be True or False, got {row['esc10']!r}"
        )
    return text == "true"
