"""UrbanSound8K: 8,732 slices of 1,297 field recordings in ten classes and ten official folds."""

from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter

OPTIONS = ()
_TABLE = "metadata/UrbanSound8K.csv"
_COLUMNS = ("slice_file_name", "fsID", "fold", "class")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the slices with their official folds; a group is one source recording."""
    table = locate(root, _TABLE, card=card)
    slices = read_table(table, _COLUMNS)
    check_spreadsheet_ids(table, (row["slice_file_name"] for row in slices))
    rows = [
        {
            "clip_id": row["slice_file_name"].removesuffix(".wav"),
            "path": f"audio/fold{row['fold']}/{row['slice_file_name']}",
            "fold": row["fold"],
            "group": row["fsID"],
            "labels": (check_label(card, row["class"], table, row["slice_file_name"]),),
        }
        for row in slices
    ]
    return to_manifest(card, rows, root, table)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write ten folds of slices: two of each recording, of mixed rates, channels and lengths."""
    assert card.labels is not None
    classes = max(2, min(len(card.labels), writer.clips // 20))
    kinds = ((44100, 2, "PCM_16"), (48000, 1, "PCM_24"), (8000, 1, "PCM_16"), (96000, 2, "FLOAT"))
    rows = []
    for k in range(max(writer.clips // 2, 10 * classes)):
        number, fold = k % classes, k // classes % 10 + 1
        recording = 100_000 + k
        rate, channels, subtype = kinds[k % len(kinds)]
        for part in range(2):
            name = f"{recording}-{number}-0-{part}.wav"
            seconds = round(float(writer.rng.uniform(0.3, 1.0)), 3)
            writer.write_audio(
                f"audio/fold{fold}/{name}",
                [number],
                seconds=seconds,
                sr=rate,
                channels=channels,
                subtype=subtype,
            )
            start = part * 0.5
            row = (name, recording, start, start + seconds, 1, fold, number, card.labels[number])
            rows.append(row)
    header = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
    writer.write_table(_TABLE, rows, header=header)
