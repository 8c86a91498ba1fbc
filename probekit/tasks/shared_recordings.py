"""Recordings that two tasks share: by bytes, by numbers of Freesound, by names of YouTube videos.

A network trained on one task and tested on the other may have learned these by heart.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from probekit.cards import TaskCard
from probekit.cards.training_data import shared_sources, task_sources
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.freesound import freesound_ids, of_shared_recordings

BYTES, FREESOUND, YOUTUBE = "identical recordings", "Freesound recordings", "YouTube videos"
_VIDEO = re.compile(r"Y?([\w-]{11})(?:[_.].*)?")


@dataclass(frozen=True)
class SharedRecordings:
    """Clips of two tasks that are of the same recordings.

    Attributes
    ----------
    kind : str
        How they are known to be the same.
    first, second : list of str
        Ids of the clips of each task, sorted.
    """

    kind: str
    first: list[str]
    second: list[str]


@dataclass(frozen=True)
class TaskOverlap:
    """What two tasks have in common.

    Attributes
    ----------
    first, second : str
        Names of the tasks.
    sources : list of str
        Collections that recordings of both come from, by their cards.
    unknown : list of str
        Tasks whose card names no source.
    compared : list of str
        How recordings could be compared.
    shared : list of SharedRecordings
        Those with a clip each.
    """

    first: str
    second: str
    sources: list[str]
    unknown: list[str]
    compared: list[str]
    shared: list[SharedRecordings]


def find_task_overlap(
    first: tuple[TaskCard, Manifest],
    second: tuple[TaskCard, Manifest],
    hashes: Mapping[str, Mapping[str, str]],
) -> TaskOverlap:
    """Return what two tasks have in common.

    Parameters
    ----------
    first, second : (TaskCard, Manifest)
        Each task with all its clips.
    hashes : mapping of str to mapping of str to str
        SHA-256 of recordings by clip id, of each dataset as it was embedded, by its name; datasets
        may be missing.

    Returns
    -------
    TaskOverlap
        Sources, and clips of the same recordings.

    Raises
    ------
    DataError
        If both are of one dataset: ``data leaks`` compares its splits.
    """
    cards = [first[0], second[0]]
    if cards[0].dataset == cards[1].dataset:
        raise DataError(
            f"{cards[0].name} and {cards[1].name} are of one dataset, {cards[0].dataset}: all its "
            "recordings may be in both. See probekit data leaks TASK for its splits"
        )
    sources = [task_sources(card) for card in cards]
    common = shared_sources(sources[0] or [], sources[1] or [])
    clips = [first[1], second[1]]
    compared, shared = [], []
    by_bytes = [dict(hashes.get(card.dataset, {})) for card in cards]
    if all(by_bytes):
        compared.append(BYTES)
        shared += _match(BYTES, by_bytes[0], by_bytes[1], clips)
    numbers = [freesound_ids(m, card) for card, m in zip(cards, clips, strict=True)]
    if all(numbers) and ("Freesound" in common or None in sources):
        compared.append(FREESOUND)
        ids = [m.clip_ids for m in clips]
        sides = [
            of_shared_recordings(numbers[0], ids[0], numbers[1]),
            of_shared_recordings(numbers[1], ids[1], numbers[0]),
        ]
        if all(sides):
            shared.append(SharedRecordings(FREESOUND, sorted(sides[0]), sorted(sides[1])))
    if "YouTube" in common:
        videos = [_videos(m) for m in clips]
        if all(videos):
            compared.append(YOUTUBE)
            shared += _match(YOUTUBE, videos[0], videos[1], clips)
    unknown = [card.name for card, known in zip(cards, sources, strict=True) if known is None]
    return TaskOverlap(cards[0].name, cards[1].name, common, unknown, compared, shared)


def _videos(clips: Manifest) -> dict[str, str]:
    """Return the id of the YouTube video of each clip whose name begins with one."""
    matches = ((clip, _VIDEO.fullmatch(clip)) for clip in clips.clip_ids)
    return {clip: match[1] for clip, match in matches if match}


def _match(
    kind: str, first: Mapping[str, str], second: Mapping[str, str], clips: Iterable[Manifest]
) -> list[SharedRecordings]:
    """Return the clips whose keys are in both, if there are any."""
    keys = [
        {clip: table[clip] for clip in m.clip_ids if table.get(clip)}
        for table, m in zip((first, second), clips, strict=True)
    ]
    common = set(keys[0].values()) & set(keys[1].values())
    if not common:
        return []
    sides = [sorted(clip for clip, key in side.items() if key in common) for side in keys]
    return [SharedRecordings(kind, *sides)]
