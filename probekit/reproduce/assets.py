"""Assets of a reproduction: cached embeddings, recordings and weights, and what is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from probekit import cards
from probekit.cache import embeddings
from probekit.cards.selector import EmbeddingSelector, parse_selector, parse_selectors
from probekit.errors import CacheError, ProbekitError
from probekit.extraction.extract import Progress, extract
from probekit.extractors import load
from probekit.extractors.students.card import find_official_weights
from probekit.extractors.weights import inventory, source, trained_files
from probekit.tasks.task_clips import resolve_clips


@dataclass
class Assets:
    """Data and weights to compute a paper's scores from.

    Attributes
    ----------
    cache : pathlib.Path
        The cache root.
    roots : dict of str to pathlib.Path
        Folders of tasks or datasets.
    weights : tuple of str
        ``NAME=PATH`` or ``NAME=random:SEED``.
    device : str
        Where networks run.
    begin, progress : callable, optional
        As for :func:`probekit.extract`.
    reports : pathlib.Path or None
        Reports folder where trained networks are looked up first.
    """

    cache: Path
    roots: Mapping[str, Path] = field(default_factory=dict)
    weights: Sequence[str] = ()
    device: str = "auto"
    begin: Callable[[str, int], None] | None = None
    progress: Progress | None = None
    reports: Path | None = None

    def __post_init__(self) -> None:
        self._fingerprints: dict[tuple[str, str], str] = {}  # of what was extracted
        self._trained: dict[str, tuple[str, ...]] = {}

    def root(self, task: str) -> Path | None:
        """Return the folder of a task or of its dataset; None if unknown."""
        return self.roots.get(task) or self.roots.get(cards.load_task_card(task).dataset)

    def embedding(self, task: str, text: str, *, frames: bool = False) -> str:
        """Extract what is missing of embeddings of a task, if its folder is known.

        Parameters
        ----------
        task : str
            Name of the task.
        text : str
            Selectors as after ``-e``.
        frames : bool
            Whether frames are needed.

        Returns
        -------
        str
            Selectors of the same embeddings, by fingerprint where that is known.

        Raises
        ------
        ProbekitError
            If they are not in the cache, and cannot be extracted.
        """
        return "+".join(self._extract(task, selector, frames) for selector in parse_selectors(text))

    def weights_of(self, extractor: str) -> tuple[str, ...]:
        """Return those of :attr:`weights` that are of an extractor, a name or selector."""
        name = extractor.partition(":")[0].partition("@")[0]
        named = tuple(w for w in self.weights if w.partition("=")[0].partition(".")[0] == name)
        return named or self._trained_weights(name)

    def _trained_weights(self, name: str) -> tuple[str, ...]:
        """Return the weights of a network that was trained here, where the official are missing."""
        if name not in self._trained:
            self._trained[name] = ()
            path = find_official_weights(name, self.reports)
            statuses = inventory.list_weights([name]) if path else []
            if not any(status.present for status in statuses if status.role == source.MAIN):
                self._trained[name] = (f"{name}={path}",) if path else ()
        return self._trained[name]

    def missing(self, task: str, text: str, *, init: str = "", audio: bool = False) -> list[str]:
        """Say what a score needs that is missing, and how to get it; nothing is downloaded.

        Parameters
        ----------
        task : str
            Name of the task.
        text : str
            Selectors as after ``-e``; may be empty.
        init : str
            An extractor of which only the weights are needed.
        audio : bool
            Whether recordings are needed as well as embeddings.

        Returns
        -------
        list of str
            A sentence for the data, and one per weights file; empty if nothing is missing.
        """
        messages: list[str] = []
        selectors = parse_selectors(text) if text else ()
        cached = all(self._is_cached(task, selector) for selector in selectors)
        if self.root(task) is None and (not cached or (audio and not self._has_audio(task))):
            download = cards.load_task_card(task).download
            messages.append(f"data: name the folder with --root {task}=DIR. {download}")
        networks = [*(() if cached else selectors), *([parse_selector(init)] if init else [])]
        for selector in networks:
            messages += self._missing_weights(selector)
        return list(dict.fromkeys(" ".join(message.split()) for message in messages))

    def _extract(self, task: str, selector: EmbeddingSelector, frames: bool) -> str:
        """Extract what is missing of one embedding, and return its selector."""
        dataset, root = cards.load_task_card(task).dataset, self.root(task)
        if root is None:
            return str(self._with_fingerprint(selector))
        name = str(replace(selector, pool=("mean",)))
        key = (f"{root} {task}", name)
        if key not in self._fingerprints:
            try:
                [summary] = extract(
                    [name],
                    task=task,
                    root=root,
                    cache=self.cache,
                    weights=self.weights_of(selector.name),
                    frames=frames,
                    device=self.device,
                    reports=self.reports,
                    begin=self.begin,
                    progress=self.progress,
                )
                self._fingerprints[key] = summary.fingerprint[:8]
            except ProbekitError as error:
                try:  # what cannot be extracted now may have been extracted before
                    cached = embeddings.find_embeddings(self.cache, selector, dataset)
                except CacheError:
                    raise error from None
                self._fingerprints[key] = cached.layout.fingerprint[:8]
        return str(replace(selector, fingerprint=self._fingerprints[key]))

    def _with_fingerprint(self, selector: EmbeddingSelector) -> EmbeddingSelector:
        """Return a selector with the fingerprint, if weights were named for its extractor."""
        weights = self.weights_of(selector.name)
        if selector.fingerprint or not weights:
            return selector
        overrides = source.parse_overrides(weights)
        spec = load.resolve_spec(str(selector), weights=overrides, reports=self.reports)
        return replace(selector, fingerprint=spec.fingerprint[:8])

    def _is_cached(self, task: str, selector: EmbeddingSelector) -> bool:
        """Tell whether embeddings match a selector, one or several."""
        dataset = cards.load_task_card(task).dataset
        return any(
            e.layout.dataset == dataset
            and e.layout.extractor == selector.name
            and embeddings.matches_selector(e, selector)
            for e in embeddings.list_embeddings(self.cache)
        )

    def _has_audio(self, task: str) -> bool:
        """Tell whether the folder of a task's recordings is known."""
        try:
            root = resolve_clips(task, self.cache, self.root(task))[1].root
        except ProbekitError:
            return False
        return root is not None and root.is_dir()

    def _missing_weights(self, selector: EmbeddingSelector) -> list[str]:
        """Say which weights files of an extractor are missing, and how to get them."""
        name = selector.name
        if name not in cards.card_paths("extractors"):
            return []
        card, messages = cards.load_extractor_card(name), []
        streams = (selector.stream or card.default_stream,)
        params = load.parse_parameters(card, selector.params)
        files = source.required_weights(card, params, streams)
        overrides = source.parse_overrides(self.weights_of(name))
        if overrides:
            overrides = trained_files.with_bundled_roles(card, overrides, files)
        required = files.values()
        for status in inventory.list_weights([name]):
            role, facts = status.role.partition("/")[0], card.weights[status.role]
            if status.present or f"{name}.{role}" in overrides or facts not in required:
                continue
            origin = f"from {facts.url}, as {status.path}" if facts.url else facts.missing
            option = name if role == "main" else f"{name}.{role}"
            messages.append(
                f"weights: {status.path.name} of {name}, --weights {option}=FILE. {origin}"
            )
        return messages
