"""Networks of kim2018: trained on combinations of targets, extracted, and read by an MLP.

A target is a letter: ``g`` are the task's labels; ``s``, ``e``, ``d`` and ``m`` are artist groups
from sub-genres, Essentia's statistics, differences of MFCC, and MFCC. A combination of letters is
learned in one of three ways: ``stn``, a network for each; ``mtn``, one network with a branch for
each; ``wstn``, one network for ``g`` alone that has as many parameters as an ``mtn``.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from probekit._typing import Array
from probekit.analysis.combinations import shared_notes
from probekit.data.manifest import Manifest
from probekit.errors import DataError, ProbekitError
from probekit.extraction.extract import extract
from probekit.parallel.pool import parallel_map
from probekit.probes.evaluate import evaluate
from probekit.reproduce.outcomes import Outcomes
from probekit.scores import store
from probekit.scores.predictions import load_predictions
from probekit.scores.store import Result
from probekit.targets.target_file import read_targets, write_targets
from probekit.tasks.task_clips import resolve_clips

LETTERS = "gsedm"
SOURCES = {"m": "mfcc", "d": "d", "e": "essentia", "s": "labels:track.genres"}
Sharing = Literal["stn", "mtn", "wstn"]
EpochProgress = Callable[[str, int, int, str], None]

Combination = tuple[str, str]
"""Letters of targets, and how they are learned."""

_LABELS = "g"
_TABLE = "fma_metadata/tracks.csv"
_PAPER_EPOCHS = 200  # a target
_LEAST_PROBABILITY = 1e-8


def list_combinations(letters: str = LETTERS) -> list[str]:
    """Return all combinations of targets, of one letter first."""
    return [
        "".join(each)
        for count in range(1, len(letters) + 1)
        for each in combinations(letters, count)
    ]


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes and lengths; the defaults are the paper's.

    Attributes
    ----------
    width : int >= 16
        Width of an ``stn`` and of a branch.
    words, topics : int >= 2
        Of artist groups.
    epochs : int >= 1
        Of training, a target.
    batch : int >= 2
        Clips per step.
    crop : float > 0 or None
        Length of a segment in s; None for 1 s.
    draw : {"epoch", "step"}
        How often the target of an ``mtn`` is drawn.
    probe : str
        Probe of the features.
    seed : int >= 0
        Of the networks; groups and probe have seed 0.
    """

    width: int = 256
    words: int = 2048
    topics: int = 40
    epochs: int = _PAPER_EPOCHS
    batch: int = 64
    crop: float | None = None
    draw: Literal["epoch", "step"] = "epoch"
    probe: str = "mlp-segments"
    seed: int = 0


def _ignore(text: str) -> None:
    """Do nothing with the description of a step."""


REHEARSED = NetworkSettings(
    width=16, words=16, topics=4, epochs=1, batch=8, probe="mlp-segments:epochs=2,hidden=16"
)
"""Sizes that take seconds."""


@dataclass
class ArtistNetworks:
    """Networks of a task by combination; each is trained once, and what is stored is used again.

    Attributes
    ----------
    task : str
        Name, card or table of a task with one split.
    cache, reports : pathlib.Path
        Cache root and results folder; target files are written to the latter.
    root : pathlib.Path or None
        The dataset's folder.
    settings : NetworkSettings
        Sizes and lengths.
    sources : mapping of str to str
        What the groups of each letter are made of, as after ``--from``.
    stand_ins : mapping of str to str
        Sources of letters whose own is missing, in a rehearsal.
    table : pathlib.Path or None
        Table of labels and groups by clip, as after ``--table``; by default FMA's in ``root``.
    group_column : str
        As after ``--group-column``.
    device : str
        Where networks run.
    report_step : callable
        Called with a description of each step.
    progress : callable, optional
        Called while a network is trained: its name, epochs done, epochs at most, numbers.
    """

    task: str
    cache: Path
    reports: Path
    root: Path | None = None
    settings: NetworkSettings = NetworkSettings()
    sources: Mapping[str, str] = field(default_factory=lambda: dict(SOURCES))
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    table: Path | None = None
    group_column: str = "group"
    device: str = "auto"
    report_step: Callable[[str], None] = _ignore
    progress: EpochProgress | None = None

    def __post_init__(self) -> None:
        self._outcomes: Outcomes[Any] = Outcomes()
        self._replaced: dict[str, str] = {}  # letters whose groups are made of a stand-in

    @cached_property
    def _clips(self) -> Manifest:
        """The task's clips."""
        return resolve_clips(self.task, self.cache, self.root)[1]

    def evaluate(self, letters: str, sharing: Sharing) -> Result:
        """Return the result of a probe on the features of a combination's networks.

        Parameters
        ----------
        letters : str
            Targets, for example ``"gse"``; for ``wstn`` those whose network it is to match.
        sharing : {"stn", "mtn", "wstn"}
            How they are learned.

        Raises
        ------
        ProbekitError
            If a network cannot be trained or read; the same again if it is requested again.
        """
        if not letters or set(letters) - {_LABELS, *self.sources}:
            raise ProbekitError(f"targets must be of {LETTERS}, got {letters!r}")
        return self._outcomes.get(
            ("evaluate", letters, sharing), lambda: self._evaluate(letters, sharing)
        )

    def prepare(
        self, combinations: Sequence[Combination], jobs: int = 1, dask: str | None = None
    ) -> None:
        """Train the networks of combinations and evaluate them, several at a time.

        What is finished is stored, so that :meth:`evaluate` only reads it. What fails leaves the
        others alone, and fails again when it is requested.

        Parameters
        ----------
        combinations : sequence of (str, str)
            Arguments of :meth:`evaluate`.
        jobs : int >= 1
            Number of processes.
        dask : str, optional
            Address of a Dask cluster, or ``"local"``, in place of processes.
        """
        for letter in sorted({*"".join(letters for letters, _ in combinations)} - {_LABELS}):
            with suppress(ProbekitError):
                self.target_file(letter)
        networks = list(
            dict.fromkeys(network for each in combinations for network in split_networks(*each))
        )
        worker = replace(self, report_step=_ignore, progress=None)
        stages = (
            ("networks", _embed_if_possible, networks),
            ("combinations", _evaluate_if_possible, list(dict.fromkeys(combinations))),
        )
        for name, function, items in stages:
            outcomes = parallel_map(partial(function, worker), items, jobs=jobs, dask=dask)
            for done, _ in enumerate(outcomes, 1):
                self.report_step(f"{name}: {done} of {len(items)}")

    def _evaluate(self, letters: str, sharing: Sharing) -> Result:
        names = [self._extract(*network) for network in split_networks(letters, sharing)]
        self.report_step(f"{letters}, {sharing}: {self.settings.probe}")
        results = evaluate(
            self.task,
            ["+".join(names)],
            cache=self.cache,
            root=self.root,
            reports=self.reports,
            preset="kim2018" if self.settings.probe == "mlp-segments" else "",
            probe="linear" if self.settings.probe == "mlp-segments" else self.settings.probe,
        )
        return self._with_notes(results[0], letters if sharing != "wstn" else _LABELS)

    def _with_notes(self, result: Result, letters: str) -> Result:
        """Return a result with log loss as the paper's code has it, and notes on what differs."""
        path = store.result_path(self.reports, result["task"], result["embedding"], result["run"])
        notes, settings = [], self.settings
        if settings.epochs != _PAPER_EPOCHS:
            word = "epoch" if settings.epochs == 1 else "epochs"
            notes.append(f"{settings.epochs} {word} a target, the paper has {_PAPER_EPOCHS}")
        if settings.width != NetworkSettings.width:
            notes.append(f"width {settings.width} in place of {NetworkSettings.width}")
        for letter in letters:
            source = self._replaced.get(letter)
            if source:
                notes.append(f"stand-in data: {letter} from {source}, not {self.sources[letter]}")
        changed: dict[str, Any] = {"provenance": [*result["provenance"], *notes]}
        if result["metric"] == "log-loss":
            predictions = load_predictions(path, result)
            changed["score"] = clipped_log_loss(predictions.scores, predictions.targets)
        return cast(Result, {**result, **changed})

    def _extract(self, letters: str, sharing: str) -> str:
        """Return the selector of a network whose frames are in the cache."""
        return str(
            self._outcomes.get(("extract", letters, sharing), lambda: self._embed(letters, sharing))
        )

    def _embed(self, letters: str, sharing: str) -> str:
        name = self._train(letters, sharing)
        [summary] = extract(
            [name],
            task=self.task,
            root=self.root,
            cache=self.cache,
            reports=self.reports,
            frames=True,
            device=self.device,
        )
        return f"{name}@{summary.fingerprint[:8]}"

    def _train(self, letters: str, sharing: str) -> str:
        """Train a network, and return its selector."""
        from probekit.training.train import train  # imports torch

        settings = self.settings
        if sharing == "wstn":
            network, letters = f"artist-net:width={self.wide_width(letters)}", _LABELS
        else:
            network = f"artist-net:width={settings.width}"
        files = [self.target_file(letter) for letter in letters if letter != _LABELS]
        targets = "" if _LABELS in letters else files.pop(0)
        self.report_step(f"{letters}, {sharing}: {network}")
        results = train(
            self.task,
            network,
            targets=targets,
            also=files,
            draw=settings.draw if files else "epoch",
            cache=self.cache,
            root=self.root,
            reports=self.reports,
            recipe="kim2018",
            epochs=None if settings.epochs == _PAPER_EPOCHS else settings.epochs * len(letters),
            batch=settings.batch,
            crop=settings.crop,
            seeds=settings.seed + 1,
            device=self.device,
            progress=self.progress,
        )
        return f"runs/{results[-1]['run'][:12]}"

    def wide_width(self, letters: str) -> int:
        """Return the width of a network for labels alone with the parameters of an ``mtn``."""
        from probekit.extractors.networks import artist_net

        classes = len(self._clips.class_names)
        outputs = tuple(classes if each == _LABELS else self.settings.topics for each in letters)
        total = artist_net.count_parameters(self.settings.width, outputs)
        return artist_net.match_width(total, classes)

    def target_file(self, letter: str) -> Path:
        """Return the target file of a letter; it is made once."""
        return Path(self._outcomes.get(("targets", letter), lambda: self._make_targets(letter)))

    def _make_targets(self, letter: str) -> Path:
        from probekit.targets.artist_groups import ArtistGroups, GroupConfig, make_artist_groups

        settings, source = self.settings, self.sources[letter]
        path = self.reports / "targets" / f"{letter}-{settings.words}-{settings.topics}.h5"
        if path.exists():
            facts = read_targets(path).provenance
            if facts.get("manifest") == self._clips.digest():
                origin = facts["features"]["from"]
                if letter in self.stand_ins and origin != source:
                    self._replaced[letter] = origin
                return path
        self.report_step(f"targets {letter}, from {source}")
        table = self.table
        if table is None and self.root is not None and (self.root / _TABLE).is_file():
            table = self.root / _TABLE
        uses_table = source.startswith("labels:") or self.group_column != "group"

        def make(source: str) -> ArtistGroups:
            return make_artist_groups(
                self.task,
                GroupConfig(
                    source, self.group_column, words=settings.words, topics=settings.topics
                ),
                table=table if uses_table else None,
                cache=self.cache,
                root=self.root,
            )

        try:
            groups = make(source)
        except DataError:
            if letter not in self.stand_ins:
                raise
            self._replaced[letter] = self.stand_ins[letter]
            groups = make(self.stand_ins[letter])
        write_targets(path, groups.targets)
        return path


def split_networks(letters: str, sharing: str) -> list[Combination]:
    """Return the networks of a combination: one for each letter, or a single one."""
    groups = list(letters) if sharing == "stn" else [letters]
    return [(group, "stn" if len(group) == 1 else sharing) for group in groups]


def _embed_if_possible(networks: ArtistNetworks, network: Combination) -> None:
    """Train and extract a network; errors are raised when its result is requested."""
    with suppress(ProbekitError):
        networks._extract(*network)


def _evaluate_if_possible(networks: ArtistNetworks, combination: Combination) -> None:
    """Evaluate a combination; errors are raised when its result is requested."""
    letters, sharing = combination
    with suppress(ProbekitError):
        networks.evaluate(letters, cast(Sharing, sharing))


def clipped_log_loss(scores: Array, targets: Array) -> float:
    """Return the mean of -log p of each clip's class, with p of at least 1e-8 as in the code."""
    probabilities = scores[np.arange(len(scores)), targets]
    return float(-np.log(np.maximum(probabilities, _LEAST_PROBABILITY)).mean())


def mean_result(results: Sequence[Result]) -> Result:
    """Return a result whose scores are means of those of several, without intervals."""
    first = results[0]
    common = shared_notes([result["provenance"] for result in results])

    def mean(values: Sequence[float | None]) -> float | None:
        defined = [value for value in values if value is not None]
        return float(np.mean(defined)) if len(defined) == len(results) else None

    changed = {
        "score": mean([result["score"] for result in results]),
        "interval": {**first["interval"], "low": None, "high": None},
        "also": {
            name: {
                **entry,
                "score": mean([r["also"][name]["score"] for r in results]),
                "low": None,
                "high": None,
            }
            for name, entry in first["also"].items()
        },
        "run": "",
        "provenance": [f"mean of {len(results)} combinations", *common],
    }
    return cast(Result, {**first, **changed})


@dataclass(frozen=True)
class Estimate:
    """Work of all networks.

    Attributes
    ----------
    networks : int
        Number of networks.
    target_epochs : int
        Epochs of all networks together.
    operations : float
        Floating-point operations of all trainings.
    """

    networks: int
    target_epochs: int
    operations: float

    def describe(self) -> str:
        """Return a line with hours on a GPU, by assumption of what it sustains."""
        fast, slow = (self.operations / speed / 3600 for speed in (20e12, 5e12))
        return (
            f"{self.networks} networks, {self.target_epochs:,} epochs, about "
            f"{self.operations:.1e} operations: {fast:.1f} to {slow:.1f} GPU hours where a GPU "
            "sustains 20 to 5 TFLOP/s (assumed, not measured), and the same time for spectra, "
            "extraction and the MLPs"
        )


_OPERATIONS = 2.4e8  # of a crop through an STN, forward and backward: 3 passes of 39 million MACs


def estimate_cost(clips: int, epochs: int = _PAPER_EPOCHS) -> Estimate:
    """Estimate the work of the networks of Tables 4 and 5: 5 STN, 26 MTN and 4 wSTN.

    Parameters
    ----------
    clips : int >= 1
        Training clips.
    epochs : int >= 1
        Epochs a target.
    """
    several = [each for each in list_combinations() if len(each) > 1]
    targets = len(LETTERS) + sum(map(len, several))
    # a network as large as n branches takes n times the operations of one
    wide = sum(range(2, len(LETTERS) + 1))
    return Estimate(
        networks=len(LETTERS) + len(several) + len(LETTERS) - 1,
        target_epochs=(targets + len(LETTERS) - 1) * epochs,
        operations=(targets + wide) * epochs * clips * _OPERATIONS,
    )
