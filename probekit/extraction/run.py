"""Stage 1: recordings become embeddings in a cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from probekit import listing, runtime
from probekit import manifest as manifests
from probekit.cache import heads, layout
from probekit.cache import manifests as kept
from probekit.errors import DataError, ProbekitError
from probekit.extraction import plan as planning
from probekit.extraction.plan import Plan
from probekit.extractors import load
from probekit.manifest import Manifest
from probekit.tasks import base as tasks

if TYPE_CHECKING:
    from probekit.extractors.base import Extractor

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
    done : int
        Clips embedded now.
    failed : dict of str to str
        Clips without an embedding, with the reason; earlier failures included.
    audio_seconds, seconds : float
        Duration of what was embedded now, and how long that took.
    provenance : list of str
        What every result from these embeddings will show.
    bytes : int
        For a dry run, the size of what would be written.
    dry : bool
        Whether nothing was done.
    """

    extractor: str
    fingerprint: str
    where: Path
    total: int
    cached: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    audio_seconds: float = 0.0
    seconds: float = 0.0
    provenance: list[str] = field(default_factory=list)
    bytes: int = 0
    dry: bool = False


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
        What to call the dataset of ``audio`` or ``manifest``; the folder's or file's name by
        default.
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
        Called with the extractor's name, clips done, seconds of audio and failures.

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
    clips, dataset = _clips(task, root, audio, manifest, name)
    cache = layout.root(cache)
    few = clips if limit is None else _spread(clips, limit)
    overrides = load.parse_overrides(weights)
    specs = [
        load.specify(text, weights=overrides, streams=streams, precision=precision)
        for text in names
    ]
    if not dry_run:
        for own in _worth_keeping(clips, dataset, task, root):
            kept.keep(cache, own)
    summaries = []
    for spec in specs:
        plan = planning.make(
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
        )
        if begin and plan.todo:
            begin(spec.name, plan.todo)
        summaries.append(_run(plan, device, progress, dry_run))
    return summaries


def _run(plan: Plan, device: str, progress: Progress | None, dry: bool) -> Summary:
    """Do a plan's parts, one after another; the finished one is written behind the next."""
    spec = plan.spec
    summary = Summary(
        spec.name,
        spec.fingerprint,
        plan.where,
        plan.total,
        plan.cached,
        failed=dict(plan.failed),
        provenance=spec.provenance,
        dry=dry,
    )
    if dry:
        summary.bytes = round(plan.todo * plan.bytes_per_clip)
        return summary
    if not plan.jobs:
        return summary
    from probekit.extraction.part import Report, embed_part, write_part

    begin = perf_counter()
    extractor = load.build(plan.jobs[0].spec, runtime.device(device))
    _keep_head(extractor, plan.where.parent)

    def tick(clips: int, seconds: float, failures: int) -> None:
        if progress:
            progress(spec.name, clips, seconds, failures)

    def collect(written: Future[Report]) -> None:
        report = written.result()
        summary.done += report.done
        summary.audio_seconds += report.seconds
        summary.failed.update(report.failed)

    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
        pending: Future[Report] | None = None
        for job in plan.jobs:
            content, report = embed_part(job, extractor, tick)
            if pending:
                collect(pending)
            pending = writer.submit(write_part, job, content, report)
        if pending:
            collect(pending)
    summary.seconds = perf_counter() - begin
    return summary


def _keep_head(extractor: "Extractor", folder: Path) -> None:
    """Keep the network's own classifier beside the embeddings, where it has one."""
    head = extractor.head()
    if head is not None:
        arrays = (head.weight.cpu().numpy(), head.bias.cpu().numpy())
        heads.keep(folder, heads.KeptHead(head.classes, *arrays, head.stream, head.pooling))


def _clips(
    task: str | None,
    root: str | Path | None,
    audio: str | Path | None,
    manifest: str | Path | Manifest | None,
    name: str | None,
) -> tuple[Manifest, str]:
    """Return the clips that are meant, and the name of their dataset."""
    given = [value for value in (task, audio, manifest) if value is not None]
    if len(given) != 1:
        raise ProbekitError(
            "say which recordings: --task TASK --root DIR, or --audio DIR, or --manifest FILE"
        )
    if name is not None and (task is not None or name != manifests.dataset_name(name)):
        raise ProbekitError(
            f"--name {name}: for --audio and --manifest; lower case letters, digits, dots, dashes"
        )
    folder = Path(root) if root is not None else None
    if audio is not None and folder is not None:
        raise ProbekitError("--root belongs to --task or --manifest; leave it out with --audio")
    if folder is not None and not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise DataError(f"--root {folder}: {what}")
    if task is not None:
        found = tasks.load_task(task)
        if folder is None and not task.endswith(".csv"):
            raise ProbekitError(
                f"--task {task} needs --root DIR: the dataset's folder. {found.card.download}"
            )
        return found.manifest(folder), found.card.dataset
    if isinstance(manifest, Manifest):
        return manifest, manifest.name
    if audio is not None:
        clips = listing.from_folder(Path(audio), name)
    else:
        assert manifest is not None
        clips = listing.from_csv(Path(manifest), root=folder, name=name)
    return clips, clips.name


def _worth_keeping(
    clips: Manifest, dataset: str, task: str | None, root: str | Path | None
) -> list[Manifest]:
    """Return the manifests to keep: this one, and those of other tasks on the same dataset."""
    if task is None or root is None:
        return [clips]
    others = [own for own in tasks.siblings(dataset) if own.name != clips.name]
    return [clips, *(own.manifest(Path(root)) for own in others)]


def _spread(clips: Manifest, limit: int) -> Manifest:
    """Return a few clips, spread evenly over the manifest."""
    if limit < 1:
        raise ProbekitError(f"--limit {limit}: at least 1")
    count = min(limit, len(clips))
    return clips.subset(np.unique(np.linspace(0, len(clips) - 1, count).round().astype(int)))
