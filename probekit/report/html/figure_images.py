"""Figures embedded in the page as pictures, which can run no script and load nothing."""

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUDGET = 5_000_000  # bytes of all figures in the page
_LARGE_SVG = 700_000  # bytes; beyond, the PNG is taken where it is smaller
_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class FigureImage:
    """A figure.

    Attributes
    ----------
    name : str
        Stem of its files.
    task : str
        Its task; empty if unknown.
    caption : str
        Written below.
    address : str
        A data URL; empty if the budget was used up.
    facts : dict
        What made it.
    """

    name: str
    task: str
    caption: str
    address: str
    facts: dict[str, Any] = field(default_factory=dict)


def collect_figures(folder: Path | None, budget: int = BUDGET) -> list[FigureImage]:
    """Return the figures of a folder, by name; smaller ones are embedded first.

    A figure is ``STEM.svg`` or ``STEM.png`` with caption and task in ``STEM.json``; other files are
    skipped, and those of another width if there is one of the default width.
    """
    figures = []
    paths = sorted(folder.glob("*.json")) if folder is not None else []
    stems = {path.stem for path in paths}
    for path in paths:
        facts, picture = _read_facts(path), _choose_picture(path)
        if facts is None or picture is None:
            continue
        suffix = f"-{facts['width_inches']:g}in" if facts.get("width_inches") else ""
        if not suffix or path.stem.removesuffix(suffix) not in stems - {path.stem}:
            figures.append((path.stem, facts, picture))
    embedded, used = set(), 0
    for _, _, picture in sorted(figures, key=lambda figure: figure[2].stat().st_size):
        used += -(-picture.stat().st_size // 3) * 4  # in base64
        if used <= budget:
            embedded.add(picture)
    return [
        FigureImage(
            name=name,
            task=str(facts.get("task", "")),
            caption=str(facts["caption"]),
            address=_data_url(picture) if picture in embedded else "",
            facts=facts,
        )
        for name, facts, picture in figures
    ]


def _read_facts(path: Path) -> dict[str, Any] | None:
    """Return what made a figure, or None if the file is something else."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and "caption" in facts else None


def _choose_picture(path: Path) -> Path | None:
    """Return the SVG of a figure, or its PNG where the SVG is large or missing."""
    pictures = [file for file in map(path.with_suffix, (".svg", ".png")) if file.is_file()]
    if len(pictures) == 2 and pictures[0].stat().st_size > _LARGE_SVG:
        return min(pictures, key=lambda file: file.stat().st_size)
    return pictures[0] if pictures else None


def _data_url(file: Path) -> str:
    content = base64.b64encode(file.read_bytes()).decode()
    return f"data:{_MEDIA_TYPES[file.suffix]};base64,{content}"
