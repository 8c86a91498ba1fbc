"""Verification and repair of a cache: damaged and missing parts are found and embedded again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.cache import integrity, layout, part
from probekit.cache.embeddings import find_embeddings
from probekit.cache.head import HEAD_FILE
from probekit.cache.index import load_index, load_saved_index
from probekit.cache.layout import Layout
from probekit.cache.manifests import all_manifests, is_readable
from probekit.cards.selector import HEAR, HF, ONNX, STUDENT_PREFIX, EmbeddingSelector
from probekit.data.manifest import Manifest
from probekit.errors import CacheError
from probekit.extraction import executor
from probekit.extraction.executor import ExecutorConfig
from probekit.extraction.plan import BatchProgress, Clip, PartJob
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.weights.source import validate_overrides
from probekit.tasks.task import tasks_with_same_corpus
from probekit.utils.text import summarize_ids


@dataclass
class CacheFaults:
    """Faults of a cache.

    Attributes
    ----------
    parts : int
        Parts that were read.
    damaged, missing : dict of str to str
        Damaged and missing files, with the reason.
    advice : list of str
        Commands that repair them.
    """

    parts: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)


@dataclass
class RepairSummary:
    """Outcome of a repair.

    Attributes
    ----------
    parts : list of str
        Files that were written again.
    done : int
        Clips embedded.
    failed : dict of str to str
        Clips without an embedding, with the reason.
    """

    parts: list[str] = field(default_factory=list)
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def verify_cache(cache: Path, tick: Callable[[], None] | None = None) -> CacheFaults:
    """Read every byte of a cache, and find damaged and missing files.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    tick : callable, optional
        Called after each part.

    Returns
    -------
    Findings
        Empty if everything is as written.
    """
    findings = CacheFaults()
    for path in sorted((cache / "manifests").glob("*.parquet")):
        if not is_readable(path):
            findings.damaged[str(path)] = "not a manifest; extract the dataset again to restore it"
    folders = {
        path.parent
        for name in ("part-*.h5", layout.LAYOUT_FILE)
        for path in cache.glob(f"*/*/{name}")
    }
    for folder in sorted(folders):
        findings.parts += len(list(folder.glob("part-*.h5")))
        try:
            info = layout.load_layout(folder)
            faults = integrity.find_damaged(folder, tick)
            missing = integrity.find_missing(folder, _manifests(cache, info.dataset), faults)
        except CacheError as error:
            findings.damaged[str(folder / layout.LAYOUT_FILE)] = str(error)
            continue
        findings.damaged.update({str(folder / name): fault for name, fault in faults.items()})
        for name, ids in missing.items():
            if name not in faults:
                findings.missing[str(folder / name)] = (
                    f"not found; {len(ids):,} clips belong in it. It was deleted, or an extraction "
                    "has not reached it"
                )
        head_fault = integrity.find_damaged_head(folder.parent)
        if head_fault is not None:
            findings.damaged[str(folder.parent / HEAD_FILE)] = head_fault
        if missing or head_fault:
            findings.advice.append(
                f"probekit cache repair {info.extractor}@{info.fingerprint[:8]} {info.dataset} "
                "embeds only its clips again"
            )
    return findings


def repair_embeddings(
    cache: Path,
    embedding: str,
    dataset: str,
    *,
    root: Path | None = None,
    weights: Sequence[str] = (),
    device: str = "auto",
    begin: Callable[[int], None] | None = None,
    progress: BatchProgress | None = None,
) -> RepairSummary:
    """Embed the clips of damaged and missing parts again, and nothing else.

    A damaged part is quarantined until its replacement is on the disk.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    embedding : str
        A selector.
    dataset : str
        Name of the dataset.
    root : pathlib.Path, optional
        The folder of the recordings, if they were moved.
    weights : sequence of str
        ``NAME=PATH`` of weights that are not the official ones; seeds are recorded.
    device : str
        Device of the network.
    begin : callable, optional
        Called with the number of clips to embed.
    progress : callable, optional
        Called with clips done, seconds of audio and failures.

    Returns
    -------
    RepairSummary
        The files that were written again.

    Raises
    ------
    CacheError
        If the embeddings were imported, the extractor has changed, or recordings were not found;
        nothing is changed then.
    """
    entry = find_embeddings(cache, embedding, dataset)
    folder = entry.folder
    faults = integrity.find_damaged(folder)
    manifests = _manifests(cache, dataset)
    missing = integrity.find_missing(folder, manifests, faults)
    damaged_head = integrity.find_damaged_head(folder.parent) is not None
    if not missing and not damaged_head:
        return RepairSummary()
    spec, frames = _resolve_spec(entry.layout, weights, folder, faults)
    clips = _find_clips(missing, manifests, root, folder)
    stored = load_saved_index(folder).parts
    jobs = [
        PartJob(
            folder / name,
            tuple(clips[i] for i in ids),
            spec,
            frames,
            entry.layout.dtype,
            allow_truncated=float(stored.get(name, {}).get(part.ALLOWED, 0)),
        )
        for name, ids in missing.items()
    ]
    if damaged_head:
        _repair_head(folder, spec, device)
    if begin:
        begin(sum(len(job.clips) for job in jobs))
    for name in faults:
        (folder / name).replace(_quarantine(folder, name))
    summary = RepairSummary([job.path.name for job in jobs] + [HEAD_FILE] * damaged_head)
    results = executor.run_parts(jobs, ExecutorConfig(device), progress or _no_progress)
    for result in results if jobs else ():
        summary.done += result.done
        summary.failed |= result.failed
        _quarantine(folder, result.name).unlink(missing_ok=True)
    return summary


def _quarantine(folder: Path, name: str) -> Path:
    """Return the name of a damaged part until it is replaced."""
    return folder / f"{integrity.QUARANTINE_PREFIX}{name}"


def _manifests(cache: Path, dataset: str) -> list[Manifest]:
    """Return the saved manifests of a dataset: its own, and those of the tasks on it."""
    return all_manifests(cache, {dataset, *(task.name for task in tasks_with_same_corpus(dataset))})


def _find_clips(
    missing: dict[str, list[str]], manifests: Sequence[Manifest], root: Path | None, folder: Path
) -> dict[str, Clip]:
    """Return the clips to embed, by id; all of their recordings exist."""
    clip_ids = [clip_id for ids in missing.values() for clip_id in ids]
    unknown_parts = [name for name, ids in missing.items() if not ids]
    if unknown_parts:
        raise CacheError(
            f"{folder / unknown_parts[0]}: its clips are unknown: no manifest of {folder.name} is "
            "saved in this cache. Delete the file and extract again"
        )
    clips: dict[str, Clip] = {}
    for manifest in reversed(manifests):  # the newest one overrides the others
        table = manifest.table[manifest.table["clip_id"].isin(set(clip_ids))]
        base = root or manifest.root or Path()
        for clip_id, path, start, end in zip(
            *(table[name] for name in ("clip_id", "path", "start", "end")), strict=True
        ):
            clips[clip_id] = Clip(clip_id, base / path, start, end)
    unknown = [clip_id for clip_id in clip_ids if clip_id not in clips]
    if unknown:
        raise CacheError(
            f"{folder}: no saved manifest has the recordings of {len(unknown)} clips: "
            f"{summarize_ids(unknown)}. Extract them again with the manifest that they came from"
        )
    table = load_saved_index(folder).table
    failed = set(table["clip_id"][table["failed"].astype(bool)])  # need no recording
    away = [
        clips[clip_id].path
        for clip_id in clip_ids
        if clip_id not in failed and not clips[clip_id].path.exists()
    ]
    if away:
        raise CacheError(
            f"{folder}: {len(away)} of the {len(clip_ids)} recordings were not found, for example "
            f"{away[0]}. Name their folder with --root DIR"
        )
    return clips


def _resolve_spec(
    info: Layout, weights: Sequence[str], folder: Path, damaged: dict[str, str]
) -> tuple[Spec, bool]:
    """Return the extractor of a folder with its stored streams, and whether frames are stored."""
    identity, name = info.identity, info.extractor
    if "imported" in identity:
        files = ", ".join(
            f"{source['file']} (SHA-256 {source['sha256'][:16]}…)"
            for source in identity["imported"]
        )
        raise CacheError(
            f"{folder}: imported embeddings cannot be computed again. Delete the damaged parts and "
            f"import them again with 'probekit cache import', from {files}"
        )
    selector = str(EmbeddingSelector(name, params=info.params))
    overrides = validate_overrides(weights, [selector])
    parts = [
        *load_saved_index(folder).parts.values(),
        *load_index(folder, save=False, skip=damaged).parts.values(),
    ]
    stored = {
        (stream, array)
        for facts in parts
        for stream, arrays in facts["streams"].items()
        for array in arrays
    }
    spec = load.resolve_spec(
        selector,
        weights={**_recorded_seeds(name, identity["weights"], overrides), **overrides},
        streams=sorted({stream for stream, _ in stored}) or None,
        precision=identity["precision"],
    )
    layout.check_fingerprint(folder, info.fingerprint, identity, spec.fingerprint, spec.identity)
    return spec, any(array == "frames" for _, array in stored)


def _recorded_seeds(
    name: str, weights: dict[str, Any], overrides: dict[str, str]
) -> dict[str, str]:
    """Return the recorded seeds; raise if weights files were used that only the user can name."""
    seeds: dict[str, str] = {}
    for role, identity in weights.items():
        if identity.startswith("random:"):
            seeds[f"{name}.{role}"] = identity.split()[0]
        elif (
            f"{name}.{role}" not in overrides
            and name not in (HEAR, HF, ONNX)
            and not name.startswith(STUDENT_PREFIX)
        ):
            files = cards.load_extractor_card(name).weights
            digests = [
                file.sha256 or file.sha256_prefix or ""
                for key, file in files.items()
                if key.partition("/")[0] == role
            ]
            if not any(identity.removeprefix("sha256:").startswith(text) for text in digests):
                key = name if role == "main" else f"{name}.{role}"
                raise CacheError(
                    f"{name}: these embeddings were computed with a weights file of {identity}, "
                    f"which is not the official one. Name it: --weights {key}=PATH"
                )
    return seeds


def _repair_head(folder: Path, spec: Spec, device: str) -> None:
    """Write the saved head again, which loading the extractor does."""
    from probekit.extraction import worker

    (folder.parent / HEAD_FILE).unlink()
    worker.get_extractor(PartJob(folder / layout.part_name(0), (), spec, False, ""), device)
    worker.clear_extractors()


def _no_progress(clips: int, seconds: float, failures: int) -> None:
    """Ignore progress."""
