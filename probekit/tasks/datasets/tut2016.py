"""TUT Acoustic Scenes 2016, development set: 30-second scenes of 15 kinds in four folds."""

from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets import _tables
from probekit.tasks.standin.writer import StandInWriter
from probekit.tasks.task import check_labels
from probekit.utils.text import summarize_ids

_FOLDS = (1, 2, 3, 4)
_COLUMNS = ("filename", "scene_label")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of ``meta.txt``; a group is a location, a fold that which evaluates it.

    Parameters
    ----------
    card : TaskCard
        The task.
    root : pathlib.Path or None
        The folder that holds ``audio``, ``meta.txt`` and ``evaluation_setup``.

    Returns
    -------
    Manifest
        With the four official folds. Where a fold's official training list is not all the rest,
        the provenance says so.

    Raises
    ------
    DataError
        If a list is not there or not as published, or two folds evaluate the same clip.
    """
    meta = _tables.locate(root, "meta.txt", card=card)
    clips = _read(card, meta)
    scenes = dict(clips)
    folds: dict[str, str] = {}
    provenance = []
    for fold in _FOLDS:
        test = _read(card, _tables.locate(root, _list(fold, "evaluate"), card=card))
        train = _read(card, _tables.locate(root, _list(fold, "train"), card=card))
        twice = [name for name, _ in test if name in folds]
        strange = [name for name, scene in test + train if scenes.get(name) != scene]
        if twice or strange:
            what = "clips that another fold evaluates" if twice else "not as in meta.txt"
            raise DataError(
                f"{meta.parent}, fold {fold}: {what}: {summarize_ids(twice or strange)}"
            )
        folds |= {name: str(fold) for name, _ in test}
        rest = set(scenes) - {name for name, _ in test}
        listed = {name for name, _ in train}
        if listed != rest:
            provenance.append(
                f"fold {fold} trains on {len(rest):,} clips, its list has {len(listed):,}"
            )
    rows: list[dict[str, Any]] = [
        {
            "clip_id": Path(name).stem,
            "path": name,
            "fold": folds.get(name, ""),
            "group": Path(name).name.partition("_")[0],
            "labels": (scene,),
        }
        for name, scene in clips
    ]
    return manifests.from_rows(
        card.dataset,
        rows,
        root=root,
        names=card.labels,
        provenance=provenance,
        expected=card.counts.get("clips"),
        source=meta,
    )


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write the layout with stand-in sounds: every fold, one location a scene and fold.

    Parameters
    ----------
    card : TaskCard
        The task; its classes are played.
    stage : Stage
        Where to write.
    """
    assert card.labels is not None
    scenes = card.labels[: max(3, min(len(card.labels), stage.clips // 8))]
    meta: list[tuple[str, str]] = []
    fold_of: list[int] = []
    for k in range(max(stage.clips, 8 * len(scenes))):
        scene, fold, segment = k % len(scenes), k // len(scenes) % 4, k // len(scenes) // 4
        name = f"audio/a{1 + 4 * scene + fold:03d}_{30 * segment}_{30 * segment + 30}.wav"
        stage.write_audio(name, [scene], seconds=1.0, rate=44100, channels=2, subtype="PCM_24")
        meta.append((name, scenes[scene]))
        fold_of.append(fold + 1)
    stage.table("meta.txt", meta, delimiter="\t")
    stage.table("error.txt", [(meta[0][0], "0.2", "0.4")], delimiter="\t")
    for fold in _FOLDS:
        test = [row for row, own in zip(meta, fold_of, strict=True) if own == fold]
        train = [row for row, own in zip(meta, fold_of, strict=True) if own != fold]
        stage.table(_list(fold, "train"), train, delimiter="\t")
        stage.table(_list(fold, "evaluate"), test, delimiter="\t")
        stage.table(_list(fold, "test"), [row[:1] for row in test], delimiter="\t")


def _list(fold: int, kind: str) -> str:
    """Return where a fold's list is."""
    return f"evaluation_setup/fold{fold}_{kind}.txt"


def _read(card: TaskCard, path: Path) -> list[tuple[str, str]]:
    """Return file names with their scenes."""
    rows = _tables.rows(path, _COLUMNS, delimiter="\t", header=False)
    return [
        (name := row["filename"], check_labels(card, row["scene_label"], path, name))
        for row in rows
    ]
