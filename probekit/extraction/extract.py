"""Stage 1: recordings become embeddings in a cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from probekit.cache import index, layout, training_clips
from probekit.cache import manifests as kept
from probekit.cards.selector import STUDENT_PREFIX
from probekit.data.manifest import Manifest
from probekit.errors import ProbekitError
from probekit.extraction import estimate, executor, inputs
from probekit.extraction import plan as planning
from probekit.extraction.executor import ExecutorConfig
from probekit.extraction.plan import Plan
from probekit.extractors import load
from probekit.extractors.weights import source as source_module

Progress = Callable[[str, int, float, int], None]


@dataclass
class Summary:
    """What one extraction came to.

    Attributes
    ----------
    extractor, fingerprint : str
        Which embeddings.
    where : pathlib.Path
        The folder in the cache.
    total : int
        Clips asked for.
    cached : int
        Clips that were there before.
    todo : int
        Clips to embed; of this share, where it is one of several.
    done : int
        Clips embedded now.
    failed : dict of str to str
        Clips without an embedding, with the reason; earlier failures included.
    audio_seconds, seconds : float
        Duration of what was embedded now, and how long that took.
    provenance : list of str
        What every result from these embeddings will show.
    bytes : int
        For a dry run, about the size of what would be written.
    about_audio_seconds : float or None
        For a dry run, about the duration of what would be embedded; None where no recording says.
    about_seconds : float or None
        For a dry run, about how long that takes in one process, where an earlier extraction tells.
    like : str
        The earlier extraction that tells it.
    dry : bool
        Whether nothing was done.
    share : str
        ``"3/16"`` where this was one share of several.
    """

    extractor: str
    fingerprint: str
    folder: Path
    total: int
    cached: int = 0
    todo: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    audio_seconds: float = 0.0
    seconds: float = 0.0
    provenance: list[str] = field(default_factory=list)
    bytes: int = 0
    about_audio_seconds: float | None = None
    about_seconds: float | None = None
    like: str = ""
    dry: bool = False
    share: str = ""


def extract(
    extractors: str | Sequence[str],
    *,
    task: str | None = None,
    root: str | Path | None = None,
    audio: str | Path | None = None,
    manifest: str | Path | Manifest | None = None,
    name: str | None = None,
    cache: str | Path | None = None,
    weights: Sequence[str] = (),
    streams: Sequence[str] | None = None,
    frames: bool = False,
    device: str = "auto",
    jobs: int | None = None,
    devices: Sequence[str] = (),
    dask: str | None = None,
    share: str | None = None,
    reports: str | Path | None = None,
    precision: str = "float32",
    dtype: str = "float32",
    limit: int | None = None,
    retry_failed: bool = False,
    verify_audio: bool = False,
    dry_run: bool = False,
    begin: Callable[[str, int], None] | None = None,
    progress: Progress | None = None,
) -> list[Summary]:
    """Embed the clips of a task, a folder or a manifest, and keep the embeddings in a cache.

    What is in the cache already is not computed again; a run that was interrupted goes on where
    it was.

    Parameters
    ----------
    extractors : str or sequence of str
        Names, with parameters where wanted: ``"vggish"``, ``"openl3:content=music"``.
    task : str, optional
        A task's name or card; ``root`` is its dataset's folder.
    root : str or pathlib.Path, optional
        The dataset's folder, or what the paths of ``manifest`` are relative to.
    audio : str or pathlib.Path, optional
        A folder of recordings, sub-folders being labels; instead of ``task``.
    manifest : str, pathlib.Path or Manifest, optional
        A table of clips (CSV); instead of ``task``.
    name : str, optional
        What to call the dataset of ``audio``, ``manifest`` or a table as ``task``; the folder's or
        file's name by default.
    cache : str or pathlib.Path, optional
        The cache's folder; by default ``PROBEKIT_CACHE``, else ``cache``.
    weights : sequence of str
        ``NAME=PATH`` or ``NAME=random:SEED``; official weights are downloaded by default.
    streams : sequence of str, optional
        Which streams to keep; each extractor's default one if not given.
    frames : bool
        Keep frames besides the vectors pooled over time.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    jobs : int >= 1, optional
        Number of worker processes, which share the cores; by default this process does all. A
        recording that crashes a worker becomes a failure of that clip; 1 is good for that, too.
    devices : sequence of str
        One worker process for each of these devices; instead of ``device`` and ``jobs``.
    dask : str, optional
        Address of a Dask scheduler, or ``"local"`` for a cluster of ``jobs`` processes here. Its
        workers must see cache, recordings and weights under the same paths.
    share : str, optional
        ``"3/16"``: the third of sixteen independent extractions that together do everything.
    reports : str or pathlib.Path, optional
        Where trained students are looked for first; by default ``PROBEKIT_REPORTS``, else
        ``reports/out``.
    precision : {"float32", "bf16", "fp16"}
        Arithmetic of the network.
    dtype : {"float32", "float16"}
        How numbers are stored.
    limit : int >= 1, optional
        Embed that many clips only, spread evenly over the manifest.
    retry_failed : bool
        Try clips again that failed before.
    verify_audio : bool
        Compare recordings by hash, not only by size and time of change.
    dry_run : bool
        Only say what would be done.
    begin : callable, optional
        Called with an extractor's name and the number of clips to embed.
    progress : callable, optional
        Called with the extractor's name, clips done, seconds of audio and failures: after each
        batch in this process, after each part elsewhere.

    Returns
    -------
    list of Summary
        One for each extractor.

    Raises
    ------
    ProbekitError
        If something asked for is not known or not there.
    """
    names = [extractors] if isinstance(extractors, str) else list(extractors)
    if dtype not in ("float32", "float16"):
        raise ProbekitError(f"dtype {dtype!r}: float32 or float16")
    place = executor.parse_config(device, jobs, devices, dask, share)
    if not dry_run:
        place.check_available()
    clips, dataset = inputs.resolve_clips(task, root, audio, manifest, name)
    cache = layout.cache_root(cache)
    few = clips if limit is None else inputs.subsample_evenly(clips, limit)
    given = source_module.validate_overrides(weights, names)
    specs = [
        load.resolve_spec(
            text, weights=given, streams=streams, precision=precision, reports=reports
        )
        for text in names
    ]
    inputs.check_collision(clips, dataset, task, cache)
    if not dry_run:
        for own in inputs.manifests_to_save(clips, dataset, task, root):
            kept.save_manifest(cache, own)
    summaries = []
    for spec in specs:
        plan = planning.make_plan(
            few,
            len(clips),
            spec,
            cache,
            dataset,
            frames=frames,
            dtype=dtype,
            retry_failed=retry_failed,
            verify_audio=verify_audio,
            dry=dry_run,
        ).share(*place.share)
        if dry_run:
            summaries.append(_dry_run(plan, place))
            continue
        if begin and plan.todo:
            begin(spec.name, plan.todo)
        _keep_heard(plan)
        summaries.append(_run(plan, place, progress))
    about = list(clips.provenance)
    if clips.expected and clips.absent:
        about.append(f"{len(clips.absent):,} of {clips.expected:,} clips have no recording")
    for one in summaries:
        one.provenance = [*about, *one.provenance]
    return summaries


def _keep_heard(plan: Plan) -> None:
    """Keep beside a trained student's embeddings which clips it has learnt from."""
    if plan.spec.name.startswith(STUDENT_PREFIX):
        for source in plan.spec.sources.values():
            if source.path is not None:
                training_clips.copy_record(source.path.parent, plan.folder.parent)


def _summary(plan: Plan, place: ExecutorConfig) -> Summary:
    """Return what is known before anything is done."""
    number, of = place.share
    return Summary(
        plan.spec.name,
        plan.spec.fingerprint,
        plan.folder,
        plan.total,
        plan.cached,
        plan.todo,
        failed=dict(plan.failed),
        provenance=plan.spec.provenance,
        share=f"{number}/{of}" if of > 1 else "",
    )


def _dry_run(plan: Plan, place: ExecutorConfig) -> Summary:
    """Say what a plan would do."""
    summary = _summary(plan, place)
    summary.dry = True
    about = estimate.estimate(plan)
    summary.bytes = about.bytes
    summary.about_audio_seconds = about.audio_seconds
    summary.about_seconds, summary.like = about.seconds, about.like
    return summary


def _run(plan: Plan, place: ExecutorConfig, progress: Progress | None) -> Summary:
    """Do a plan's parts."""
    summary = _summary(plan, place)
    if not plan.jobs:
        return summary

    def tick(clips: int, seconds: float, failures: int) -> None:
        if progress:
            progress(plan.spec.name, clips, seconds, failures)

    begin = perf_counter()
    for report in executor.run_parts(plan.jobs, place, tick):
        summary.done += report.done
        summary.audio_seconds += report.seconds
        summary.failed.update(report.failed)
    summary.seconds = perf_counter() - begin
    index.load_index(plan.folder)  # kept now: a repair goes by what it knows of parts that get lost
    return summary
