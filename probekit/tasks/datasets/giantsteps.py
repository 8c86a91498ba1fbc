"""GiantSteps: keys of two-minute previews of electronic dance music, in two sets."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, read_table, read_text, to_manifest
from probekit.tasks.standin.writer import StandInWriter

OPTIONS = ("segments", "seconds", "confidence")
_TEST, _TRAIN = "giantsteps-key-dataset", "giantsteps-mtg-key-dataset"
_KEYS, _ANNOTATIONS = "annotations/key", "annotations/annotations.txt"
_COLUMNS = ("ID", "MANUAL KEY", "C")
_KEY = re.compile(r"([A-G][#b]?) (major|minor)")
_FLAT = {"C#": "Db", "D#": "Eb", "F#": "Gb", "G#": "Ab", "A#": "Bb", "Cb": "B", "Fb": "E"}
_FLAT |= {"E#": "F", "B#": "C"}


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the previews: those of the MTG set train, those of the key set test.

    Of the MTG set, previews with one key of the greatest confidence are used; the option
    ``confidence`` is the least that is. A group is one preview of the shop, by its number. With the
    options ``segments`` and ``seconds``, a preview is so many clips of that length, the last of
    which goes on to its end.
    """
    annotations = locate(root, *_names(_TRAIN, _ANNOTATIONS), card=card)
    keys = locate(root, *_names(_TEST, _KEYS), card=card)
    assert root is not None
    clips = []
    for part, folder, labels in (
        ("train", annotations.parents[1], _read_annotations(annotations, card)),
        ("test", keys.parents[1], _read_keys(keys)),
    ):
        for number, key in labels:
            path = f"{folder.name}/audio/{number}.LOFI"
            suffix = ".wav" if (root / f"{path}.wav").exists() else ".mp3"
            clip = {
                "clip_id": f"{'mtg-' if part == 'train' else ''}{number}",
                "path": path + suffix,
                "split": part,
                "group": number.lstrip("0"),
                "labels": (check_label(card, key, folder, number),),
            }
            clips += _segment(card, clip)
    return to_manifest(card, clips, root, annotations)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write both sets, with four keys; some training previews have no key, or two, and are out."""
    assert card.labels is not None
    keys = ("C major", "G major", "A minor", "F# minor")
    rows: list[tuple[object, ...]] = [(1, "-", 0), (2, "E / B minor", 2), (3, "C major", 1)]
    count, seconds = card.options.get("segments", 1), card.options.get("seconds", 0)
    long = seconds * (count - 1) + 1.0  # the last segment has one second
    for k in range(max(writer.clips // count, 3 * len(keys))):
        key, number = keys[k % len(keys)], 1000 + k
        label = _spell(key) or ""
        is_test = k // len(keys) % 3 == 2
        folder = _TEST if is_test else _TRAIN
        suffix = "mp3" if count == 1 else "wav"  # the sets have a script that converts
        path = f"{folder}/audio/{number}.LOFI.{suffix}"
        writer.write_audio(path, [card.labels.index(label)], seconds=long, sr=8000)
        if is_test:
            writer.write_text(f"{_TEST}/{_KEYS}/{number}.LOFI.key", f"{label}\n")
        else:
            rows.append((number, key, 2))
    writer.write_table(f"{_TRAIN}/{_ANNOTATIONS}", rows, header=_COLUMNS, delimiter="\t")


def _segment(card: TaskCard, clip: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the segments of a preview that the card asks for, or the whole preview."""
    if "segments" not in card.options:
        return [clip]
    count, seconds = int(card.options["segments"]), float(card.options["seconds"])
    ends = [*((k + 1) * seconds for k in range(count - 1)), None]
    return [
        {**clip, "clip_id": f"{clip['clip_id']}-{k}", "start": k * seconds, "end": end}
        for k, end in enumerate(ends)
    ]


def _names(folder: str, path: str) -> list[str]:
    """Return where a file of a set is: in its folder, or in that of GitHub's archive."""
    return [f"{folder}/{path}", f"{folder}-master/{path}"]


def _spell(key: str) -> str | None:
    """Return a key with flats, such as ``Gb minor``; None if it is not one key."""
    match = _KEY.fullmatch(key)
    return None if match is None else f"{_FLAT.get(match[1], match[1])} {match[2]}"


def _read_annotations(path: Path, card: TaskCard) -> Iterator[tuple[str, str]]:
    """Yield number and key of the previews with one key and enough confidence."""
    least = int(card.options.get("confidence", 2))
    for row in read_table(path, _COLUMNS, delimiter="\t"):
        if row["C"] not in ("0", "1", "2"):
            raise DataError(f"{path}: {row['ID']}: C must be 0, 1 or 2, got {row['C']!r}")
        key = _spell(row["MANUAL KEY"].strip())
        if key is not None and int(row["C"]) >= least:
            yield row["ID"], key


def _read_keys(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield number and key of each file ``NUMBER.LOFI.key``."""
    for path in sorted(folder.glob("*.key")):
        text = " ".join(read_text(path).split())
        key = _spell(text)
        if key is None:
            raise DataError(f"{path}: expected one key, such as F minor, got {text!r}")
        yield path.name.partition(".")[0], key
