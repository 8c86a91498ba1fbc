"""Where the embeddings for a paper come from: the cache, or recordings and weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from probekit import cards
from probekit.cache import embeddings
from probekit.cards.selector import EmbeddingSelector, parse, parse_joined
from probekit.errors import CacheError, ProbekitError
from probekit.extraction.extract import Progress, extract
from probekit.extractors import load
from probekit.extractors.weights import inventory, source
from probekit.probes.task_clips import resolve_clips


@dataclass
class Resources:
    """What is at hand to compute a paper's scores with.

    Attributes
    ----------
    cache : pathlib.Path
        The cache's folder.
    roots : dict of str to pathlib.Path
        Folders of tasks or datasets.
    weights : tuple of str
        ``NAME=PATH`` or ``NAME=random:SEED``.
    device : str
        Where networks run.
    begin, progress : callable, optional
        As for :func:`probekit.extract`.
    """

    cache: Path
    roots: Mapping[str, Path] = field(default_factory=dict)
    weights: Sequence[str] = ()
    device: str = "auto"
    begin: Callable[[str, int], None] | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self._made: dict[tuple[str, str], str] = {}  # fingerprints of what was extracted

    def root(self, task: str) -> Path | None:
        """Return the folder of a task: its own, or that of its dataset; None where none is given.

        Parameters
        ----------
        task : str
            A task's name.

        Returns
        -------
        pathlib.Path or None
            As given.
        """
        return self.roots.get(task) or self.roots.get(cards.load_task_card(task).dataset)

    def embedding(self, task: str, text: str, *, frames: bool = False) -> str:
        """Make sure that the embeddings of a task's clips are in the cache, as far as they can be.

        Where the task's folder is given, what is missing is extracted.

        Parameters
        ----------
        task : str
            A task's name.
        text : str
            As after ``-e``.
        frames : bool
            Whether frames are needed, too.

        Returns
        -------
        str
            The same embeddings, by fingerprint where that is known.

        Raises
        ------
        ProbekitError
            If they are neither there nor can be made.
        """
        return "+".join(self._one(task, one, frames) for one in parse_joined(text))

    def _one(self, task: str, one: EmbeddingSelector, frames: bool) -> str:
        dataset, root = cards.load_task_card(task).dataset, self.root(task)
        if root is None:
            return str(self._pinned(one))
        key = (f"{root} {task}", str(replace(one, pool=("mean",))))
        if key not in self._made:
            try:
                [done] = extract(
                    [str(replace(one, pool=("mean",)))],
                    task=task,
                    root=root,
                    cache=self.cache,
                    weights=self.weights_of(one.name),
                    frames=frames,
                    device=self.device,
                    begin=self.begin,
                    progress=self.progress,
                )
                self._made[key] = done.fingerprint[:8]
            except ProbekitError:
                try:  # what cannot be made now may have been made before
                    found = embeddings.find(self.cache, one, dataset)
                except CacheError:
                    found = None
                if found is None:
                    raise
                self._made[key] = found.layout.fingerprint[:8]
        return str(replace(one, fingerprint=self._made[key]))

    def _pinned(self, one: EmbeddingSelector) -> EmbeddingSelector:
        """Return an embedding with its fingerprint, where the weights for it are named."""
        given = self.weights_of(one.name)
        if one.fingerprint or not given:
            return one
        spec = load.resolve_spec(str(one), weights=load.parse_overrides(given))
        return replace(one, fingerprint=spec.fingerprint[:8])

    def _is_cached(self, task: str, one: EmbeddingSelector) -> bool:
        """Tell whether there are embeddings that fit, one or several."""
        dataset = cards.load_task_card(task).dataset
        return any(
            e.layout.dataset == dataset
            and e.layout.extractor == one.name
            and embeddings.matches(e, one)
            for e in embeddings.list_embeddings(self.cache)
        )

    def weights_of(self, extractor: str) -> tuple[str, ...]:
        """Return the weights that are named for an extractor.

        Parameters
        ----------
        extractor : str
            As after ``-e``.

        Returns
        -------
        tuple of str
            As given.
        """
        name = extractor.partition(":")[0]
        return tuple(w for w in self.weights if w.partition("=")[0].partition(".")[0] == name)

    def _has_audio(self, task: str) -> bool:
        """Tell whether it is known where the recordings of a task are."""
        try:
            root = resolve_clips(task, self.cache, self.root(task))[1].root
        except ProbekitError:
            return False
        return root is not None and root.is_dir()

    def missing(self, task: str, text: str, *, first: str = "", heard: bool = False) -> list[str]:
        """Say what a score needs that is not here, and how to get it; nothing if it is all here.

        Parameters
        ----------
        task : str
            A task's name.
        text : str
            As after ``-e``; may be empty.
        first : str
            An extractor whose weights are needed, not its embeddings.
        heard : bool
            Whether the recordings are needed, not only their embeddings.

        Returns
        -------
        list of str
            A sentence for the data and one for each weights file; nothing is downloaded.
        """
        said: list[str] = []
        own = parse_joined(text) if text else []
        there = all(self._is_cached(task, one) for one in own)
        if self.root(task) is None and (not there or (heard and not self._has_audio(task))):
            said.append(
                f"data: name the folder with --root {task}=DIR. {cards.load_task_card(task).download}"
            )
        for one in [*([] if there else own), *([parse(first)] if first else [])]:
            said += self._lacking_weights(one)
        return list(dict.fromkeys(" ".join(text.split()) for text in said))

    def _lacking_weights(self, one: EmbeddingSelector) -> list[str]:
        """Say which weights files of an extractor are not here, and how to get them."""
        if one.name not in cards.card_paths("extractors"):
            return []
        given = load.parse_overrides(self.weights_of(one.name))
        card, said = cards.load_extractor_card(one.name), []
        streams = (one.stream or card.default_stream,)
        needed = source.required_weights(
            card, load.parse_parameters(card, one.params), streams
        ).values()
        for held in inventory.held([one.name]):
            role, facts = held.role.partition("/")[0], card.weights[held.role]
            if held.present or f"{one.name}.{role}" in given or facts not in needed:
                continue
            where = f"from {facts.url}, as {held.path}" if facts.url else facts.missing
            option = one.name if role == "main" else f"{one.name}.{role}"
            said.append(
                f"weights: {held.path.name} of {one.name}, --weights {option}=FILE. {where}"
            )
        return said
