"""Training of students on audio, with embeddings in the cache as teachers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probekit.cache.embeddings import find_embeddings
from probekit.cache.layout import cache_root
from probekit.cards import TaskCard
from probekit.cards.selector import parse_selector
from probekit.distillation import distillation_task, methods
from probekit.distillation.config import DistillationConfig
from probekit.distillation.teacher_files import import_teacher, is_teacher_file
from probekit.distillation.teachers import ALIGNMENTS, select_stream
from probekit.errors import ProbekitError
from probekit.extractors.weights.source import validate_overrides
from probekit.scores import store
from probekit.scores.store import Result
from probekit.tasks.task_clips import resolve_clips
from probekit.training import schedules
from probekit.training.run_config import TrainerConfig
from probekit.training.runner import Progress, Runner, check_options


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
    """Train small networks on audio and score them under the task's own protocol.

    The epoch is selected on the task's validation clips, or on clips held out of the training
    folds; test clips are scored once, by the selected epoch. Results are stored beside those of
    probes, with the scores of every epoch. Finished runs are not repeated, and an interrupted run
    is resumed after its last finished epoch. A trained student is an extractor, ``runs/ID``, unless
    its method needs the teacher at inference.

    Parameters
    ----------
    task : str
        Name of a task, path of a task card (YAML) or of a table (CSV), or name of an extracted
        folder.
    student : str
        ``"harmonic-cnn"``, ``"cf-net:width=32"``, ``"short-chunk"``, or ``"module:Class"``; see
        :mod:`probekit.extractors.students.zoo`.
    teachers : str or sequence of str
        Embeddings in the cache, with frames: ``"vggish"``, ``"openl3:content=env"``; or a file of
        targets by clip id, as for :func:`probekit.train`. Several are concatenated.
    method : str
        ``"none"``: no teacher; a regularizer, which needs teachers in training only (``"con-reg"``,
        ``"dis-reg"``, ``"l1"``, ``"l2"``, ``"soft-targets"``, ``"cf-reg"``); a baseline, which
        needs them at inference, too (``"feature-only"``, ``"concat"``, ``"film"``); or transfer
        from another network's weights (``"init"``; ``"fix"``: with a frozen encoder).
    alpha : float > 0, optional
        Weight of the regularizer; by default 5 for Con-Reg and 1 for Dis-Reg (hung2022), else 1.
    cache : str or pathlib.Path, optional
        The cache's folder; by default ``PROBEKIT_CACHE``, else ``cache``. Decoded audio is in its
        folder ``sound``.
    root : str or pathlib.Path, optional
        The dataset's folder, if its manifest is not in the cache or recordings were moved.
    reports : str or pathlib.Path, optional
        Folder of results and students; by default ``PROBEKIT_REPORTS``, else ``reports/out``.
    recipe : {"default", "won", "hung2022"}
        How the student is trained; see :func:`probekit.training.schedules.get_recipe`.
    epochs : int >= 1, optional
        Maximum number of epochs instead of the recipe's.
    batch : int >= 2, optional
        Clips per step instead of the recipe's.
    lr : float > 0, optional
        First learning rate instead of the recipe's.
    crop : float > 0, optional
        Length of the student's input in s; by default the student's own, or the duration of the
        longest clip if that is shorter.
    alignment : {"time", "paper"}
        How the teachers' frames are aligned with the student's; see
        :meth:`probekit.distillation.teachers.Teachers.open`.
    init : str
        For ``init`` and ``fix``: the extractor of the initial weights.
    weights : sequence of str
        That extractor's weights: ``NAME=PATH`` or ``NAME=random:SEED``.
    fractions : sequence of float, 0 < fraction <= 1
        Shares of the training labels; a run each.
    seeds : int >= 1
        Number of runs, with seeds 0, 1, …
    folds : sequence of str
        Some of the task's folds; by default all. The result notes it.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` …
    devices : int >= 1
        Number of devices that train one student together.
    precision : {"32", "bf16-mixed", "16-mixed"}
        Arithmetic of the network.
    name : str
        Label of the runs in tables; by default the method, with its teachers.
    again : bool
        Repeat finished runs.
    progress : callable, optional
        Called with what is counted, how much is done, of how much, and a note.
    warn : callable, optional
        Called with warnings before the training starts.

    Returns
    -------
    list of Result
        By fraction and seed.

    Raises
    ------
    ProbekitError
        If something is unknown, missing or does not fit, or a loss is not finite.

    See Also
    --------
    probekit.extract : Compute the teachers' embeddings.
    probekit.evaluate : Fit probes on embeddings.
    probekit.compare : Test a student against another run.

    Examples
    --------
    A student of two synthesized classes, with frames of MFCCs as its teacher:

    >>> import csv
    >>> import soundfile
    >>> import probekit
    >>> from probekit.tasks.standin.sounds import synthesize
    >>> rows = [("clip_id", "path", "label", "split")]
    >>> for seed, split in enumerate(["train", "train", "valid", "test"]):
    ...     for label in ("bell", "rain"):
    ...         wave = synthesize(label, seed=seed, seconds=0.6, sr=16000)
    ...         soundfile.write(f"{label}{seed}.wav", wave, 16000)
    ...         rows.append((f"{label}{seed}", f"{label}{seed}.wav", label, split))
    >>> with open("pair.csv", "w", newline="") as file:
    ...     csv.writer(file).writerows(rows)
    >>> _ = probekit.extract("mfcc", task="pair.csv", frames=True)
    >>> [result] = probekit.distill(
    ...     "pair.csv", "short-chunk:width=2", "mfcc", method="con-reg", epochs=2, device="cpu"
    ... )
    >>> result["embedding"], result["metric"], len(result["history"])
    ('con-reg, 2 epochs (mfcc)', 'accuracy', 2)
    """
    check_options(seeds, fractions, device, devices, precision)
    names = [teachers] if isinstance(teachers, str) else list(teachers)
    checked_method = methods.make_method(method, alpha, len(names), init, alignment)
    cache_folder, reports_folder = cache_root(cache), store.reports_root(reports)
    card, clips = resolve_clips(task, cache_folder, root)
    names = [
        import_teacher(teacher, card, clips, cache_folder, as_logits=method == "soft-targets")
        if is_teacher_file(teacher)
        else teacher
        for teacher in names
    ]
    if recipe in schedules.WEAK_LABELS:
        raise ProbekitError(
            f"recipe {recipe!r} is for weak labels: probekit train --objective weak-labels"
        )
    training_recipe = schedules.get_recipe(recipe, card.metric, epochs=epochs, batch=batch, lr=lr)
    _check_teachers(cache_folder, names, card, alignment)  # before hours of decoding, not after
    data = distillation_task.prepare_task(
        card,
        clips,
        student,
        names,
        cache=cache_folder,
        crop=crop,
        alignment=alignment,
        init=init,
        weights=validate_overrides(list(weights), [init] if init else [], "--init"),
        reports=reports_folder,
        progress=(lambda done, total: progress("sound", done, total, "")) if progress else None,
    )
    trainer = TrainerConfig(device, devices, precision)
    runner = Runner(reports_folder, again, progress, warn)
    configs = [
        DistillationConfig(
            task=data,
            method=checked_method,
            recipe=training_recipe,
            fraction=fraction,
            seed=seed,
            folds=tuple(folds),
            trainer=trainer,
            name=name,
        )
        for fraction in fractions
        for seed in range(seeds)
    ]
    return runner.run_all(configs)


def _check_teachers(cache: Path, names: Sequence[str], card: TaskCard, alignment: str) -> None:
    """Raise if a teacher is missing or named twice, or an alignment has no frames to align."""
    has_frames = False
    seen: dict[tuple[Any, ...], str] = {}
    for name in names:
        embeddings = find_embeddings(cache, name, card.dataset)
        stream = select_stream(name, embeddings, card)
        has_frames |= stream.has_frames
        pool = None if stream.has_frames else parse_selector(name).pool
        key = (embeddings.folder, stream.name, pool)
        if key in seen:
            both = f"{seen[key]} and {name} are" if seen[key] != name else f"{name} is"
            raise ProbekitError(f"--teacher: {both} the same teacher twice. Name it once")
        seen[key] = name
    if names and alignment != ALIGNMENTS[0] and not has_frames:
        raise ProbekitError(
            f"--alignment {alignment} is for frames, but {', '.join(names)} has one vector per clip"
        )
