"""Layout of a user's folder: labels, splits and folds in the names of its folders."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from probekit.errors import DataError
from probekit.utils.text import join_names, summarize_ids

_SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev", "devel"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF = {alias: split for split, aliases in _SPLITS.items() for alias in aliases}
_FOLD = re.compile(r"(?:fold|cv)[ _-]?0*(\d+)", re.IGNORECASE)

# what is hardly meant to be a recording, as its name says
_DOCUMENTS = frozenset({
    "bib", "cfg", "csv", "doc", "docx", "gif", "gz", "h5", "hdf5", "html", "ini", "ipynb", "jams",
    "jpeg", "jpg", "json", "jsonl", "lab", "log", "md", "mid", "midi", "npy", "npz", "parquet",
    "pdf", "pkl", "png", "py", "rst", "sh", "svg", "tar", "tex", "textgrid", "tsv", "txt", "xls",
    "xlsx", "xml", "yaml", "yml", "zip",
})  # fmt: skip
_AUDIO_SUFFIXES = frozenset({
    "ac4", "adts", "ape", "awb", "dff", "dsf", "dts", "gsm", "mka", "mp1", "mp2", "mpa", "mpc",
    "qcp", "ra", "ram", "raw", "shn", "spx", "tak", "tta", "voc", "wave", "webma", "wv", "xwma",
})  # fmt: skip
_AUDIO_HEADS = (
    b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"fLaC", b"OggS", b"caff", b"ID3", b"wvpk",
    b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfd", b"MAC ", b"#!AMR", b"riff",
)  # fmt: skip


def read_layout(root: Path, recordings: Sequence[PurePosixPath]) -> list[dict[str, object]]:
    """Return label, split and fold of recordings, as far as their folders say.

    Parameters
    ----------
    root : pathlib.Path
        Their folder, for messages.
    recordings : sequence of pathlib.PurePosixPath
        Paths relative to it.

    Returns
    -------
    list of dict
        ``labels``, ``split``, ``fold`` of each; keys are missing where the folders say nothing.

    Raises
    ------
    DataError
        If recordings lie beside folders of labels, or some folders are splits and others are not.
    """
    loose = [str(path) for path in recordings if len(path.parts) == 1]
    if len(loose) == len(recordings):
        return [{} for _ in recordings]
    if loose:
        raise DataError(
            f"{root}: sub-folders are labels, but {len(loose)} recordings are in none of them: "
            f"{summarize_ids(loose)}. Move them into a label's folder, or list the clips in a CSV"
        )
    folders = [path.parts[:-1] for path in recordings]
    outer = _read_sides(root, [parts[0] for parts in folders])
    if outer:
        return _with_outer_sides(root, folders, outer)
    if all(len(parts) > 1 for parts in folders):
        inner = _read_sides(root, [parts[1] for parts in folders])
        inner = inner if len(set(inner.values())) > 1 else {}
    else:
        inner = {}
        nested = {parts[1] for parts in folders if len(parts) > 1}
        if len({_side(name) for name in nested} - {None}) > 1:
            raise DataError(
                f"{root}: recordings beside folders that are splits: {_quote(nested)}. Move each "
                "recording into one of them, or list the clips in a CSV with a column 'split'"
            )
    return [
        {"labels": (_label(parts[0]),), **(dict([inner[parts[1]]]) if inner else {})}
        for parts in folders
    ]


def _with_outer_sides(
    root: Path, folders: Sequence[tuple[str, ...]], sides: dict[str, tuple[str, str]]
) -> list[dict[str, object]]:
    """Return the layout of splits or folds with folders of labels, or recordings, inside."""
    labeled = [len(parts) > 1 for parts in folders]
    if any(labeled) and not all(labeled):
        names = {parts[0] for parts in folders if len(parts) == 1}
        raise DataError(
            f"{root}: folders {_quote(sides)} are splits and hold folders of labels, but there are "
            f"recordings beside these in {_quote(names)}. Move them into a label's folder"
        )
    divided = len(set(sides.values())) > 1  # of a single one, folds are made
    return [
        {
            **({"labels": (_label(parts[1]),)} if all(labeled) else {}),
            **(dict([sides[parts[0]]]) if divided else {}),
        }
        for parts in folders
    ]


def _read_sides(root: Path, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return what the names of folders stand for: ``("split", "test")`` or ``("fold", "1")``.

    Empty if they are no splits or folds; a single one among others is a label like these.
    """
    names = sorted(set(names))
    sides = {name: side for name in names if (side := _side(name))}
    others = [name for name in names if name not in sides]
    if not sides or (others and len(set(sides.values())) == 1):
        return {}
    advice = "List the clips in a CSV with columns 'label' and 'split' (or 'fold')"
    if others:
        raise DataError(
            f"{root}: some folders are named like splits or folds ({_quote(sides)}), others are "
            f"not ({_quote(others)}). {advice}, or extract one of the folders"
        )
    kinds = {kind for kind, _ in sides.values()}
    repeated = [side for side, count in Counter(sides.values()).items() if count > 1]
    if len(kinds) > 1 or repeated:
        raise DataError(
            f"{root}: folders {_quote(sides)}: not clear which split is which. {advice}"
        )
    if kinds == {"split"} and len(sides) > 1 and ("split", "train") not in sides.values():
        raise DataError(
            f"{root}: folders {_quote(sides)} are splits, but none is called 'train'. Rename the "
            "one with the training clips"
        )
    return sides


def _side(name: str) -> tuple[str, str] | None:
    split, fold = _SPLIT_OF.get(name.lower()), _FOLD.fullmatch(name)
    if fold:
        return "fold", fold[1]
    return ("split", split) if split else None


def _label(folder: str) -> str:
    return unicodedata.normalize("NFC", folder)


def left_out_notes(root: Path, files: Sequence[str]) -> tuple[str, ...]:
    """Return the note on files that look like recordings, but have another suffix than these.

    Parameters
    ----------
    root : pathlib.Path
        The folder.
    files : sequence of str
        Its files that no clip is made of.
    """
    counts = Counter(
        PurePosixPath(file).suffix.lower() or "no suffix"
        for file in files
        if is_audio_like(root / file)
    )
    if not counts:
        return ()
    kinds = [f"{suffix} {count:,}" for suffix, count in sorted(counts.items())]
    number = counts.total()
    return (
        f"{number:,} {'file looks' if number == 1 else 'files look'} like audio, but "
        f"{'is' if number == 1 else 'are'} left out ({join_names(kinds, 5)})",
    )


def is_audio_like(path: Path) -> bool:
    """Tell by suffix and first bytes whether a file may be a recording, or is a link to nothing."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix in _AUDIO_SUFFIXES:
        return True
    if suffix in _DOCUMENTS:
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(8).startswith(_AUDIO_HEADS)
    except OSError:
        return path.is_symlink()


def _quote(names: Iterable[str]) -> str:
    return summarize_ids(sorted(names))
