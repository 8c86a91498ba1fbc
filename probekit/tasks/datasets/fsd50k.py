"""FSD50K: 51,197 clips of Freesound with any of 200 labels, with their parents in the ontology."""

import json
from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import read_table, read_text, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

OPTIONS = ()
_DEV, _EVAL, _VOCABULARY = (
    f"FSD50K.ground_truth/{name}.csv" for name in ("dev", "eval", "vocabulary")
)
_INFO = "FSD50K.metadata/{}_clips_info_FSD50K.json"
_SPLITS = {"train": "train", "val": "valid"}
_STANDIN = (
    ("Bark", "Dog", "Animal"),
    ("Meow", "Cat", "Animal"),
    ("Bass_guitar", "Guitar", "Music"),
    ("Rain", "Water"),
)


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the development and evaluation sets; a group is one uploader.

    Uploaders are known where the metadata of FSD50K are beside its ground truth.
    """
    dev = locate(root, _DEV, card=card)
    tables = {"dev": dev, "eval": locate(root, _EVAL, card=card)}
    assert root is not None
    vocabulary = locate(root, _VOCABULARY, card=card)
    columns = ("index", "label", "mid")
    classes = [row["label"] for row in read_table(vocabulary, columns, header=False)]
    clips: list[dict[str, Any]] = []
    for part, table in tables.items():
        uploaders = _uploaders(root / _INFO.format(part))
        needed = ("fname", "labels", "split") if part == "dev" else ("fname", "labels")
        for row in read_table(table, needed):
            clips.append(
                {
                    "clip_id": row["fname"],
                    "path": f"FSD50K.{part}_audio/{row['fname']}.wav",
                    "split": "test" if part == "eval" else _split(table, row),
                    "group": uploaders.get(row["fname"], ""),
                    "labels": _labels(table, row, classes),
                }
            )
        check_spreadsheet_ids(table, (clip["clip_id"] for clip in clips))
    return to_manifest(card, clips, root, dev, target="multi", class_names=classes)


def freesound_ids(root: Path) -> dict[str, str]:
    """Return numbers of Freesound recordings by clip id: they are the ids."""
    return {
        row["fname"]: row["fname"]
        for name in (_DEV, _EVAL)
        if (root / name).exists()
        for row in read_table(root / name, ("fname",))
    }


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout with the labels of four kinds of sounds and their parents."""
    classes = sorted({label for labels in _STANDIN for label in labels})
    count = max(writer.clips, 8 * len(_STANDIN))
    sides = ("train", "train", "train", "val", "eval", "eval")
    rows: dict[str, list[tuple[str, ...]]] = {"dev": [], "eval": []}
    info: dict[str, dict[str, dict[str, Any]]] = {"dev": {}, "eval": {}}
    for k in range(count):
        labels = _STANDIN[k % len(_STANDIN)]
        side = sides[k // len(_STANDIN) % len(sides)]
        part, name = ("eval" if side == "eval" else "dev"), str(100_000 + 7 * k)
        seconds = round(float(writer.rng.uniform(0.5, 1.5)), 2)
        numbers = [classes.index(label) for label in labels]
        writer.write_audio(f"FSD50K.{part}_audio/{name}.wav", numbers, seconds=seconds, sr=44100)
        mids = ",".join(f"/m/0{number}" for number in numbers)
        row = (name, ",".join(labels), mids)
        rows[part].append(row if part == "eval" else (*row, side))
        info[part][name] = {"uploader": f"user-{side}-{k // 24}", "tags": [labels[0].lower()]}
    header = ["fname", "labels", "mids"]
    writer.write_table(_DEV, rows["dev"], header=[*header, "split"])
    writer.write_table(_EVAL, rows["eval"], header=header)
    numbered = [(k, label, f"/m/0{k}") for k, label in enumerate(classes)]
    writer.write_table(_VOCABULARY, numbered)
    for part, entries in info.items():
        writer.write_text(_INFO.format(part), json.dumps(entries))


def _split(table: Path, row: dict[str, str]) -> str:
    """Return the split of a clip of the development set."""
    if row["split"] not in _SPLITS:
        raise DataError(
            f"{table}: {row['fname']}: column split must be train or val, got {row['split']!r}"
        )
    return _SPLITS[row["split"]]


def _labels(table: Path, row: dict[str, str], classes: list[str]) -> tuple[str, ...]:
    """Return a clip's labels, which the vocabulary must have."""
    labels = tuple(row["labels"].split(","))
    for label in labels:
        if label not in classes:
            raise unknown_name_error(f"label in {table.name}, clip {row['fname']}", label, classes)
    return labels


def _uploaders(path: Path) -> dict[str, str]:
    """Return the uploader of each clip; none where the file is not there."""
    if not path.exists():
        return {}
    try:
        return {name: entry["uploader"] for name, entry in json.loads(read_text(path)).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: expected JSON with an 'uploader' of each clip. Get FSD50K.metadata.zip again"
        ) from error
