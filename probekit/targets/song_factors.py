"""Factors of songs from listening logs, as targets of a network that reads their audio."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from probekit._typing import Array
from probekit.errors import DataError, ProbekitError
from probekit.targets import als, item_clips, ranking
from probekit.targets.als import CONFIDENCES, Factors
from probekit.targets.item_clips import ItemClips
from probekit.targets.logs import ListeningLogs, read_logs
from probekit.targets.target_file import Listeners, Targets
from probekit.tasks.standin.writer import is_standin
from probekit.utils.hashing import sha256
from probekit.utils.suggest import unknown_name_error

ALPHAS = {"log": 2.0, "linear": 40.0}
"""Weight of a count in each form of the confidence, by default."""

Progress = Callable[[str, int, int, str], None]
"""Called with what is counted, how much is done, of how much (0: not known), and a note."""

_SPLIT = (76.5, 8.5, 15.0)
_NDCG_CUTOFF = 100
_VANISHED = 0.999  # of the objective for factors of 0


@dataclass(frozen=True)
class FactorConfig:
    """How logs are factorized.

    Attributes
    ----------
    factors : int >= 1
        Length of the factors.
    regularization : tuple of float > 0
        λ; of several, the one with the highest nDCG at 100 of held-out cells is used.
    confidence : {"auto", "log", "linear"}
        ``1 + alpha · log(1 + count / epsilon)`` or ``1 + alpha · count``; ``auto`` is ``linear``
        where all counts are the same, as in playlists, else ``log``.
    alpha : float > 0 or None
        By default 2 for ``log``, 40 for ``linear``.
    epsilon : float > 0
        Of ``log``.
    sweeps : int >= 1
        Most sweeps over users and items.
    solver : {"exact", "implicit"}
        As for :func:`probekit.targets.als.factorize`.
    seed : int >= 0
        Of initial factors, split and held-out cells.
    user_items, item_users : int >= 0
        Users with fewer items, and items with fewer users, are left out, again and again.
    split : tuple of three float
        Percent of the songs for training, validation and test; artists are not divided.
    """

    factors: int = 40
    regularization: tuple[float, ...] = (10.0,)
    confidence: str = "auto"
    alpha: float | None = None
    epsilon: float = 1e-6
    sweeps: int = 30
    solver: str = "exact"
    seed: int = 0
    user_items: int = 20
    item_users: int = 20
    split: tuple[float, float, float] = _SPLIT

    def check(self) -> None:
        """Raise a ProbekitError if a setting is unknown or out of range."""
        if self.confidence not in ("auto", *CONFIDENCES):
            raise unknown_name_error("confidence", self.confidence, ("auto", *CONFIDENCES))
        if self.solver not in als.SOLVERS:
            raise unknown_name_error("solver", self.solver, als.SOLVERS)
        for name, value in (("factors", self.factors), ("sweeps", self.sweeps)):
            if value < 1:
                raise ProbekitError(f"--{name} must be >= 1, got {value}")
        for name, value in (("min-items", self.user_items), ("min-users", self.item_users)):
            if value < 0:
                raise ProbekitError(f"--{name} must be >= 0, got {value}")
        if not self.regularization or not all(0 < v < np.inf for v in self.regularization):
            raise ProbekitError(f"--regularization must be > 0, got {self.regularization}")
        if min(self.split) < 0 or not self.split[0] or abs(sum(self.split) - 100) > 1e-6:
            raise ProbekitError(
                "--split must be three percentages with the sum 100, the first above 0, got "
                f"{','.join(f'{share:g}' for share in self.split)}"
            )


@dataclass(frozen=True)
class Factorization:
    """Targets made from logs, and how.

    Attributes
    ----------
    targets : Targets
        Directions of the factors, with their lengths, and the listeners of held-out songs.
    counts : dict of str to int
        Numbers of users, items and pairs before and after the filters, and of songs without a
        target, by the reason.
    ndcg : dict of float to float
        nDCG at 100 of held-out cells by λ; empty without a choice.
    popularity_ndcg : float or None
        The same for the order of popularity.
    notes : tuple of str
        What was decided, and what to know about it.
    """

    targets: Targets
    counts: dict[str, int]
    ndcg: dict[float, float]
    popularity_ndcg: float | None
    notes: tuple[str, ...]


def make_targets(
    logs: str | Path,
    config: FactorConfig | None = None,
    *,
    items: str | Path | None = None,
    exclude: str | Path | None = None,
    columns: Sequence[str] = (),
    clip_ids: Collection[str] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Factorization:
    r"""Make targets from listening logs: factors by exact alternating least squares.

    Users are factorized without the validation and test songs, whose targets are one half step with
    these users, so that scores by user are those of songs never seen. Songs without listeners have
    no target.

    Parameters
    ----------
    logs : str or pathlib.Path
        As for :func:`probekit.targets.logs.read_logs`.
    config : FactorConfig, optional
        How they are factorized.
    items : str or pathlib.Path, optional
        Table of items, clips and artists, as for :func:`probekit.targets.item_clips.read_items`;
        by default the items are clips, each by itself.
    exclude : str or pathlib.Path, optional
        Items to leave out, as for :func:`probekit.targets.item_clips.read_exclusions`.
    columns : sequence of str
        As for :func:`probekit.targets.logs.read_logs`.
    clip_ids : collection of str, optional
        Clips that have audio; items without one of them help to fit users, but have no target.
    device : str
        Where the systems are solved.
    progress : callable, optional
        Called with what is counted, how much is done, of how much, and a note.

    Returns
    -------
    Factorization
        Targets, counts and notes.

    Raises
    ------
    ProbekitError
        If a setting is out of range, a file cannot be read, or too little remains.

    See Also
    --------
    probekit.targets.target_file.write_targets : Writes the targets.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> lines = [f"u{u},s{s},{1 + u % 3}" for u in range(60) for s in range(40)
    ...          if rng.random() < (0.6 if u % 2 == s % 2 else 0.1)]
    >>> with open("plays.csv", "w") as file:
    ...     _ = file.write("user,song,plays\n" + "\n".join(lines))
    >>> config = FactorConfig(factors=2, user_items=5, item_users=5)
    >>> made = make_targets("plays.csv", config)
    >>> made.targets.values.shape, np.unique(made.targets.split).tolist()
    ((40, 2), ['test', 'train', 'valid'])
    """
    config = config or FactorConfig()
    config.check()
    exclusions = item_clips.read_exclusions(exclude) if exclude is not None else []
    tick = progress or (lambda what, done, total, note: None)
    raw = read_logs(logs, columns, exclusions, lambda count: tick("pairs", count, 0, ""))
    counts = {"users in the logs": len(raw.users), "items in the logs": len(raw.items)}
    counts["pairs in the logs"] = raw.counts.nnz
    links = _link_clips(raw, items, clip_ids)
    filtered = raw.without_rare(config.user_items, config.item_users)
    counts |= {"users": len(filtered.users), "items": len(filtered.items)}
    counts["pairs"] = filtered.counts.nnz
    digest = raw.digest
    del raw  # the largest of all
    for name, ids in (("user", filtered.users), ("item", filtered.items)):
        if len(ids) < 2:
            raise DataError(
                f"{logs}: one {name} only is left by the filters; lower --min-items or --min-users"
            )
    has_clip = np.array([item in links.clips for item in filtered.items])
    if not has_clip.any():
        raise DataError(_no_clip_message(filtered, items, clip_ids))
    counts["items without audio"] = int((~has_clip).sum())
    artists = np.array([links.artists.get(item, "") for item in filtered.items])
    split = draw_split(np.where(has_clip, artists, ""), has_clip, config.split, config.seed)
    form, notes = _choose_confidence(filtered, config)
    alpha = config.alpha if config.alpha is not None else ALPHAS[form]
    is_fitted = ~np.isin(split, ("valid", "test"))
    fitted = filtered.counts[:, np.flatnonzero(is_fitted)]
    _check_factors(config.factors, fitted.shape, bool((~is_fitted).any()))

    def fit(cells: Any, regularization: float, what: str) -> Factors:
        return als.factorize(
            als.confidence(cells, form, alpha, config.epsilon),
            config.factors,
            regularization,
            sweeps=config.sweeps,
            seed=config.seed,
            device=device,
            solver=config.solver,
            progress=lambda done, total: tick(what, done, total, ""),
        )

    values, popularity_ndcg = {}, None
    regularization = config.regularization[0]
    if len(config.regularization) > 1:
        seen, held_out = ranking.hold_out_cells(fitted, config.seed)
        for value in config.regularization:
            trial = fit(seen, value, f"sweeps, lambda {value:g}")
            score = ranking.factor_scores(trial.users, trial.items)
            values[value] = float(ranking.ndcg(held_out, score, seen, _NDCG_CUTOFF).mean())
        regularization = max(values, key=lambda value: values[value])
        score = ranking.constant_scores(seen.getnnz(axis=0))
        popularity_ndcg = float(ranking.ndcg(held_out, score, seen, _NDCG_CUTOFF).mean())
        del seen, held_out
        notes.append(f"lambda {regularization:g} has the highest nDCG@100 of held-out cells")
        if regularization in (min(values), max(values)):
            notes.append("lambda is at the end of its range: a wider one may be better")
    factors = als.balance(fit(fitted, regularization, "sweeps"))
    if factors.losses[-1] > _VANISHED:
        raise DataError(
            f"--regularization {regularization:g} leaves nothing of the factors: the objective is "
            f"{factors.losses[-1]:.4f} of its value for factors of 0. Choose a smaller one"
        )
    vectors = np.zeros((len(filtered.items), config.factors))
    vectors[is_fitted] = factors.items
    rest = np.flatnonzero(~is_fitted)
    if len(rest):
        added = als.confidence(filtered.counts[:, rest], form, alpha, config.epsilon)
        vectors[rest] = als.fold_in(added, factors.users, regularization)
    lengths = np.linalg.norm(vectors, axis=1)
    rows = np.flatnonzero(has_clip & (lengths > 0))
    counts["songs with a target"] = len(rows)
    counts["songs without listeners"] = _count_cold(filtered, links) + int(
        (has_clip & (lengths == 0)).sum()
    )
    if not (artists != "").any():  # numpy 1 has no any() of text
        notes.append("artists are not known: songs of one artist may be on both sides of the split")
    provenance = _describe(logs, digest, items, exclude, config, form, alpha, regularization)
    provenance |= {"counts": counts, "objective": list(factors.losses)}
    if values:
        provenance["ndcg@100"] = {f"{value:g}": score for value, score in values.items()}
    names = tuple(f"factor {k + 1}" for k in range(config.factors))
    is_held_out = np.isin(split[rows], ("valid", "test"))
    targets = Targets(
        clip_ids=np.array([links.clips[item] for item in filtered.items[rows]], str),
        values=(vectors[rows] / lengths[rows, None]).astype(np.float32),
        names=names,
        lengths=lengths[rows],
        split=split[rows],
        groups=artists[rows],
        popularity=filtered.counts.getnnz(axis=0)[rows],
        listeners=_held_out_listeners(filtered, factors.users, rows, is_held_out),
        provenance=provenance,
    )
    return Factorization(targets, counts, values, popularity_ndcg, tuple(notes))


def draw_split(
    groups: Array, rows: Array, shares: Sequence[float] = _SPLIT, seed: int = 0
) -> Array:
    """Draw train, valid or test for some items, whole groups together.

    Parameters
    ----------
    groups : numpy.ndarray of str, shape (items,)
        Artist of each item; empty for an item that is by itself.
    rows : numpy.ndarray of bool, shape (items,)
        Items to divide; others get an empty text.
    shares : sequence of three float
        Percent of the items for each.
    seed : int >= 0
        Of the draw.

    Returns
    -------
    numpy.ndarray of str, shape (items,)
        Names of the splits.
    """
    chosen = np.flatnonzero(rows)
    alone = np.array([f"\0{row}" for row in chosen], dtype=object)
    keys = np.where(groups[chosen] == "", alone, groups[chosen]).astype(str)
    unique, members = np.unique(keys, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(unique))
    sizes = np.bincount(members)
    names = np.full(len(unique), "train", dtype="<U5")
    left = {
        "test": round(len(chosen) * shares[2] / 100),
        "valid": round(len(chosen) * shares[1] / 100),
    }
    for group in order:  # a group that is too large for what is left goes to training
        for name in ("test", "valid"):
            if 0 < sizes[group] <= left[name]:
                names[group] = name
                left[name] -= int(sizes[group])
                break
    split = np.full(len(groups), "", dtype="<U5")
    split[chosen] = names[members]
    return split


def _link_clips(
    logs: ListeningLogs, items: str | Path | None, clip_ids: Collection[str] | None
) -> ItemClips:
    """Return the clip of each item: by a table, or of the same id."""
    if items is not None:
        return item_clips.read_items(items, logs, clip_ids)
    known = None if clip_ids is None else set(clip_ids)
    clips = {str(i): str(i) for i in logs.items if known is None or str(i) in known}
    return ItemClips(clips, {})


def _no_clip_message(
    logs: ListeningLogs, items: str | Path | None, clip_ids: Collection[str] | None
) -> str:
    """Say that no item has audio, with examples of both ids."""
    text = f"none of {len(logs.items):,} items has a clip"
    if clip_ids is None:
        return f"{text} in {items}, among those with enough listeners"
    example = ", ".join(map(repr, sorted(clip_ids)[:2]))
    if set(map(str, logs.users)) & set(clip_ids):
        return f"{text}, but users have: are the columns of --logs in another order (--columns)?"
    hint = "" if items is not None else ". If these differ, name them with --items"
    return f"{text} with audio: items are like {str(logs.items[0])!r}, clips like {example}{hint}"


def _count_cold(filtered: ListeningLogs, links: ItemClips) -> int:
    """Return the number of items with a clip that the filters left out, or that nobody played."""
    return len(set(links.clips) - set(map(str, filtered.items)))


def _choose_confidence(logs: ListeningLogs, config: FactorConfig) -> tuple[str, list[str]]:
    """Return the form of the confidence, and a note where the counts decided."""
    equal = bool((logs.counts.data == logs.counts.data[0]).all())
    if config.confidence == "auto":
        if not equal:
            return "log", []
        return "linear", [f"all counts are {logs.counts.data[0]:g}: linear confidence"]
    if equal:
        return config.confidence, [f"all counts are {logs.counts.data[0]:g}: they tell no degree"]
    return config.confidence, []


def _check_factors(factors: int, shape: tuple[int, int], is_divided: bool) -> None:
    """Raise if there are fewer users or items than factors."""
    users, items = shape
    if factors > min(shape):
        part = " of the training songs" if is_divided else ""
        raise DataError(
            f"--factors must be at most the number of users ({users:,}) and of items ({items:,})"
            f"{part}, got {factors}; choose fewer, or lower --min-items and --min-users"
        )


def _held_out_listeners(
    logs: ListeningLogs, users: Array, rows: Array, is_held_out: Array
) -> Listeners | None:
    """Return the users with a profile, and their counts of validation and test songs."""
    if not is_held_out.any():
        return None
    plays = logs.counts[:, rows[is_held_out]].T.tocsr()
    has_profile = np.flatnonzero(users.any(axis=1) & (plays.getnnz(axis=0) > 0))
    plays = plays[:, has_profile]
    lengths = np.zeros(len(rows), np.int64)  # rows of training songs are empty
    lengths[is_held_out] = np.diff(plays.indptr)
    parts = (plays.data, plays.indices, np.concatenate([[0], lengths.cumsum()]))
    counts = scipy.sparse.csr_matrix(parts, (len(rows), len(has_profile)))
    return Listeners(users[has_profile].astype(np.float32), counts)


def _describe(
    logs: str | Path,
    digest: str,
    items: str | Path | None,
    exclude: str | Path | None,
    config: FactorConfig,
    form: str,
    alpha: float,
    regularization: float,
) -> dict[str, Any]:
    """Return what the targets were made of, as plain values."""
    files = {"items": items, "exclude": exclude}
    return {
        "kind": "cf",
        "logs": {"file": Path(logs).name, "sha256": digest},
        **{
            name: {"file": Path(path).name, "sha256": sha256(Path(path))}
            for name, path in files.items()
            if path is not None
        },
        "factors": config.factors,
        "regularization": regularization,
        "regularizations": list(config.regularization),
        "confidence": form,
        "alpha": alpha,
        "epsilon": config.epsilon if form == "log" else None,
        "sweeps": config.sweeps,
        **({"solver": f"implicit {version('implicit')}"} if config.solver == "implicit" else {}),
        "seed": config.seed,
        "min_items": config.user_items,
        "min_users": config.item_users,
        "split": list(config.split),
        "probekit": version("probekit"),
        **({"stand_in": True} if is_standin(Path(logs).parent) else {}),
    }
