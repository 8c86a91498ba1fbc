"""Freesound recordings: which of them clips of several datasets come from, by names of files.

==========================  ==================================  =================================
dataset                     name of a clip                      where the number of Freesound is
==========================  ==================================  =================================
ESC-10, ESC-40, ESC-50      ``1-100032-A-0``, ``1-100032-A``    second
UrbanSound8K                ``100032-3-0-0``                    first
FSD50K, FSDnoisy18k         ``100032``                          the whole name
FSDKaggle2019               ``0a1b2c3d``                        in its tables
==========================  ==================================  =================================
"""

import re

import numpy as np
import numpy.typing as npt

from probekit import cards
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest

_PARTS = re.compile(r"[1-5]-(\d{2,7})-[A-Z](?:-\d{1,2})?|(\d{2,7})-\d-\d+-\d+")
_WHOLE = re.compile(r"\d{2,7}")


def freesound_ids(clips: Manifest, card: TaskCard | None = None) -> dict[str, str]:
    """Return numbers of Freesound recordings by clip id, for the clips that have one.

    A name that is nothing but a number may be anything: it is returned with a question mark before
    it, and is a recording only if a clip of another dataset names that recording clearly.

    Parameters
    ----------
    clips : Manifest
        The clips; names are those of the recordings, else clip ids.
    card : TaskCard, optional
        Their task, whose dataset may know more than names.
    """
    listed: dict[str, str] = {}
    if card is not None and card.module:
        module = cards.import_card_module(card, "probekit.tasks.datasets")
        if hasattr(module, "freesound_ids") and clips.root is not None:
            listed = module.freesound_ids(clips.root)
    numbers = {}
    for clip_id, path in zip(clips.clip_ids, clips.table["path"].tolist(), strict=True):
        stem = path.rsplit("/", 1)[-1].rsplit(".", 1)[0] if path else clip_id
        parts = _PARTS.fullmatch(stem) or _PARTS.fullmatch(clip_id)
        if clip_id in listed:
            numbers[clip_id] = listed[clip_id]
        elif parts:
            numbers[clip_id] = parts[1] or parts[2]
        elif _WHOLE.fullmatch(stem):
            numbers[clip_id] = f"?{stem}"
    return numbers


def of_shared_recordings(
    numbers: dict[str, str], clip_ids: npt.ArrayLike, others: dict[str, str]
) -> list[str]:
    """Return the clips, by id, that are of a Freesound recording which others are of.

    Parameters
    ----------
    numbers : dict of str to str
        From :func:`freesound_ids`.
    clip_ids : array_like of str
        The clips to compare with ``others``.
    others : dict of str to str
        Numbers of the others.
    """
    clear = {number for number in others.values() if number[0] != "?"}
    uncertain = {number[1:] for number in others.values() if number[0] == "?"}
    shared = []
    for clip_id in map(str, np.asarray(clip_ids)):
        number = numbers.get(clip_id, "")
        if (number in clear or number in uncertain) if number[:1] != "?" else number[1:] in clear:
            shared.append(clip_id)
    return shared
