"""UrbanSound8K: 8,732 slices of 1,297 field recordings in ten classes and ten official folds."""

import csv
from pathlib import Path

from probekit import manifest as manifests
from probekit.cards import TaskCard
from probekit.errors import DataError
from probekit.manifest import Manifest
from probekit.tasks.base import check_labels, need_root

_COLUMNS = ("slice_file_name", "fsID", "fold", "class")


def build(card: TaskCard, root: Path | None) -> Manifest:
    """Return the slices with their official folds; a group is one source recording."""
    table = need_root(card, root, "metadata/UrbanSound8K.csv")
    with table.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise DataError(
                f"{table}: no column {', '.join(lacking)}; the header is {reader.fieldnames}"
            )
        rows = [
            {
                "clip_id": row["slice_file_name"].removesuffix(".wav"),
                "path": f"audio/fold{row['fold']}/{row['slice_file_name']}",
                "fold": row["fold"],
                "group": row["fsID"],
                "labels": (check_labels(card, row["class"]),),
            }
            for row in reader
        ]
    return manifests.from_rows(
        card.dataset, rows, root=root, names=card.labels, expected=card.counts.get("clips")
    )
