"""Find what of a cache is damaged or gone, and embed just that again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from probekit import cards
from probekit.cache import embeddings, head, integrity, layout
from probekit.cache import index as index_module
from probekit.cache import manifests as kept
from probekit.cache.layout import Layout
from probekit.cards.selector import HEAR, STUDENT_PREFIX, EmbeddingSelector
from probekit.data.manifest import Manifest
from probekit.errors import CacheError
from probekit.extraction import executor
from probekit.extraction.executor import ExecutorConfig
from probekit.extraction.plan import Clip, PartJob
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.weights import source
from probekit.tasks import task as tasks
from probekit.utils.text import summarize_ids

_HOW = "probekit cache repair {extractor}@{fingerprint} {dataset} embeds just its clips again"


@dataclass
class Findings:
    """What is wrong with a cache.

    Attributes
    ----------
    parts : int
        Parts that were read.
    damaged, missing : dict of str to str
        Files that are not as they were written, and files that are not there, with the reason.
    advice : list of str
        What mends them.
    """

    parts: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)


@dataclass
class RepairSummary:
    """What a repair came to.

    Attributes
    ----------
    parts : list of str
        Files made anew.
    done : int
        Clips embedded.
    failed : dict of str to str
        Clips that have no embedding now, with the reason.
    """

    parts: list[str] = field(default_factory=list)
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def verify_cache(cache: Path, tick: Callable[[], None] | None = None) -> Findings:
    """Read every byte of a cache, and find what is damaged or gone.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    tick : callable, optional
        Called after each part.

    Returns
    -------
    Findings
        Empty where all is well.
    """
    found = Findings()
    for path in sorted((cache / "manifests").glob("*.parquet")):
        if not kept.is_readable(path):
            found.damaged[str(path)] = "not a manifest; extract the dataset again to keep it anew"
    folders = {
        path.parent for name in ("part-*.h5", layout.LAYOUT_FILE) for path in cache.glob(f"*/*/{name}")
    }
    for where in sorted(folders):
        found.parts += len(list(where.glob("part-*.h5")))
        try:
            settled = layout.load_layout(where)
            faults = integrity.find_damaged(where, tick)
            gone = integrity.find_missing(where, _manifests(cache, settled.dataset), faults)
        except CacheError as error:
            found.damaged[str(where / layout.LAYOUT_FILE)] = str(error)
            continue
        found.damaged.update({str(where / name): fault for name, fault in faults.items()})
        for name, ids in gone.items():
            if name not in faults:
                found.missing[str(where / name)] = (
                    f"not there; {len(ids):,} clips belong in it. It was deleted, or an extraction "
                    "has not come to it"
                )
        fault = integrity.find_damaged_head(where.parent)
        if fault is not None:
            found.damaged[str(where.parent / head.HEAD_FILE)] = fault
        if gone or fault:
            found.advice.append(_advice(settled))
    return found


def repair_embeddings(
    cache: Path,
    embedding: str,
    dataset: str,
    *,
    root: Path | None = None,
    weights: Sequence[str] = (),
    device: str = "auto",
    begin: Callable[[int], None] | None = None,
    progress: Callable[[int, float, int], None] | None = None,
) -> RepairSummary:
    """Embed the clips of damaged and missing parts again, and nothing else.

    A damaged part is set aside until its successor is on the disk.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    embedding : str
        As after ``-e``.
    dataset : str
        Whose clips.
    root : pathlib.Path, optional
        The folder of the recordings, if it is not where it was.
    weights : sequence of str
        ``NAME=PATH``, for weights that are not the official ones; seeds are known.
    device : str
        Where the network runs.
    begin : callable, optional
        Called with the number of clips to embed.
    progress : callable, optional
        Called with clips done, seconds of audio and failures.

    Returns
    -------
    Mended
        What was made anew.

    Raises
    ------
    CacheError
        If the embeddings were imported, the extractor is not the same any more, or recordings are
        not there; nothing is changed then.
    """
    entry = embeddings.find_embeddings(cache, embedding, dataset)
    where, settled = entry.folder, entry.layout
    faults = integrity.find_damaged(where)
    manifests = _manifests(cache, dataset)
    gone = integrity.find_missing(where, manifests, faults)
    bad_head = integrity.find_damaged_head(where.parent) is not None
    if not gone and not bad_head:
        return RepairSummary()
    spec, frames = _spec(settled, weights, where, faults)
    clips = _clips(gone, manifests, root, where)
    jobs = [
        PartJob(where / name, tuple(clips[i] for i in ids), spec, frames, settled.dtype)
        for name, ids in gone.items()
    ]
    if bad_head:
        _mend_head(jobs, where, spec, device)
    if begin:
        begin(sum(len(job.clips) for job in jobs))
    for name in faults:
        (where / name).replace(where / f"{integrity.QUARANTINE_PREFIX}{name}")
    mended = RepairSummary([job.path.name for job in jobs] + [head.HEAD_FILE] * bad_head)
    for report in (
        executor.run_parts(jobs, ExecutorConfig(device), progress or _silent) if jobs else ()
    ):
        mended.done += report.done
        mended.failed |= report.failed
        (where / f"{integrity.QUARANTINE_PREFIX}{report.name}").unlink(missing_ok=True)
    return mended


def _manifests(cache: Path, dataset: str) -> list[Manifest]:
    """Return the kept manifests of a dataset: its own, and those of the tasks on it."""
    return kept.all_manifests(
        cache, {dataset, *(task.name for task in tasks.tasks_with_same_corpus(dataset))}
    )


def _clips(
    gone: dict[str, list[str]], manifests: Sequence[Manifest], root: Path | None, where: Path
) -> dict[str, Clip]:
    """Return the clips to embed, by id; all of their recordings are there."""
    wanted = [clip_id for ids in gone.values() for clip_id in ids]
    empty = [name for name, ids in gone.items() if not ids]
    if empty:
        raise CacheError(
            f"{where / empty[0]}: nothing says which clips it held: no manifest of "
            f"{where.name} is kept in this cache. Delete the file and extract again"
        )
    found: dict[str, Clip] = {}
    for clips in reversed(manifests):  # the newest has the last word
        table = clips.table[clips.table["clip_id"].isin(set(wanted))]
        base = root or clips.root or Path()
        for clip_id, path, start, end in zip(
            *(table[name] for name in ("clip_id", "path", "start", "end")), strict=True
        ):
            found[clip_id] = Clip(clip_id, base / path, start, end)
    strange = [clip_id for clip_id in wanted if clip_id not in found]
    if strange:
        raise CacheError(
            f"{where}: no kept manifest says where the recordings of {len(strange)} clips are: "
            f"{summarize_ids(strange)}. Extract them again with the manifest that they came from"
        )
    failed = _failed(where)
    away = [
        found[clip_id].path
        for clip_id in wanted
        if clip_id not in failed and not found[clip_id].path.exists()
    ]
    if away:
        raise CacheError(
            f"{where}: {len(away)} of the {len(wanted)} recordings are not there, for example "
            f"{away[0]}. Give their folder with --root DIR"
        )
    return found


def _failed(where: Path) -> set[str]:
    """Return the clips that had no embedding before: their recordings need not be there."""
    table: pd.DataFrame = index_module.load_saved_index(where).table
    return set(table["clip_id"][table["failed"].astype(bool)])


def _spec(
    settled: Layout, weights: Sequence[str], where: Path, damaged: dict[str, str]
) -> tuple[Spec, bool]:
    """Return the extractor that made a folder, with the streams it keeps, and whether frames."""
    identity = settled.identity
    if "imported" in identity:
        sources = ", ".join(
            f"{one['file']} (SHA-256 {one['sha256'][:16]}…)" for one in identity["imported"]
        )
        raise CacheError(
            f"{where}: imported embeddings cannot be computed again. Delete the damaged parts and "
            f"import them again with 'probekit cache import', from {sources}"
        )
    name = settled.extractor
    params = {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in identity["params"].items()
    }
    selection = str(EmbeddingSelector(name, params=params))
    given = source.validate_overrides(weights, [selection])
    facts = [
        *index_module.load_saved_index(where).parts.values(),
        *index_module.load_index(where, save=False, skip=damaged).parts.values(),
    ]
    held = {
        (stream, array) for one in facts for stream, own in one["streams"].items() for array in own
    }
    spec = load.resolve_spec(
        selection,
        weights={**_weights(name, identity["weights"], given), **given},
        streams=sorted({stream for stream, _ in held}) or None,
        precision=identity["precision"],
    )
    layout.check_fingerprint(where, settled.fingerprint, identity, spec.fingerprint, spec.identity)
    return spec, any(array == "frames" for _, array in held)


def _weights(name: str, used: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """Return the seeds that were used; raise where files were that only the user can name."""
    found: dict[str, str] = {}
    for role, identity in used.items():
        if identity.startswith("random:"):
            found[f"{name}.{role}"] = identity.split()[0]
        elif f"{name}.{role}" not in given and name != HEAR and not name.startswith(STUDENT_PREFIX):
            facts = cards.load_extractor_card(name).weights
            files = [own for key, own in facts.items() if key.partition("/")[0] == role]
            begins = [own.sha256 or own.sha256_prefix or "" for own in files]
            if not any(identity.removeprefix("sha256:").startswith(text) for text in begins):
                key = name if role == "main" else f"{name}.{role}"
                raise CacheError(
                    f"{name}: these embeddings were computed with a weights file of {identity}, "
                    f"which is not the official one. Name it: --weights {key}=PATH"
                )
    return found


def _mend_head(jobs: Sequence[PartJob], where: Path, spec: Spec, device: str) -> None:
    """Make the kept head anew: loading the extractor keeps it."""
    from probekit.extraction import worker

    (where.parent / head.HEAD_FILE).unlink()
    worker.get_extractor(PartJob(where / layout.part_name(0), (), spec, False, ""), device)
    worker.clear_extractors()


def _advice(settled: Layout) -> str:
    return _HOW.format(
        extractor=settled.extractor, fingerprint=settled.fingerprint[:8], dataset=settled.dataset
    )


def _silent(clips: int, seconds: float, failures: int) -> None:
    """Take progress, and show none."""
