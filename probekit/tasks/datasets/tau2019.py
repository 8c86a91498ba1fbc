"""TAU Urban Acoustic Scenes 2019, development set: ten-second scenes of ten kinds in ten cities."""

from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter

OPTIONS = ()
_LISTS = {
    "train": "evaluation_setup/fold1_train.csv",
    "test": "evaluation_setup/fold1_evaluate.csv",  # fold1_test.csv: the same files, no labels
}
_COLUMNS = ("filename", "scene_label")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the official training and evaluation list; a group is a location.

    Segments that are in neither list are left out.
    """
    rows: list[dict[str, Any]] = []
    for split, name in _LISTS.items():
        table = locate(root, name, card=card)
        for row in read_table(table, _COLUMNS, delimiter="\t"):
            stem = row["filename"].removeprefix("audio/").removesuffix(".wav")
            parts = stem.split("-")
            label = check_label(card, row["scene_label"], table, row["filename"])
            if len(parts) != 5 or parts[0] != label:
                raise DataError(
                    f"{table}: {row['filename']!r} with label {label!r}: names are "
                    "audio/SCENE-CITY-LOCATION-SEGMENT-DEVICE.wav, and SCENE is the label"
                )
            rows.append(
                {
                    "clip_id": stem,
                    "path": row["filename"],
                    "split": split,
                    "group": "-".join(parts[:3]),
                    "labels": (label,),
                }
            )
    return to_manifest(card, rows, root, table.parent)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout: four training locations a scene, two for evaluation."""
    assert card.labels is not None
    scenes = card.labels[: max(2, min(len(card.labels), writer.clips // 12))]
    lists: dict[str, list[tuple[str, ...]]] = {"train": [], "test": []}
    meta = []
    for k in range(max(writer.clips, 6 * len(scenes))):
        scene, location = k % len(scenes), k // len(scenes) % 6
        identifier = f"{('lisbon', 'lyon', 'prague')[location % 3]}-{1000 + 10 * scene + location}"
        name = f"audio/{scenes[scene]}-{identifier}-{40000 + k}-a.wav"
        writer.write_audio(name, [scene], seconds=1.0, sr=48000, channels=2, subtype="PCM_24")
        lists["train" if location < 4 else "test"].append((name, scenes[scene]))
        meta.append((name, scenes[scene], identifier, "a"))
    for split, table in _LISTS.items():
        writer.write_table(table, lists[split], header=_COLUMNS, delimiter="\t")
    files = [(name,) for name, _ in lists["test"]]
    writer.write_table(
        "evaluation_setup/fold1_test.csv", files, header=_COLUMNS[:1], delimiter="\t"
    )
    columns = ("filename", "scene_label", "identifier", "source_label")
    writer.write_table("meta.csv", meta, header=columns, delimiter="\t")
