"""How many clips a task has, in all and on each side, beside what its card says."""

from collections import Counter
from contextlib import suppress

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks import splits

ALL = "clips"


def count(card: TaskCard, clips: Manifest) -> dict[str, int]:
    """Count the clips, in all and on each side of the evaluation.

    Parameters
    ----------
    card : TaskCard
        Says the protocol.
    clips : Manifest
        The task's clips.

    Returns
    -------
    dict of str to int
        ``clips``, then each split or fold in its order; clips that are on no side are not counted
        there. Also sides that the card names and no clip is on.
    """
    found = Counter(str(side) for side in _sides(card, clips) if side)
    named = set(card.counts) - {ALL}
    return {ALL: len(clips)} | {side: found[side] for side in splits.in_order({*found, *named})}


def count_mismatches(card: TaskCard, clips: Manifest) -> list[str]:
    """Say where the clips' counts differ from those of the card.

    Parameters
    ----------
    card : TaskCard
        Says what to expect.
    clips : Manifest
        The task's clips.

    Returns
    -------
    list of str
        For example ``"train: 9,000 of 9,185 clips"``; empty where all is as it should be.
    """
    if not card.counts or (set(card.counts) == {ALL} and card.counts[ALL] == len(clips)):
        return []
    found = count(card, clips)
    wrong = {side: n for side, n in card.counts.items() if found[side] != n}
    if len(wrong) > 1:
        wrong.pop(ALL, None)  # the sides say it
    return [
        f"{'' if side == ALL else _called(card, side)}{found[side]:,} of {n:,} clips"
        for side, n in wrong.items()
    ]


def _sides(card: TaskCard, clips: Manifest) -> list[str]:
    """Return the side of each clip; empty where the protocol cannot be carried out on these."""
    with suppress(DataError):
        return [str(side) for side in splits.split_assignments(card.protocol, clips)]
    return []


def _called(card: TaskCard, side: str) -> str:
    return f"fold {side}: " if "folds" in card.protocol.kind else f"{side}: "
