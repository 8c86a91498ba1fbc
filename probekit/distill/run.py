"""Stage 3: students that are trained on audio, and inherit from embeddings in the cache."""

from collections.abc import Callable, Sequence
from pathlib import Path

from probekit import runtime
from probekit.cache import layout, store
from probekit.distill import given as given_module
from probekit.distill import methods, recipes, record, trained
from probekit.distill.asked import Machine, Run
from probekit.distill.course import CHECKPOINT
from probekit.errors import ProbekitError
from probekit.extractors.weights import parse_overrides
from probekit.probes import fewer, results
from probekit.probes.inputs import clips_of
from probekit.probes.results import Result
from probekit.registry import unknown

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
        :mod:`probekit.extractors.students`.
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
        How it is trained; see :func:`probekit.distill.recipes.get`.
    epochs, batch, lr : optional
        Other than the recipe's.
    crop : float > 0, optional
        Seconds that the student hears at once; by default its own, or the longest clip's.
    alignment : {"time", "paper"}
        How the teachers' frames come to the student's; see
        :meth:`probekit.distill.teachers.Teachers.open`.
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
        raise unknown("precision", precision, PRECISIONS)
    runtime.device(device)
    named = [teachers] if isinstance(teachers, str) else list(teachers)
    chosen = methods.get(method, alpha, len(named), init)
    for fraction in fractions:
        fewer.check(fraction)
    where, kept_in = layout.root(cache), results.root(reports)
    card, clips = clips_of(task, where, root)
    how = recipes.get(recipe, card.metric, epochs=epochs, batch=batch, lr=lr)
    for one in named:
        store.find(where, one, card.dataset)  # said before hours of decoding, not after
    given = given_module.settle(
        card,
        clips,
        student,
        named,
        cache=where,
        crop=crop,
        alignment=alignment,
        init=init,
        weights=parse_overrides(list(weights)),
        progress=(lambda done, of: progress("sound", done, of, "")) if progress else None,
    )
    machine = Machine(device, devices, precision)
    runs = [
        Run(given, chosen, how, fraction, seed, tuple(folds), machine, name)
        for fraction in fractions
        for seed in range(seeds)
    ]
    paths = [run.path(kept_in) for run in runs]
    for path, run in dict(zip(paths, runs, strict=True)).items():
        if again or results.kept(path) is None:
            with trained.alone(run.places(kept_in)[0]):
                _compute(run, path, kept_in, again, progress, warn)
    return [results.load(path) for path in paths]


def _compute(
    run: Run,
    path: Path,
    reports: Path,
    again: bool,
    progress: Progress | None,
    warn: Callable[[str], None] | None,
) -> None:
    """Do one run, and keep its result."""
    share = "" if run.fraction == 1 else f", {100 * run.fraction:g} % of the labels"
    called = f"{run.label}{share}, seed {run.seed}"
    unseen = run.unseen()
    if unseen and warn:
        warn(f"{called}: classes without a training clip, of which nothing can be learnt: "
             f"{', '.join(unseen)}")  # fmt: skip
    for where in run.places(reports) if again else ():
        trained.forget(where)

    def tell(fold: str, done: int, of: int, note: str) -> None:
        if progress:
            progress(called if len(run.divisions) == 1 else f"{called}, fold {fold}", done, of,
                     note)  # fmt: skip

    result, arrays = record.compute(run, reports, tell)
    results.save(path, result, arrays)
    for where in run.places(reports):
        trained.finish(where, [CHECKPOINT])
