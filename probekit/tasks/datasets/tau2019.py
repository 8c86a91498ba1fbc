"""TAU Urban Acoustic Scenes 2019, development set: ten-second scenes of ten kinds in ten cities."""

from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets import _tables
from probekit.tasks.standin.writer import StandInWriter
from probekit.tasks.task import check_labels

_LISTS = {
    "train": "evaluation_setup/fold1_train.csv",
    "test": "evaluation_setup/fold1_evaluate.csv",  # fold1_test.csv: the same files, no labels
}
_COLUMNS = ("filename", "scene_label")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the official training and evaluation list; a group is a location.

    Parameters
    ----------
    card : TaskCard
        The task.
    root : pathlib.Path or None
        The folder that holds ``audio`` and ``evaluation_setup``.

    Returns
    -------
    Manifest
        With split ``train`` and ``test``; segments that are in neither list are left out.

    Raises
    ------
    DataError
        If a list is not there or not as published.
    """
    rows: list[dict[str, Any]] = []
    for split, place in _LISTS.items():
        table = _tables.locate(root, place, card=card)
        for row in _tables.rows(table, _COLUMNS, delimiter="\t"):
            stem = row["filename"].removeprefix("audio/").removesuffix(".wav")
            parts = stem.split("-")
            label = check_labels(card, row["scene_label"], table, row["filename"])
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
    return manifests.from_rows(
        card.dataset,
        rows,
        root=root,
        names=card.labels,
        expected=card.counts.get("clips"),
        source=table.parent,
    )


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write the layout with stand-in sounds: four training locations a scene, two for evaluation.

    Parameters
    ----------
    card : TaskCard
        The task; its classes are played.
    stage : Stage
        Where to write.
    """
    assert card.labels is not None
    scenes = card.labels[: max(2, min(len(card.labels), stage.clips // 12))]
    lists: dict[str, list[tuple[str, ...]]] = {"train": [], "test": []}
    meta = []
    for k in range(max(stage.clips, 6 * len(scenes))):
        scene, place = k % len(scenes), k // len(scenes) % 6
        identifier = f"{('lisbon', 'lyon', 'prague')[place % 3]}-{1000 + 10 * scene + place}"
        name = f"audio/{scenes[scene]}-{identifier}-{40000 + k}-a.wav"
        stage.write_audio(name, [scene], seconds=1.0, rate=48000, channels=2, subtype="PCM_24")
        lists["train" if place < 4 else "test"].append((name, scenes[scene]))
        meta.append((name, scenes[scene], identifier, "a"))
    for split, place_of in _LISTS.items():
        stage.table(place_of, lists[split], header=_COLUMNS, delimiter="\t")
    files = [(name,) for name, _ in lists["test"]]
    stage.table("evaluation_setup/fold1_test.csv", files, header=_COLUMNS[:1], delimiter="\t")
    columns = ("filename", "scene_label", "identifier", "source_label")
    stage.table("meta.csv", meta, header=columns, delimiter="\t")
