"""Datasets whose facts are in the names of their files: the card says how to read them.

Options of the card:

==================  ===============================================================================
folder              folders the recordings may be in; the first that exists is used
suffix              suffix of the recordings, ``.wav`` if not given; other files are no clips
pattern             regular expression of a recording's path in that folder, without suffix; its
                    named groups are the fields
label, group, fold  name of the field that is the clip's label, group or fold
label_names         label by the field's text, where they differ
splits              ``field``, and its values of ``valid`` and ``test``; all others are train
lists               files of the recordings of ``train``, ``valid`` and ``test``, each a name or
                    names of which one exists: a text file with a path a line, or JSON as of
                    VocalSound; without ``train``, all others are train
skipped_folders     folders in it whose recordings are no clips
exclude_known_bad   leave out the clips that the card lists as such
standin             fields with their values, name, sample rate and seconds of the stand-in data
==================  ===============================================================================
"""

import itertools
import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import SPLITS, Manifest
from probekit.data.readers import walk_folders
from probekit.errors import CardError, DataError
from probekit.tasks.datasets._files import layout_hint, locate
from probekit.tasks.datasets._tables import (
    check_label,
    check_options,
    read_text,
    to_manifest,
    to_texts,
)
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

_SUFFIX = ".wav"
OPTIONS = (
    *("folder", "suffix", "pattern", "label", "group", "fold", "label_names", "splits", "lists"),
    *("skipped_folders", "exclude_known_bad", "standin"),
)
NEEDED = ("folder", "pattern", "label")


@dataclass(frozen=True)
class _Clip:
    """A recording, and what its name says."""

    name: str
    fields: dict[str, str]


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the recordings with the label, group and split that their names and lists say."""
    _pattern(card)  # raises where the card's options do not fit
    folders = to_texts(card.options["folder"])
    lists = {side: to_texts(names) for side, names in card.options.get("lists", {}).items()}
    tables = {side: locate(root, *names, card=card) for side, names in lists.items()}
    folder = locate(root, *folders, card=card)
    assert root is not None
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    names, fields = card.options.get("label_names", {}), card.options
    sides = _Sides(card, tables)
    suffix = _suffix(card)
    rows = []
    for clip in _clips(card, folder):
        if fields.get("exclude_known_bad") and clip.name in card.known_bad:
            continue
        text = clip.fields[fields["label"]]
        label = names.get(text, text)
        if not text:
            raise DataError(
                f"{folder / clip.name}{suffix}: its name has no {fields['label']}, the label."
                f"{layout_hint(card)}"
            )
        rows.append(
            {
                "clip_id": clip.name,
                "path": f"{prefix}{clip.name}{suffix}",
                "split": sides.of(clip),
                "fold": clip.fields.get(fields.get("fold", ""), ""),
                "group": clip.fields.get(fields.get("group", ""), ""),
                "labels": (check_label(card, label, folder, clip.name),),
            }
        )
    if not rows:
        raise DataError(
            f"{folder}: no recordings of {card.name}, whose names end in {suffix} "
            f"(option suffix of its card).{layout_hint(card)}"
        )
    return to_manifest(card, rows, root, folder)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write recordings of the field values that the option ``standin`` lists.

    Its ``name`` is the path in which values are put, and ``k``, the number of times that all
    combinations have been written; without ``k`` there are no more clips than combinations. A clip
    sounds by its label and its group.
    """
    assert card.labels is not None
    plan, names = card.options["standin"], card.options.get("label_names", {})
    label, group = card.options["label"], card.options.get("group", "")
    values = {field: to_texts(plan["fields"][field]) for field in plan["fields"]}
    groups = values.get(group, [""])
    others = {field: texts for field, texts in values.items() if field not in (label, group)}
    combinations = [
        {group: of_group, **dict(zip(others, texts, strict=True))}
        for texts in itertools.product(*others.values())
        for of_group in groups
    ]
    count = max(2, len(groups), writer.clips // len(values[label]))
    if "{k}" not in plan["name"]:
        count = min(count, len(combinations))
    folder = to_texts(card.options["folder"])[0]
    written = []
    for number in range(count):
        round_number, index = divmod(number, len(combinations))
        for text in values[label]:
            fields = {**combinations[index], label: text}
            name = plan["name"].format(**fields, k=round_number)
            classes = [card.labels.index(names.get(text, text))]
            if group:
                classes.append(len(card.labels) + groups.index(fields[group]))
            path = posixpath.normpath(f"{folder}/{name}{_suffix(card)}")
            writer.write_audio(path, classes, seconds=plan["seconds"], sr=plan["sr"])
            written.append(name)
    _write_lists(card, writer, written)


def _write_lists(card: TaskCard, writer: StandInWriter, written: list[str]) -> None:
    """Write the lists of splits: a fifth valid, a fifth test, whole groups."""
    lists = {side: to_texts(names)[0] for side, names in card.options.get("lists", {}).items()}
    if not lists:
        return
    pattern, group, suffix = _pattern(card), card.options["group"], _suffix(card)
    order: dict[str, int] = {}
    sides: dict[str, list[str]] = {side: [] for side in lists}
    for name in written:
        match = pattern.fullmatch(name)
        assert match is not None, name
        number = order.setdefault(match[group], len(order))
        side = ("train", "valid", "train", "test", "train")[number % 5]
        if side in sides:
            sides[side].append(name)
    for side, path in lists.items():
        if path.endswith(".json"):
            data = [{"wav": f"/data/audio/{name}{suffix}"} for name in sides[side]]
            writer.write_text(path, json.dumps({"data": data}))
        else:
            writer.write_text(path, "".join(f"{name}{suffix}\n" for name in sides[side]))


class _Sides:
    """The split of each clip, by a field or by lists of recordings."""

    def __init__(self, card: TaskCard, tables: dict[str, Path]) -> None:
        self._by_field = card.options.get("splits", {})
        self._by_name: dict[str, str] = {}
        self._rest = "" if "train" in tables else "train"
        self._listed = bool(tables)
        for side, table in tables.items():
            if side not in SPLITS:
                raise CardError(
                    f"{card.name}: option lists: must be of train, valid or test, got {side!r}"
                )
            for name in _read_list(table, _suffix(card)):
                previous = self._by_name.setdefault(name, side)
                if previous != side:
                    raise DataError(
                        f"{table}: {name!r} is listed for {side} and, in another list, for "
                        f"{previous}: a clip can be in one split only. Get the original lists again"
                    )

    def of(self, clip: _Clip) -> str:
        """Return the split of a clip; empty where there are none, or no list has it."""
        if self._listed:
            stem = clip.name.rpartition("/")[2]
            return self._by_name.get(clip.name) or self._by_name.get(stem, self._rest)
        if not self._by_field:
            return ""
        value = clip.fields[self._by_field["field"]]
        sides = (side for side in ("valid", "test") if value in map(str, self._by_field[side]))
        return next(sides, "train")


def _clips(card: TaskCard, folder: Path) -> Iterator[_Clip]:
    """Yield the recordings of a folder by name; a name that the pattern does not fit is refused."""
    pattern = _pattern(card)
    skipped = tuple(f"{name}/" for name in card.options.get("skipped_folders", ()))
    paths = (
        name if relative == "." else f"{relative}/{name}"
        for relative, names in walk_folders(folder)
        for name in names
    )
    suffix = _suffix(card)
    for path in sorted(paths):
        if not path.endswith(suffix) or path.startswith(skipped):
            continue
        name = path.removesuffix(suffix)
        match = pattern.fullmatch(name)
        if match is None:
            raise DataError(
                f"{folder / path}: not a name of {card.name}: the pattern '{pattern.pattern}' "
                f"must fit its path in {folder.name}, without suffix.{layout_hint(card)}"
            )
        yield _Clip(name, match.groupdict(default=""))


def _suffix(card: TaskCard) -> str:
    """Return the suffix of a card's recordings."""
    return str(card.options.get("suffix", _SUFFIX))


def _pattern(card: TaskCard) -> re.Pattern[str]:
    """Return the pattern of names; raise a CardError where options do not fit it."""
    options = card.options
    check_options(
        card,
        ("pattern", "label", "group", "fold", "suffix"),
        ("label_names", "splits", "lists"),
    )
    try:
        pattern = re.compile(options["pattern"])
    except re.error as error:
        raise CardError(f"{card.name}: option pattern: {error}: {options['pattern']!r}") from error
    named = [options.get(key) for key in ("label", "group", "fold")]
    for name in [*named, options.get("splits", {}).get("field")]:
        if name is not None and name not in pattern.groupindex:
            raise unknown_name_error(
                f"field of {card.name} (groups of its pattern)", str(name), pattern.groupindex
            )
    return pattern


def _read_list(table: Path, suffix: str) -> list[str]:
    """Return the names in a list of recordings: paths, or the ends of paths of other computers."""
    text = read_text(table)
    if table.suffix != ".json":
        return [line.strip().removesuffix(suffix) for line in text.splitlines() if line.strip()]
    try:
        entries = json.loads(text)["data"]
        return [entry["wav"].rpartition("/")[2].removesuffix(suffix) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{table}: expected JSON with a list 'data' of recordings, each with a path 'wav'. Get "
            "the original file again"
        ) from error
