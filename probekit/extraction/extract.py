"""Extraction: embeddings of recordings, computed once and stored in a cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from probekit.cache import texts, training_clips
from probekit.cache.index import load_index
from probekit.cache.layout import cache_root
from probekit.cache.manifests import save_manifest
from probekit.cards.selector import HF, STUDENT_PREFIX
from probekit.data.manifest import Manifest
from probekit.errors import ProbekitError
from probekit.extraction import executor, inputs
from probekit.extraction.estimate import describe_padding, estimate_plan
from probekit.extraction.executor import ExecutorConfig
from probekit.extraction.plan import Plan, make_plan
from probekit.extractors import load
from probekit.extractors.weights.source import validate_overrides

Progress = Callable[[str, int, float, int], None]
"""Takes an extractor's name, clips done, seconds of audio and failures."""


@dataclass
class Summary:
    """Outcome of the extraction with one extractor.

    Attributes
    ----------
    extractor, fingerprint : str
        Of the embeddings.
    folder : pathlib.Path
        The folder in the cache.
    total : int
        Requested clips.
    cached : int
        Clips that had embeddings before.
    todo : int
        Clips to embed; of this share, if it is one of several.
    done : int
        Clips embedded now.
    failed : dict of str to str
        Clips without an embedding, with the reason; earlier failures included.
    notes : dict of str to list of str
        Clips embedded now, with what is odd in their recording: it is truncated, its channels
        cancel each other, its decoder prints messages.
    audio_seconds, seconds : float
        Duration of what was embedded now, and how long that took.
    provenance : list of str
        Notes that every result from these embeddings will show.
    bytes : int
        Estimated size of what a dry run would write.
    about_audio_seconds : float or None
        Estimated duration of what a dry run would embed; None if no recording declares its own.
    about_seconds : float or None
        Estimated time of a dry run in one process; None without an earlier extraction.
    like : str
        Description of that earlier extraction.
    about_padded_seconds : float or None
        Estimated duration of what the network of a dry run would read, with the zeros that follow
        short clips.
    dry : bool
        Whether this is a dry run.
    share : str
        ``"3/16"`` if this was one share of several.
    """

    extractor: str
    fingerprint: str
    folder: Path
    total: int
    cached: int = 0
    todo: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    audio_seconds: float = 0.0
    seconds: float = 0.0
    provenance: list[str] = field(default_factory=list)
    bytes: int = 0
    about_audio_seconds: float | None = None
    about_seconds: float | None = None
    like: str = ""
    about_padded_seconds: float | None = None
    dry: bool = False
    share: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; the folder's key is ``where``."""
        return {"where" if key == "folder" else key: value for key, value in vars(self).items()}


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
    allow_truncated: float = 0.0,
    verify_audio: bool = False,
    dry_run: bool = False,
    begin: Callable[[str, int], None] | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
    templates: Sequence[str] = (),
) -> list[Summary]:
    """Embed the clips of a task, a folder or a manifest, and store the embeddings in a cache.

    Clips that are in the cache already are not embedded again; an interrupted extraction resumes
    where it stopped. Give one of ``task``, ``audio`` and ``manifest``.

    Parameters
    ----------
    extractors : str or sequence of str
        Names, with parameters if needed: ``"vggish"``, ``"openl3:content=music"``.
    task : str, optional
        Name or card of a task, or a CSV; ``root`` is its dataset's folder.
    root : str or pathlib.Path, optional
        The dataset's folder, or the folder that paths in ``manifest`` are relative to.
    audio : str or pathlib.Path, optional
        A folder of recordings; sub-folders are labels.
    manifest : str, pathlib.Path or Manifest, optional
        A table of clips: a CSV file, or an object.
    name : str, optional
        Name of the dataset of ``audio``, ``manifest`` or a CSV as ``task``; the folder's or file's
        name by default.
    cache : str or pathlib.Path, optional
        The cache root; by default ``PROBEKIT_CACHE``, else ``cache``.
    weights : sequence of str
        ``NAME=PATH`` or ``NAME=random:SEED``; official weights are downloaded by default.
    streams : sequence of str, optional
        Streams to store; each extractor's default one if not given.
    frames : bool
        Store frames besides the vectors pooled over time.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    jobs : int >= 1, optional
        Number of worker processes, which share the cores; by default this process does all. A
        recording that crashes a worker becomes a failure of that clip, also with 1 worker.
    devices : sequence of str
        One worker process for each of these devices; instead of ``device`` and ``jobs``.
    dask : str, optional
        Address of a Dask scheduler, or ``"local"`` for a cluster of ``jobs`` local processes. Its
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
        Embed only so many clips, spread evenly over the manifest.
    retry_failed : bool
        Try clips again that failed before.
    allow_truncated : float from 0 to 1
        Share of a clip that may be missing at the end of a truncated recording: what there is is
        embedded, and every result notes it. Where a recording does not tell how much is missing,
        only 1 accepts it. Clips that failed since theirs is truncated are tried again.
    verify_audio : bool
        Compare recordings by hash, not only by size and modification time.
    dry_run : bool
        Only estimate what would be done.
    begin : callable, optional
        Called with an extractor's name and the number of clips to embed.
    progress : callable, optional
        Called with the extractor's name, clips done, seconds of audio and failures: in this
        process after each batch, and during a long recording; after each part elsewhere.
    note : callable, optional
        Called before clips are embedded with a sentence on what to know: which Python file of your
        own is run, how much more than the audio a network reads of short clips.
    templates : sequence of str
        Further sentences for the probe ``zero-shot``, with ``{}`` for a class name; of models of
        sound and text only, whose vectors of the class names are stored, too.

    Returns
    -------
    list of Summary
        One for each extractor: clips embedded, cached and failed, and the folder in the cache.

    Raises
    ------
    ProbekitError
        If an option is not valid, a name is unknown, recordings were not found, or the cache
        cannot be written. Recordings that cannot be decoded or embedded are no error but
        failures in the summary.

    See Also
    --------
    probekit.open_cache : Read the embeddings.
    probekit.evaluate : Score a probe on them.

    Examples
    --------
    >>> from pathlib import Path
    >>> import soundfile
    >>> import probekit
    >>> from probekit.tasks.standin.sounds import synthesize
    >>> Path("sounds").mkdir()
    >>> for label in ("bird", "rain"):
    ...     wave = synthesize(label, seed=0, seconds=1.0, sr=16000)
    ...     soundfile.write(f"sounds/{label}.wav", wave, 16000)
    >>> [summary] = probekit.extract("mfcc", audio="sounds")
    >>> summary.done, summary.failed, summary.audio_seconds
    (2, {}, 2.0)

    Clips that are in the cache are not embedded again:

    >>> [summary] = probekit.extract("mfcc", audio="sounds")
    >>> summary.done, summary.cached
    (0, 2)
    >>> probekit.open_cache("mfcc", "sounds").vectors(["bird", "rain"]).shape
    (2, 20)
    """
    names = [extractors] if isinstance(extractors, str) else list(extractors)
    if dtype not in ("float32", "float16"):
        raise ProbekitError(f"dtype {dtype!r}: float32 or float16")
    if not 0 <= allow_truncated <= 1:
        raise ProbekitError(f"--allow-truncated must be from 0 to 1, got {allow_truncated:g}")
    config = executor.parse_config(device, jobs, devices, dask, share)
    if not dry_run:
        config.check_available()
    cache = cache_root(cache)
    clips, dataset = inputs.resolve_clips(task, root, audio, manifest, name, cache)
    selected = clips if limit is None else inputs.subsample_evenly(clips, limit)
    overrides = validate_overrides(weights, names)
    specs = [
        load.resolve_spec(
            text,
            weights=overrides,
            streams=streams,
            precision=precision,
            reports=reports,
            note=note,
        )
        for text in names
    ]
    inputs.check_collision(clips, dataset, task, cache)
    tables = [] if dry_run else inputs.manifests_to_save(clips, dataset, task, root)
    for table in tables:
        save_manifest(cache, table)
    class_names = sorted({name for table in tables for name in table.class_names})
    summaries = []
    for spec in specs:
        plan = make_plan(
            selected,
            len(clips),
            spec,
            cache,
            dataset,
            frames=frames,
            dtype=dtype,
            retry_failed=retry_failed,
            allow_truncated=allow_truncated,
            verify_audio=verify_audio,
            dry_run=dry_run,
        ).share(*config.share)
        if dry_run:
            summaries.append(_dry_run(plan, config))
            continue
        if note and (padding := describe_padding(estimate_plan(plan), plan)):
            note(padding)
        if begin and plan.todo:
            begin(spec.label, plan.todo)
        _save_training_clips(plan)
        summaries.append(_run(plan, config, progress))
        _save_texts(plan, class_names, templates, note)
    notes = list(clips.provenance)
    if clips.expected and clips.absent:
        notes.append(f"{len(clips.absent):,} of {clips.expected:,} clips have no recording")
    for summary in summaries:
        summary.provenance = [*notes, *summary.provenance]
    return summaries


def _save_training_clips(plan: Plan) -> None:
    """Copy a trained student's training clips beside its embeddings."""
    if plan.spec.name.startswith(STUDENT_PREFIX):
        for source in plan.spec.sources.values():
            if source.path is not None:
                training_clips.copy_record(source.path.parent, plan.folder.parent)


def _save_texts(
    plan: Plan,
    class_names: Sequence[str],
    templates: Sequence[str],
    note: Callable[[str], None] | None,
) -> None:
    """Save vectors of the class names beside the embeddings of a model of sound and text."""
    if plan.spec.name != HF:
        return
    from probekit.extractors.adapters import hf_text

    if not hf_text.has_text_tower(plan.spec) or not class_names:
        return
    folder = plan.folder.parent
    saved = texts.load_texts(folder)
    requested = {
        texts.fill_template(template, name)
        for template in (*texts.TEMPLATES, *templates)
        for name in class_names
    }
    missing = sorted(requested - set(saved.texts if saved else ()))
    if not missing:
        return
    try:
        vectors, scale, stream = hf_text.embed_texts(plan.spec, missing)
        texts.add_texts(folder, texts.SavedTexts(tuple(missing), vectors, scale, stream))
    except ProbekitError as error:  # sounds can be probed without texts
        if note:
            note(str(error))


def _summarize(plan: Plan, config: ExecutorConfig) -> Summary:
    """Return the summary of a plan before anything is done."""
    number, total = config.share
    return Summary(
        plan.spec.label,
        plan.spec.fingerprint,
        plan.folder,
        plan.total,
        plan.cached,
        plan.todo,
        failed=dict(plan.failed),
        provenance=plan.spec.provenance,
        share=f"{number}/{total}" if total > 1 else "",
    )


def _dry_run(plan: Plan, config: ExecutorConfig) -> Summary:
    """Estimate what a plan would do."""
    summary = _summarize(plan, config)
    summary.dry = True
    estimate = estimate_plan(plan)
    summary.bytes = estimate.bytes
    summary.about_audio_seconds = estimate.audio_seconds
    summary.about_padded_seconds = estimate.padded_seconds
    summary.about_seconds, summary.like = estimate.seconds, estimate.like
    return summary


def _run(plan: Plan, config: ExecutorConfig, progress: Progress | None) -> Summary:
    """Embed and write a plan's parts."""
    summary = _summarize(plan, config)
    if not plan.jobs:
        return summary

    def tick(clips: int, seconds: float, failures: int) -> None:
        if progress:
            progress(plan.spec.label, clips, seconds, failures)

    start = perf_counter()
    for result in executor.run_parts(plan.jobs, config, tick):
        summary.done += result.done
        summary.audio_seconds += result.seconds
        summary.failed.update(result.failed)
        summary.notes.update(result.notes)
    summary.seconds = perf_counter() - start
    load_index(plan.folder)  # saved now: a repair needs it to know parts that get lost
    return summary
