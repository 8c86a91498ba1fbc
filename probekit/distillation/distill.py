"""Stage 3: students that are trained on audio, and inherit from embeddings in the cache."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probekit.cache import embeddings, layout
from probekit.cards import TaskCard
from probekit.cards.selector import parse
from probekit.distillation import fold as fold_module
from probekit.distillation import methods
from probekit.distillation import task_data as given_module
from probekit.distillation import teachers as teachers_module
from probekit.distillation.config import DistillationConfig, TrainerConfig
from probekit.distillation.teachers import ALIGNMENTS
from probekit.errors import ProbekitError
from probekit.extractors.weights.source import validate_overrides
from probekit.parallel import resources
from probekit.probes import subsample
from probekit.probes.task_clips import resolve_clips
from probekit.scores import store
from probekit.scores.store import Result
from probekit.training import run_folder, schedules
from probekit.training.state import CHECKPOINT
from probekit.utils.suggest import unknown_name_error

Progress = Callable[[str, int, int, str], None]
PRECISIONS = ("32", "bf16-mixed", "16-mixed")


def distill(
    task: str,
    student: str,
    teachers: str | Sequence[str] = (),
    *,
    method: str = "none",
    alpha: float | None = None,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    reports: str | Path | None = None,
    recipe: str = "default",
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    crop: float | None = None,
    alignment: str = "time",
    init: str = "",
    weights: Sequence[str] = (),
    fractions: Sequence[float] = (1.0,),
    seeds: int = 1,
    folds: Sequence[str] = (),
    device: str = "auto",
    devices: int = 1,
    precision: str = "32",
    name: str = "",
    again: bool = False,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Result]:
    """Train small networks on audio, and score them under the task's own protocol.

    The epoch is chosen on the task's validation clips, or on clips held out inside the training
    folds; test clips are scored once, by what was chosen. Results go into the same store as those
    of probes, with the scores of every epoch. What is there already is not computed again, and a
    run that was ended goes on after its last whole epoch.

    Parameters
    ----------
    task : str
        A task's name, card (YAML) or table (CSV), or the name of a folder that was extracted.
    student : str
        ``"harmonic-cnn"``, ``"cf-net:width=32"``, ``"short-chunk"``, or ``"module:Class"``; see
        :mod:`probekit.extractors.students.zoo`.
    teachers : str or sequence of str
        Embeddings in the cache, with frames: ``"vggish"``, ``"openl3:content=env"``. Several are
        put side by side.
    method : str
        ``none``; a regularizer, for which teachers are needed in training only (``con-reg``,
        ``dis-reg``, ``l1``, ``l2``, ``soft-targets``, ``cf-reg``); a baseline, for which they are
        always needed (``feature-only``, ``concat``, ``film``); or a start with another network's
        weights (``init``, ``fix``).
    alpha : float > 0, optional
        Weight of the regularizer; by default 5 for Con-Reg and 1 for Dis-Reg (hung2022), else 1.
    cache : str or pathlib.Path, optional
        The cache's folder; by default ``PROBEKIT_CACHE``, else ``cache``. Decoded sound is kept in
        its folder ``sound``.
    root : str or pathlib.Path, optional
        The dataset's folder, where its clip table is not in the cache yet, or recordings moved.
    reports : str or pathlib.Path, optional
        Where results and students are kept; by default ``PROBEKIT_REPORTS``, else ``reports/out``.
    recipe : {"default", "won"}
        How it is trained; see :func:`probekit.training.schedules.get`.
    epochs, batch, lr : optional
        Other than the recipe's.
    crop : float > 0, optional
        Seconds that the student hears at once; by default its own, or the longest clip's.
    alignment : {"time", "paper"}
        How the teachers' frames come to the student's; see
        :meth:`probekit.distillation.teachers.Teachers.open`.
    init : str
        For ``init`` and ``fix``: the extractor whose weights come first.
    weights : sequence of str
        That extractor's weights: ``NAME=PATH`` or ``NAME=random:SEED``.
    fractions : sequence of float, 0 < fraction <= 1
        Shares of the training labels; each is a run.
    seeds : int >= 1
        Runs with seeds 0, 1, …
    folds : sequence of str
        Some of the task's folds; all by default. The result says so.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` …
    devices : int >= 1
        How many of that kind train one student together.
    precision : {"32", "bf16-mixed", "16-mixed"}
        Arithmetic of the network.
    name : str
        What to call the runs in tables; by default the method, with its teachers.
    again : bool
        Train also what is in the store already.
    progress : callable, optional
        Called with what is counted, how much is done, of how much, and a note.
    warn : callable, optional
        Called with what a person should know before the training begins.

    Returns
    -------
    list of Result
        By fraction and seed.

    Raises
    ------
    ProbekitError
        If something is not known, missing or does not fit, or a loss is not finite.
    """
    if seeds < 1:
        raise ProbekitError(f"--seeds {seeds}: at least 1")
    if devices < 1:
        raise ProbekitError(f"--devices {devices}: at least 1")
    if precision not in PRECISIONS:
        raise unknown_name_error("precision", precision, PRECISIONS)
    resources.device(device)
    named = [teachers] if isinstance(teachers, str) else list(teachers)
    chosen = methods.make_method(method, alpha, len(named), init, alignment)
    for fraction in fractions:
        subsample.check(fraction)
    where, kept_in = layout.root(cache), store.root(reports)
    card, clips = resolve_clips(task, where, root)
    how = schedules.get(recipe, card.metric, epochs=epochs, batch=batch, lr=lr)
    _check_teachers(where, named, card, alignment)  # before hours of decoding, not after
    given = given_module.prepare(
        card,
        clips,
        student,
        named,
        cache=where,
        crop=crop,
        alignment=alignment,
        init=init,
        weights=validate_overrides(list(weights), [init] if init else [], "--init"),
        reports=kept_in,
        progress=(lambda done, of: progress("sound", done, of, "")) if progress else None,
    )
    machine = TrainerConfig(device, devices, precision)
    runs = [
        DistillationConfig(given, chosen, how, fraction, seed, tuple(folds), machine, name)
        for fraction in fractions
        for seed in range(seeds)
    ]
    found: dict[str, Result] = {}
    noted = ""
    for run in runs:
        if run.id in found:
            continue
        there = run.result_paths(kept_in)
        if again or not there:
            place = run.student_dirs(kept_in)[0]
            if warn and not again and not noted:
                noted = run_folder.find_similar_interrupted_run(
                    place, {**run.facts, "fold": run.splits[0].name}
                )
                if noted:
                    warn(noted)
            with run_folder.exclusive_lock(place):
                _compute(run, kept_in, again, progress, warn)
            there = [run.path(kept_in)]
        found[run.id] = store.load(there[0])
        called = found[run.id]["embedding"]
        if called != run.label and warn:
            warn(f"run {run.id[:12]} is there already, and keeps its name {called!r}")
    return [found[run.id] for run in runs]


def _check_teachers(cache: Path, named: Sequence[str], card: TaskCard, alignment: str) -> None:
    """Refuse a teacher that is not there or is named twice, and an alignment of no frames."""
    held = [embeddings.find(cache, one, card.dataset) for one in named]
    read = [
        teachers_module.select_stream(one, own, card) for one, own in zip(named, held, strict=True)
    ]
    once: dict[tuple[Any, ...], str] = {}
    for one, own, what in zip(named, held, read, strict=True):
        key = (own.where, what.stream, None if what.framed else parse(one).pool)
        if key in once:
            both = f"{once[key]} and {one} are" if once[key] != one else f"{one} is"
            raise ProbekitError(f"--teacher: {both} the same teacher twice. Name it once")
        once[key] = one
    if read and alignment != ALIGNMENTS[0] and not any(what.framed for what in read):
        raise ProbekitError(
            f"--alignment {alignment} is for frames; of {', '.join(named)} one vector a clip is "
            "read"
        )


def _compute(
    run: DistillationConfig,
    reports: Path,
    again: bool,
    progress: Progress | None,
    warn: Callable[[str], None] | None,
) -> None:
    """Do one run, and keep its result; one that was kept under another name goes."""
    share = "" if run.fraction == 1 else f", {100 * run.fraction:g} % of the labels"
    called = f"{run.label}{share}, seed {run.seed}"
    unseen = run.untrained_classes()
    if unseen and warn:
        warn(f"{called}: classes without a training clip, of which nothing can be learnt: "
             f"{', '.join(unseen)}")  # fmt: skip
    for where in run.student_dirs(reports) if again else ():
        run_folder.clear(where)

    def tell(fold: str, done: int, of: int, note: str) -> None:
        if progress:
            progress(called if len(run.splits) == 1 else f"{called}, fold {fold}", done, of,
                     note)  # fmt: skip

    result, arrays = fold_module.build_result(run, reports, tell)
    path = run.path(reports)
    store.save(path, result, arrays)
    for other in run.result_paths(reports):
        if other != path:
            other.unlink()
            other.with_suffix(".h5").unlink()
    for where in run.student_dirs(reports):
        run_folder.clean_up(where, [CHECKPOINT])
