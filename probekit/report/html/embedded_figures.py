"""Figures inside of the page, as pictures: they can run no script and ask for nothing."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

BUDGET = 5_000_000  # bytes in the page, of all figures
_LARGE = 700_000  # an SVG beyond this is replaced by its PNG where that is smaller


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes
    ----------
    name : str
        Its files' stem.
    task : str
        Which task it is of; empty where it does not say.
    caption : str
        What stands below.
    address : str
        A data address; empty where the budget was used up.
    """

    name: str
    task: str
    caption: str
    address: str


def collect_figures(folder: Path | None, budget: int = BUDGET) -> list[Picture]:
    """Return the figures of a folder, by name.

    Parameters
    ----------
    folder : pathlib.Path or None
        Holds ``STEM.svg`` or ``STEM.png`` and ``STEM.json`` with caption and task.
    budget : int >= 0
        Bytes that they may take; smaller ones are preferred.

    Returns
    -------
    list of Picture
        Files that are not figures of probekit are passed over.
    """
    found = []
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        facts, file = _facts(path), _file(path)
        if facts is not None and file is not None:
            found.append((path.stem, facts, file))
    chosen, used = set(), 0
    for _, _, file in sorted(found, key=lambda one: one[2].stat().st_size):
        used += -(-file.stat().st_size // 3) * 4
        if used <= budget:
            chosen.add(file)
    return [
        Picture(
            name=name,
            task=str(facts.get("task", "")),
            caption=str(facts["caption"]),
            address=_address(file) if file in chosen else "",
        )
        for name, facts, file in found
    ]


def _facts(path: Path) -> dict[str, object] | None:
    """Return what stands beside a figure, or None where this is something else."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and "caption" in facts else None


def _file(path: Path) -> Path | None:
    """Return the SVG of a figure, or its PNG where the SVG is large or missing."""
    there = [file for file in map(path.with_suffix, (".svg", ".png")) if file.is_file()]
    if len(there) == 2 and there[0].stat().st_size > _LARGE:
        return min(there, key=lambda file: file.stat().st_size)
    return there[0] if there else None


def _address(file: Path) -> str:
    kind = {".svg": "svg+xml", ".png": "png"}[file.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
