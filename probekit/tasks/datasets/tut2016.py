"""TUT Acoustic Scenes 2016, development set: 30-second scenes of 15 kinds in four folds."""

from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.text import summarize_ids

OPTIONS = ()
_FOLDS = (1, 2, 3, 4)
_COLUMNS = ("filename", "scene_label")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of ``meta.txt`` with the four official folds; a group is a location.

    A clip is in the fold that evaluates it. Where a fold's official training list is not all other
    clips, the provenance says so.
    """
    meta = locate(root, "meta.txt", card=card)
    clips = _read(card, meta)
    scenes = dict(clips)
    folds: dict[str, str] = {}
    provenance = []
    for fold in _FOLDS:
        test = _read(card, locate(root, _list(fold, "evaluate"), card=card))
        train = _read(card, locate(root, _list(fold, "train"), card=card))
        repeated = [name for name, _ in test if name in folds]
        differing = [name for name, scene in test + train if scenes.get(name) != scene]
        if repeated or differing:
            problem = "clips that another fold evaluates" if repeated else "not as in meta.txt"
            raise DataError(
                f"{meta.parent}, fold {fold}: {problem}: {summarize_ids(repeated or differing)}"
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
    return to_manifest(card, rows, root, meta, provenance=provenance)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout: every fold, one location a scene and fold."""
    assert card.labels is not None
    scenes = card.labels[: max(3, min(len(card.labels), writer.clips // 8))]
    meta: list[tuple[str, str]] = []
    folds: list[int] = []
    for k in range(max(writer.clips, 8 * len(scenes))):
        scene, fold, segment = k % len(scenes), k // len(scenes) % 4, k // len(scenes) // 4
        name = f"audio/a{1 + 4 * scene + fold:03d}_{30 * segment}_{30 * segment + 30}.wav"
        writer.write_audio(name, [scene], seconds=1.0, sr=44100, channels=2, subtype="PCM_24")
        meta.append((name, scenes[scene]))
        folds.append(fold + 1)
    writer.write_table("meta.txt", meta, delimiter="\t")
    writer.write_table("error.txt", [(meta[0][0], "0.2", "0.4")], delimiter="\t")
    for fold in _FOLDS:
        test = [row for row, number in zip(meta, folds, strict=True) if number == fold]
        train = [row for row, number in zip(meta, folds, strict=True) if number != fold]
        writer.write_table(_list(fold, "train"), train, delimiter="\t")
        writer.write_table(_list(fold, "evaluate"), test, delimiter="\t")
        writer.write_table(_list(fold, "test"), [row[:1] for row in test], delimiter="\t")


def _list(fold: int, kind: str) -> str:
    """Return the path of a fold's list."""
    return f"evaluation_setup/fold{fold}_{kind}.txt"


def _read(card: TaskCard, path: Path) -> list[tuple[str, str]]:
    """Return file names with their scenes."""
    rows = read_table(path, _COLUMNS, delimiter="\t", header=False)
    return [
        (name := row["filename"], check_label(card, row["scene_label"], path, name)) for row in rows
    ]
