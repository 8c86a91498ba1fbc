"""Presets: the stream, pooling, transforms and probe that a paper uses for each extractor.

They are part of the papers' cards (``reports/*.yaml``, field ``presets``), one per extractor, and
``any`` for all others.
"""

from dataclasses import dataclass, replace

from probekit import cards
from probekit.cards.selector import parse_selectors
from probekit.errors import DataError, ProbekitError
from probekit.probes import transforms
from probekit.utils.suggest import unknown_name_error


@dataclass(frozen=True)
class Preset:
    """How an embedding is probed.

    Attributes
    ----------
    probe : str
        As after ``--probe``.
    steps : tuple of str
        Transforms of the features; see :mod:`probekit.probes.transforms`.
    stream : str
        Stream; empty for the extractor's default one.
    pool : tuple of str
        Pooling of frames.
    """

    probe: str = "linear"
    steps: tuple[str, ...] = transforms.STANDARD
    stream: str = ""
    pool: tuple[str, ...] = ("mean",)

    def apply(self, selector: str) -> str:
        """Return a selector, as after ``-e``, with stream and pooling if it names none."""
        members = parse_selectors(selector)
        if len(members) > 1:
            return selector
        [member] = members
        pool = member.pool if "pool=" in selector else self.pool
        stream = member.stream if member.layer else member.stream or self.stream
        return str(replace(member, stream=stream, pool=pool))


def load_preset(paper: str, selector: str) -> Preset:
    """Return a paper's preset for an embedding: the extractor's own, or the one for any.

    Parameters
    ----------
    paper : str
        Name of a paper's card that has presets.
    selector : str
        The embedding, as after ``-e``.

    Returns
    -------
    Preset
        As in the card.

    Raises
    ------
    ProbekitError
        If there is no such preset, it has nothing for this extractor, or its steps are invalid.
    """
    known = [name for name in cards.card_paths("reports") if cards.load_paper_card(name).presets]
    if paper not in known:
        raise unknown_name_error("preset", paper, known)
    presets = cards.load_paper_card(paper).presets
    names = [member.name for member in parse_selectors(selector)]
    preset = presets.get(names[0] if len(names) == 1 else "any", presets.get("any"))
    if preset is None:
        raise ProbekitError(
            f"--preset {paper}: no preset for {' + '.join(names)}; available: {', '.join(presets)}"
        )
    try:
        steps = transforms.check_steps(preset.steps)
    except DataError as error:
        raise DataError(f"--preset {paper}: {error}") from error
    return Preset(preset.probe, steps, preset.stream, tuple(preset.pool))


def apply_preset(paper: str, selector: str) -> tuple[str, Preset]:
    """Return a selector with the stream and pooling of a paper's preset, and the preset.

    Without a paper, the selector is returned as it is, with the default preset.
    """
    if not paper:
        return selector, Preset()
    preset = load_preset(paper, selector)
    return preset.apply(selector), preset
