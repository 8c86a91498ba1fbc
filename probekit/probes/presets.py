"""Presets: what a paper does to the embeddings of an extractor, and with which probe.

They stand in the papers' cards (``reports/*.yaml``, field ``presets``), one for each extractor, and
``any`` for all others.
"""

from dataclasses import dataclass, replace

from probekit import cards
from probekit.cards.selector import parse_joined
from probekit.errors import ProbekitError
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
        What is done to features first; see :mod:`probekit.probes.transforms`.
    stream : str
        Which stream; empty for the extractor's default one.
    pool : tuple of str
        How frames are pooled.
    """

    probe: str = "linear"
    steps: tuple[str, ...] = ("standardize",)
    stream: str = ""
    pool: tuple[str, ...] = ("mean",)

    def apply(self, text: str) -> str:
        """Return an embedding as after ``-e``, with stream and pooling where it names none."""
        found = parse_joined(text)
        if len(found) > 1:
            return text
        [one] = found
        pool = one.pool if "pool=" in text else self.pool
        return str(replace(one, stream=one.stream or self.stream, pool=pool))


def load_preset(preset: str, text: str) -> Preset:
    """Return the recipe of a paper for an extractor.

    Parameters
    ----------
    preset : str
        The name of a paper's card that has presets.
    text : str
        The embedding, as after ``-e``.

    Returns
    -------
    Recipe
        The extractor's own, or the one for any.

    Raises
    ------
    ProbekitError
        If there is no such preset, or it has nothing for this extractor.
    """
    known = [name for name in cards.card_paths("reports") if cards.load_paper_card(name).presets]
    if preset not in known:
        raise unknown_name_error("preset", preset, known)
    presets = cards.load_paper_card(preset).presets
    names = [one.name for one in parse_joined(text)]
    own = presets.get(names[0] if len(names) == 1 else "any", presets.get("any"))
    if own is None:
        raise ProbekitError(
            f"--preset {preset}: says nothing about {' + '.join(names)}, only about "
            f"{', '.join(presets)}"
        )
    return Preset(own.probe, transforms.check_steps(own.steps), own.stream, tuple(own.pool))
