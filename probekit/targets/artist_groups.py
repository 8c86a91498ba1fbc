"""Artist group factors (Kim et al., 2018): a soft distribution over groups for every clip.

Frames of the clips are words of a dictionary by K-means; an artist is a bag of words; latent
Dirichlet allocation describes each artist by proportions of topics, the groups, which are the
target of all clips of the artist. In place of artists stands any grouping: speakers, recordings,
sites.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import LatentDirichletAllocation

from probekit._typing import Array
from probekit.cache.embeddings import find_embeddings
from probekit.cards import TaskCard
from probekit.cards.selector import parse_selector
from probekit.data.manifest import Manifest
from probekit.errors import DataError, ProbekitError
from probekit.targets import clip_columns, clip_features
from probekit.targets.clip_features import FrameSource
from probekit.targets.target_file import Targets
from probekit.tasks.splits import Split, make_splits
from probekit.tasks.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import count_of

Progress = Callable[[str, int, int, str], None]
"""Called with what is counted, how much is done, of how much, and a note."""

_BATCH_CLIPS = 256  # clips of one update of the dictionary
_LABELS = "labels"


@dataclass(frozen=True)
class GroupConfig:
    """How groups are made.

    Attributes
    ----------
    source : str
        ``mfcc``, ``d`` (their differences), ``essentia``, ``labels`` (the task's),
        ``labels:COLUMN`` (of a table), or a selector of cached embeddings as after ``-e``.
    group_column : str
        As for :func:`probekit.targets.clip_columns.read_groups`.
    clips : {"train", "all"}
        Clips that dictionary, bags and topics are made of. ``all`` includes test clips.
    words : int >= 2
        Words of the dictionary; not used for labels.
    topics : int >= 2
        Topics, the length of the targets.
    iterations : int >= 1
        Passes of the topic model over all groups.
    seed : int >= 0
        Of dictionary and topic model.
    fold : str
        Fold whose training clips are used, where a task has several.
    """

    source: str = "mfcc"
    group_column: str = "group"
    clips: Literal["train", "all"] = "train"
    words: int = 2048
    topics: int = 40
    iterations: int = 10
    seed: int = 0
    fold: str = ""

    def check(self) -> None:
        """Raise a ProbekitError if a setting is unknown or out of range."""
        if self.clips not in ("train", "all"):
            raise unknown_name_error("choice of --clips", self.clips, ("train", "all"))
        for name, value, least in (
            ("words", self.words, 2),
            ("topics", self.topics, 2),
            ("iterations", self.iterations, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise ProbekitError(f"--{name} must be >= {least}, got {value}")


@dataclass(frozen=True)
class ArtistGroups:
    """Targets, and the topic model behind them.

    Attributes
    ----------
    targets : Targets
        One distribution for every clip of a group.
    group_names : tuple of str
        Groups with training clips, sorted; then those of validation and test clips alone.
    clip_counts : numpy.ndarray of int, shape (groups,)
        Clips of each that were counted.
    bags : numpy.ndarray, shape (groups, words)
        Mean counts of words in a clip.
    proportions : numpy.ndarray, shape (groups, topics)
        Proportions of topics, with the sum 1.
    topic_words : numpy.ndarray, shape (topics, words)
        Probability of each word in a topic.
    word_names : tuple of str
        Labels, or numbers of dictionary words.
    notes : tuple of str
        What is odd about the data.
    """

    targets: Targets
    group_names: tuple[str, ...]
    clip_counts: Array
    bags: Array
    proportions: Array
    topic_words: Array
    word_names: tuple[str, ...]
    notes: tuple[str, ...]


def make_artist_groups(
    task: str,
    config: GroupConfig | None = None,
    *,
    table: str | Path | None = None,
    cache: Path,
    root: str | Path | None = None,
    progress: Progress | None = None,
) -> ArtistGroups:
    """Make targets from groups of a task's clips.

    Clips are read one after the other, twice: for the dictionary, and to count its words, so that
    memory does not grow with the dataset.

    Parameters
    ----------
    task : str
        A task's name, card or table, or the name of an extracted dataset.
    config : GroupConfig, optional
        Features, groups and sizes.
    table : str or pathlib.Path, optional
        Table of groups or labels by clip, as for
        :func:`probekit.targets.clip_columns.read_groups`.
    cache : pathlib.Path
        Cache root.
    root : str or pathlib.Path, optional
        The dataset's folder.
    progress : callable, optional
        Called with what is counted, how much is done, of how much, and a note.

    Raises
    ------
    ProbekitError
        If a setting, a column or data are missing, there is one group only, or there are fewer
        frames than words.

    See Also
    --------
    probekit.targets.target_file.write_targets : Writes the targets.

    Examples
    --------
    >>> from pathlib import Path
    >>> from probekit.tasks.standin.corpus import write_corpus
    >>> clips = write_corpus(Path("corpus"), clips=20)
    >>> config = GroupConfig(words=16, topics=3, fold="1", group_column="recording")
    >>> made = make_artist_groups("synth", config, cache=Path("cache"), root="corpus")
    >>> made.targets.values.shape, made.targets.kind
    ((20, 3), 'distributions')
    """
    config = config or GroupConfig()
    config.check()
    tick = progress or (lambda what, done, total, note: None)
    card, clips = resolve_clips(task, cache, root)
    groups = np.array(clip_columns.read_groups(clips, config.group_column, table))
    split_names = _split_names(card, clips, config)
    is_used = np.ones(len(clips), bool) if config.clips == "all" else split_names == "train"
    rows = np.flatnonzero(is_used & (groups != ""))
    names = sorted({str(name) for name in groups[rows]})
    if len(names) < 2:
        raise DataError(
            f"{clips.name}: topics need at least two groups, but {len(rows):,} clips have "
            f"{'only ' + repr(names[0]) if names else 'none'} in column {config.group_column!r}"
        )
    # groups of validation and test clips alone: described by the topics of the training groups
    others = np.flatnonzero((split_names != "") & (groups != "") & ~np.isin(groups, names))
    names += sorted({str(name) for name in groups[others]})
    n_fitted = len(names) - len(set(groups[others]))
    index = {name: k for k, name in enumerate(names)}
    members = np.array([index.get(name, -1) for name in groups])
    if config.source.partition(":")[0] == _LABELS:
        column = config.source.partition(":")[2]
        labels = clip_columns.read_labels(clips, column, table)
        counted = _count_labels(labels, rows, others, members, len(names))
        facts: dict[str, Any] = {"from": config.source}
    else:
        source = _open_source(card, clips, config, rows, cache)
        counted = _count_words(source, clips, rows, others, members, len(names), config, tick)
        facts = source.describe()
    bags = counted.counts / np.maximum(counted.clip_counts, 1)[:, None]
    tick("topics", 0, 1, "")
    model = LatentDirichletAllocation(
        n_components=config.topics,
        max_iter=config.iterations,
        learning_method="batch",
        random_state=config.seed,
    )
    proportions = model.fit_transform(bags[:n_fitted])
    if len(others):
        proportions = np.concatenate([proportions, model.transform(bags[n_fitted:])])
    proportions /= proportions.sum(1, keepdims=True)
    tick("topics", 1, 1, "")
    fitted_counts = counted.clip_counts[:n_fitted]
    notes = [*counted.notes, *_describe_groups(config, fitted_counts, groups, is_used)]
    if len(others):
        notes.append(
            f"{count_of(len(others), 'validation or test clip')} of "
            f"{count_of(len(names) - n_fitted, 'group')} without training clips: described by the "
            "topics of the others, for scores only"
        )
    with_target = np.flatnonzero(members >= 0)
    provenance = {
        "method": "artist groups",
        "task": card.name,
        "manifest": clips.digest(),
        "features": facts,
        "group_column": config.group_column,
        "clips": config.clips,
        "fold": config.fold,
        "groups": n_fitted,
        "words": len(counted.word_names),
        "topics": config.topics,
        "iterations": config.iterations,
        "seed": config.seed,
        "notes": notes,
    }
    targets = Targets(
        clip_ids=np.array(clips.clip_ids, str)[with_target],
        values=proportions[members[with_target]].astype(np.float32),
        kind="distributions",
        names=tuple(f"topic {k + 1}" for k in range(config.topics)),
        split=split_names[with_target] if (split_names != "train").any() else None,
        groups=groups[with_target],
        provenance=provenance,
    )
    return ArtistGroups(
        targets=targets,
        group_names=tuple(names),
        clip_counts=counted.clip_counts,
        bags=bags,
        proportions=proportions,
        topic_words=model.components_ / model.components_.sum(1, keepdims=True),
        word_names=counted.word_names,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Counts:
    """Words by group.

    Attributes
    ----------
    counts : numpy.ndarray, shape (groups, words)
        Sums over the clips of each group.
    clip_counts : numpy.ndarray of int, shape (groups,)
        Clips that have features.
    word_names : tuple of str
        One a word.
    notes : tuple of str
        What is odd.
    """

    counts: Array
    clip_counts: Array
    word_names: tuple[str, ...]
    notes: tuple[str, ...]


def _split_names(card: TaskCard, clips: Manifest, config: GroupConfig) -> Array:
    """Return train, valid or test for each clip, by the task's protocol."""
    splits = make_splits(card.protocol, clips)
    by_name = {split.name: split for split in splits}
    if config.fold and config.fold not in by_name:
        raise unknown_name_error(f"fold of {card.name}", config.fold, by_name)
    if len(splits) > 1 and not config.fold and config.clips != "all":
        raise ProbekitError(
            f"{card.name} has several folds, whose training clips differ: choose one with --fold "
            f"({', '.join(by_name)}), and train on it alone; or --clips all, with test clips"
        )
    names = np.full(len(clips), "train", dtype="<U5")
    if config.fold or len(splits) == 1:
        split: Split = by_name[config.fold] if config.fold else splits[0]
        names[:] = ""
        names[split.train], names[split.valid], names[split.test] = "train", "valid", "test"
    return names


def _open_source(
    card: TaskCard, clips: Manifest, config: GroupConfig, rows: Array, cache: Path
) -> FrameSource:
    """Return the frames that words are made of."""
    if config.source in ("mfcc", "d"):
        return clip_features.Mfcc(clips, config.source == "d")
    if config.source in ("essentia", "e"):
        return clip_features.Essentia(clips, [int(row) for row in rows])
    selector = parse_selector(config.source)
    embeddings = find_embeddings(cache, selector, card.dataset)
    if selector.stream and selector.stream not in embeddings.stream_info:
        raise unknown_name_error(
            f"stream of {selector.name} in the cache", selector.stream, embeddings.stream_info
        )
    return clip_features.CachedFrames(clips, embeddings, selector.stream)


def _count_labels(
    labels: Sequence[tuple[str, ...]], rows: Array, others: Array, members: Array, n_groups: int
) -> _Counts:
    """Count labels by group; those of other clips as far as they are among the words."""
    words = sorted({label for row in rows for label in labels[row]})
    columns = {word: k for k, word in enumerate(words)}
    counts, clip_counts = np.zeros((n_groups, len(words))), np.zeros(n_groups, np.int64)
    for row in [*rows, *others]:
        clip_counts[members[row]] += bool(labels[row])
        for label in labels[row]:
            if label in columns:
                counts[members[row], columns[label]] += 1
    unlabeled = sum(not labels[row] for row in rows)
    notes = [f"words are {count_of(len(words), 'label')}"]
    if unlabeled:
        notes.append(f"{unlabeled:,} of {count_of(len(rows), 'clip')} without a label")
    return _Counts(counts, clip_counts, tuple(words), tuple(notes))


def _count_words(
    source: FrameSource,
    clips: Manifest,
    rows: Array,
    others: Array,
    members: Array,
    n_groups: int,
    config: GroupConfig,
    tick: Progress,
) -> _Counts:
    """Make a dictionary of frames, and count its words by group, also in other clips."""
    order = np.array(sorted(rows, key=lambda row: clips.clip_ids[row]))  # of the dictionary
    dictionary = MiniBatchKMeans(config.words, n_init=1, random_state=config.seed)
    n_frames, waiting = 0, np.zeros((0, 0), np.float32)
    for block in _blocks(source.stream(order.tolist()), len(order), "dictionary, clips", tick):
        n_frames += len(block)
        waiting = np.concatenate([waiting, block]) if len(waiting) else block
        if len(waiting) >= config.words:
            dictionary.partial_fit(waiting)
            waiting = np.zeros((0, 0), np.float32)
    failures = dict(source.failures)
    if not n_frames:
        raise clip_features.all_failed_error(clips.name, failures)
    if n_frames < config.words:
        raise DataError(
            f"{clips.name}: {n_frames:,} frames of {len(order):,} clips are fewer than the "
            f"{config.words:,} words of the dictionary; choose fewer with --words"
        )
    if len(waiting):
        dictionary.partial_fit(waiting)
    counts, clip_counts = np.zeros((n_groups, config.words)), np.zeros(n_groups, np.int64)
    everything = np.concatenate([order, others])
    for done, (row, frames) in enumerate(source.stream(everything.tolist()), 1):
        words = dictionary.predict(np.ascontiguousarray(frames, np.float32))
        counts[members[row]] += np.bincount(words, minlength=config.words)
        clip_counts[members[row]] += 1
        tick("words, clips", done, len(everything), "")
    notes = [count_of(n_frames, "frame")]
    if failures:
        clip_id, reason = next(iter(failures.items()))
        notes.append(
            f"{len(failures):,} of {count_of(len(order), 'clip')} without features, such as "
            f"{clip_id!r}: {reason}"
        )
    empty = int((counts[np.unique(members[rows])].sum(0) == 0).sum())
    if empty:
        notes.append(f"{empty:,} of {config.words:,} words of the dictionary without a frame")
    names = tuple(f"word {k + 1}" for k in range(config.words))
    return _Counts(counts, clip_counts, names, tuple(notes))


def _blocks(
    frames: Iterator[tuple[int, Array]], total: int, what: str, tick: Progress
) -> Iterator[Array]:
    """Yield the frames of every 256 clips together."""
    block: list[Array] = []
    for done, (_, each) in enumerate(frames, 1):
        block.append(np.asarray(each, np.float32))
        tick(what, done, total, "")
        if len(block) == _BATCH_CLIPS:
            yield np.concatenate(block)
            block = []
    if block:
        yield np.concatenate(block)


def _describe_groups(
    config: GroupConfig, clip_counts: Array, groups: Array, is_used: Array
) -> list[str]:
    """Return notes about groups of training clips, and clips that have no target."""
    notes = [count_of(len(clip_counts), "group")]
    single, without = int((clip_counts == 1).sum()), int((clip_counts == 0).sum())
    if single:
        notes.append(f"{count_of(single, 'group')} of one clip: the target is that clip's")
    if without:
        notes.append(f"{count_of(without, 'group')} without features: the target is uniform")
    if len(clip_counts) < config.topics:
        notes.append(f"fewer groups than the {config.topics} topics")
    unnamed = int((is_used & (groups == "")).sum())
    if unnamed:
        notes.append(f"no target for {count_of(unnamed, 'clip')} without a group")
    if config.clips == "all":
        what = ", and of test labels" if config.source.startswith(_LABELS) else ""
        notes.append(f"made of all clips, as published: test clips are part of the targets{what}")
    return notes


def most_likely_words(groups: ArtistGroups, topic: int, count: int = 10) -> list[tuple[str, float]]:
    """Return the words with the highest probability in a topic, with it."""
    order = np.argsort(-groups.topic_words[topic], kind="stable")[:count]
    return [(groups.word_names[k], float(groups.topic_words[topic, k])) for k in order]


def typical_groups(groups: ArtistGroups, topic: int, count: int = 10) -> list[tuple[str, float]]:
    """Return the groups with the highest proportion of a topic, with it."""
    order = np.argsort(-groups.proportions[:, topic], kind="stable")[:count]
    return [(groups.group_names[k], float(groups.proportions[k, topic])) for k in order]
