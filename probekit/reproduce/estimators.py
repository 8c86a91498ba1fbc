"""Trained CF estimators in place of the network ``cf``, whose weights nobody published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probekit.cards import PaperCard
from probekit.cards.paper import Row, Table
from probekit.cards.selector import parse_selector
from probekit.errors import ProbekitError

NETWORK = "cf"
"""The extractor that is replaced."""

_REHEARSED_STUDENT = "cf-net:width=8"
_REHEARSED_FACTORS = 8
_REHEARSED_EPOCHS = 12

EstimatorProgress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Estimator:
    """A trained network that predicts factors.

    Attributes
    ----------
    name : str
        ``runs/ID``.
    student : str
        Its network, as after ``--student``.
    """

    name: str
    student: str


def open_estimators(names: Sequence[str], reports: Path) -> list[Estimator]:
    """Return trained estimators by their names.

    Parameters
    ----------
    names : sequence of str
        Each ``runs/ID``, all of one network.
    reports : pathlib.Path
        Reports folder where they are looked up first.

    Raises
    ------
    ProbekitError
        If one does not exist, predicts classes, or has another network than the first.
    """
    from probekit.extractors.students import card  # imports torch

    estimators: list[Estimator] = []
    for name in names:
        extractor = parse_selector(name).name
        known = card.list_students(reports)
        if extractor not in known:
            card.describe_student(extractor, reports=reports)  # raises
        facts = card.read_student_card(known[extractor])
        if facts.target != "regression":
            raise ProbekitError(
                f"--estimator {name} predicts classes ({', '.join(facts.classes[:3])} …), not "
                "factors: train one with probekit train --targets FILE"
            )
        if name in [estimator.name for estimator in estimators]:
            raise ProbekitError(f"--estimator {name}: named twice")
        estimators.append(Estimator(name, facts.student))
    others = sorted({estimator.student for estimator in estimators})
    if len(others) > 1:
        raise ProbekitError(
            f"--estimator: networks must be the same, to be compared; got {' and '.join(others)}"
        )
    return estimators


def with_estimators(card: PaperCard, estimators: Sequence[Estimator]) -> PaperCard:
    """Return a paper's card in which trained estimators stand for the network ``cf``.

    A row that needs it becomes one for each estimator, and their mean, with which gains are
    computed: estimators differ in the seed of the factors, which are the target itself. Students
    that start with an estimator's weights have its network, and so have those that they are
    compared with.

    Raises
    ------
    ProbekitError
        If no row needs that network.
    """
    if not uses_estimator(card):
        raise ProbekitError(f"{card.name}: no row needs a CF estimator; leave --estimator out")
    tables = [_replace(table, estimators) for table in card.tables]
    return card.model_copy(update={"tables": tables})


def uses_estimator(card: PaperCard) -> bool:
    """Tell whether a row of a paper's tables needs the network ``cf``."""
    return any(_needs(row) for table in card.tables for row in table.rows)


def _needs(row: Row) -> bool:
    return any(parse_selector(text).name == NETWORK for text in (row.init, row.embedding) if text)


def _replace(table: Table, estimators: Sequence[Estimator]) -> Table:
    """Return a table with the rows of each estimator, and their means."""
    rows: list[Row] = []
    for row in table.rows:
        if not _needs(row):
            rows.append(row)
            continue
        labels = [f"{row.label}, estimator {k + 1}" for k in range(len(estimators))]
        if len(estimators) == 1:
            rows.append(_row_of(row, estimators[0], row.label))
            continue
        rows += [_row_of(row, *pair) for pair in zip(estimators, labels, strict=True)]
        # what the rows were made with is listed there
        bare = {"init": "", "embedding": "", "method": "none", "differs": row.differs}
        rows.append(row.model_copy(update={"average": labels, **bare}))
    changes: dict[str, Any] = {"rows": rows}
    if any(row.init for row in table.rows) and table.student:
        changes["student"] = estimators[0].student
    names = ", ".join(estimator.name for estimator in estimators)
    notes = [*table.notes, f"The CF estimator: trained here, {names} ({estimators[0].student})."]
    return Table.model_validate({**table.model_copy(update=changes).model_dump(
        exclude_unset=True), "notes": notes})  # fmt: skip


def _row_of(row: Row, estimator: Estimator, label: str) -> Row:
    """Return a row with one estimator."""
    changes: dict[str, Any] = {"label": label}
    if label != row.label:
        changes["values"] = [None] * len(row.values)
    if row.init:
        changes["init"] = estimator.name
    if row.embedding:
        changes["embedding"] = f"{estimator.name}:stream=logits"
    return row.model_copy(update=changes)


def rehearse_estimators(
    folder: Path,
    cache: Path,
    reports: Path,
    *,
    seeds: int = 2,
    device: str = "auto",
    step: Callable[[str], None] | None = None,
    progress: EstimatorProgress | None = None,
) -> list[str]:
    """Make stand-in logs and songs, factors of several seeds, and an estimator of each.

    What users play depends on the sound, so that the estimators have something to learn.

    Parameters
    ----------
    folder : pathlib.Path
        Gets the folder ``songs`` and the target files.
    cache, reports : pathlib.Path
        Folders of decoded sound, and of results and networks.
    seeds : int >= 1
        Seeds of the factors.
    device : str
        Where they are trained.
    step : callable, optional
        Called with a description of each step, and with the estimators' scores.
    progress : callable, optional
        As for :func:`probekit.train`.

    Returns
    -------
    list of str
        ``runs/ID`` of each.
    """
    from probekit.targets.song_factors import FactorConfig, make_targets
    from probekit.targets.standin_logs import write_standin_logs
    from probekit.targets.target_file import write_targets
    from probekit.training.train import train

    report = step or (lambda text: None)
    report("stand-in logs and songs, whose sound decides who plays them")
    logs = write_standin_logs(folder / "songs")
    names = []
    for seed in range(seeds):
        report(f"factors and estimator, seed {seed} ({seed + 1} of {seeds})")
        config = FactorConfig(factors=_REHEARSED_FACTORS, seed=seed)
        file = folder / f"cf-{seed}.h5"
        write_targets(file, make_targets(logs.plays, config, items=logs.items).targets)
        [result] = train(
            str(logs.clips),
            _REHEARSED_STUDENT,
            targets=file,
            epochs=_REHEARSED_EPOCHS,
            batch=16,
            lr=3e-3,
            cache=cache,
            reports=reports,
            device=device,
            progress=progress,
        )
        report(_describe(result["settings"]["evaluation"]))
        names.append(f"runs/{result['run'][:12]}")
    return names


def _describe(evaluation: list[dict[str, Any]]) -> str:
    """Return a line on an estimator and its bounds."""
    rows = {row["name"]: row for row in evaluation}
    words = [f"{name} {row['auc']:.3f}" for name, row in rows.items() if "auc" in row]
    return f"  AUC of songs never seen: {', '.join(words)}; R² {rows['network']['r2']:.2f}"
