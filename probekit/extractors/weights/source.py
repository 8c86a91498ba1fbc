"""Weights of an extractor: the official file, a user's file, or a random seed."""

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.cards import ExtractorCard, Params, WeightsFile
from probekit.cards.selector import (
    HEAR,
    HF,
    MODEL,
    ONNX,
    REVISION,
    STUDENT_PREFIX,
    EmbeddingSelector,
    display_name,
    parse_selector,
)
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors.weights import download
from probekit.extractors.weights.download import Digests, Progress
from probekit.utils.atomic import atomic_write_text
from probekit.utils.suggest import did_you_mean

MAIN = "main"  # the default role of a weights file
INITIALIZATION = 1  # version of how a seed becomes weights; a change of it changes fingerprints
_MIN_AGE = 2.0  # seconds: a file changed later could change again within its time stamp


@dataclass(frozen=True)
class WeightsSource:
    """Where one set of weights comes from.

    Attributes
    ----------
    path : pathlib.Path or None
        The file; None for random weights.
    seed : int or None
        The seed; None for a file.
    sha256 : str
        The file's hash; empty for random weights.
    """

    path: Path | None = None
    seed: int | None = None
    sha256: str = ""

    @property
    def identity(self) -> str:
        """What the fingerprint covers: the file's hash, or the seed and how it is used."""
        if self.seed is not None:
            return f"random:{self.seed} (initialization {INITIALIZATION})"
        return f"sha256:{self.sha256}"


def weights_folder() -> Path:
    """Return the folder of downloaded weights: ``PROBEKIT_HOME``, else ``~/.cache/probekit``."""
    home = os.environ.get("PROBEKIT_HOME")
    return Path(home) if home else Path.home() / ".cache" / "probekit"


def local_path(card: ExtractorCard, facts: WeightsFile) -> Path:
    """Return the path of a card's weights file on this machine, whether it exists or not.

    That is the folder of downloads, or the folder of a user's card for a file that lies there or
    has no address.
    """
    folder = cards.user_folder(card)
    if folder is not None and facts.file:
        beside = folder / facts.file
        if facts.url is None or beside.is_file():
            return beside
    return weights_folder() / "weights" / card.name / facts.file


def required_weights(
    card: ExtractorCard, params: Params, streams: tuple[str, ...]
) -> dict[str, WeightsFile]:
    """Return the weights files that parameters and streams need, by role.

    A role (``"main"`` …) is the part of the card's key before ``/``.
    """
    files: dict[str, WeightsFile] = {}
    for key, facts in card.weights.items():
        used = facts.streams is None or bool(set(facts.streams) & set(streams))
        if used and all(params[name] == value for name, value in facts.when.items()):
            files[key.partition("/")[0]] = facts
    return files


def resolve_weights(
    card: ExtractorCard,
    role: str,
    facts: WeightsFile,
    override: str | None = None,
    progress: Progress | None = None,
) -> WeightsSource:
    """Return the source of the weights of a role; an official file is downloaded if missing.

    Parameters
    ----------
    card : ExtractorCard
        The extractor's card.
    role : str
        Name of the weights file, for example ``"main"``.
    facts : WeightsFile
        Its entry in the card.
    override : str, optional
        The user's choice: a path or ``random:SEED``.
    progress : callable, optional
        Called during a download with the bytes received and the size of the file, or None.

    Returns
    -------
    WeightsSource
        An existing file with the card's hash, or a seed.

    Raises
    ------
    WeightsError
        If the file does not exist, cannot be downloaded, or has another hash.
    """
    if override is not None and override.startswith("random"):
        _, _, seed = override.partition(":")
        if not seed.isdigit():
            raise WeightsError(
                f"--weights {card.name}: random weights must be random:SEED with an integer "
                f"SEED >= 0, such as random:0, got {override!r}"
            )
        if not facts.random:
            raise WeightsError(f"{card.name}: {role} weights must not be random")
        return WeightsSource(seed=int(seed))
    if override is not None:
        path = Path(override)
        if not path.is_file():
            raise WeightsError(f"--weights {card.name}={override}: file not found")
        return WeightsSource(path=path, sha256=file_digests(path).sha256)
    path = local_path(card, facts)
    if not path.is_file() and facts.url is None and not facts.missing and cards.user_folder(card):
        option = card.name if role == MAIN else f"{card.name}.{role}"
        raise WeightsError(
            f"{path}: no such file of weights, which the card of {card.name} names. Save it there, "
            f"or name another: --weights {option}=PATH, or {option}=random:0 for random weights"
        )
    if not path.is_file():
        received = download.download_weights(card, role, facts, path, progress)
        return WeightsSource(path=path, sha256=received.sha256)
    digests = file_digests(path)
    mismatch = download.digest_mismatch(facts, path.stat().st_size, digests)
    if mismatch:
        raise WeightsError(
            f"{path}: {mismatch}. Delete the file and try again, or name your own file: "
            f"--weights {card.name if role == MAIN else f'{card.name}.{role}'}=PATH"
        )
    return WeightsSource(path=path, sha256=digests.sha256)


def file_digests(path: Path, *, refresh: bool = False) -> Digests:
    """Return the hashes of a file, which is read only if it changed since the last time.

    Known hashes are in ``hashes.json`` under :func:`weights_folder`, by path, size and time of
    change; ``refresh`` reads the file in any case.
    """
    known = None if refresh else cached_digests(path)
    if known is None:
        before = path.stat()
        known = download.compute_digests(path)
        _save_digests(path, before, known)
    return known


def cached_digests(path: Path) -> Digests | None:
    """Return the hashes of a file if they are known without reading it."""
    entry = _load_digests().get(str(path.resolve()))
    with suppress(KeyError, TypeError):
        if entry is not None and _stat_key(path.stat()) == (entry["size"], entry["mtime_ns"]):
            return Digests(entry["sha256"], entry["git_blob"], entry["md5"])
    return None


def _digests_file() -> Path:
    return weights_folder() / "hashes.json"


def _save_digests(path: Path, before: os.stat_result, digests: Digests) -> None:
    """Save the hashes of a file that did not change meanwhile; ignore a folder without access."""
    size, mtime_ns = _stat_key(before)
    if _stat_key(path.stat()) != (size, mtime_ns) or time.time() - mtime_ns / 1e9 < _MIN_AGE:
        return
    entries = {name: entry for name, entry in _load_digests().items() if Path(name).is_file()}
    entries[str(path.resolve())] = {"size": size, "mtime_ns": mtime_ns, **asdict(digests)}
    file = _digests_file()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(entries, indent=1))


def _load_digests() -> dict[str, Any]:
    """Return the saved hashes by path; none if the file is damaged."""
    try:
        content = json.loads(_digests_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stat_key(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def parse_overrides(texts: Sequence[str]) -> dict[str, str]:
    """Parse ``--weights`` options.

    Parameters
    ----------
    texts : sequence of str
        Each ``EXTRACTOR=PATH``, ``EXTRACTOR=random:SEED`` or ``EXTRACTOR.FILE=…``, where FILE is
        a name under ``weights`` in the card (``main`` by default).

    Returns
    -------
    dict of str to str
        ``extractor.file`` to path or ``random:SEED``.

    Raises
    ------
    ProbekitError
        If one has no ``=``.
    """
    overrides: dict[str, str] = {}
    for text in texts:
        key, equals, value = _split_option(text)
        if not (key and equals and value):
            raise ProbekitError(f"--weights must be NAME=PATH or NAME=random:SEED, got {text!r}")
        overrides[key if "." in key else f"{key}.{MAIN}"] = value
    return overrides


def validate_overrides(
    texts: Sequence[str], extractors: Sequence[str], option: str = "-e"
) -> dict[str, str]:
    """Parse ``--weights`` options, each of which must belong to one of the extractors.

    Parameters
    ----------
    texts : sequence of str
        As for :func:`parse_overrides`.
    extractors : sequence of str
        The extractors of a command, each as after ``-e``.
    option : str
        The option that named them, for messages.

    Returns
    -------
    dict of str to str
        ``extractor.file`` to path or ``random:SEED``.

    Raises
    ------
    ProbekitError
        If one has no ``=``, names another extractor, or a file that its extractor does not have.
    """
    overrides = parse_overrides(texts)
    if not texts:
        return overrides
    roles = {
        name: files for text in extractors for name, files in _roles(parse_selector(text)).items()
    }
    for text in texts:
        key = _split_option(text)[0]
        name, role = _split_key(key)
        if name == HEAR and any(extractor.startswith(HEAR) for extractor in roles):
            continue  # without a module: reported by name when it is loaded
        if not extractors:
            raise ProbekitError(f"--weights {name}: {option} names no extractor")
        if name not in roles:
            raise ProbekitError(
                f"--weights {name}: not among the extractors of {option}: "
                f"{', '.join(extractors)}.{did_you_mean(name, roles)}"
            )
        if not roles[name]:
            raise ProbekitError(f"--weights {name}: {name} takes no weights file. Leave it out")
        if role not in roles[name]:
            raise ProbekitError(
                f"--weights {key}: {name} has no weights file {role!r}."
                f"{did_you_mean(role, roles[name])} Known: {', '.join(sorted(roles[name]))}"
            )
    return overrides


def _roles(selector: EmbeddingSelector) -> dict[str, set[str]]:
    """Return the names of an extractor in ``--weights``, each with its weights files."""
    name = selector.name
    if name in (HF, ONNX):
        plain = {key: value for key, value in selector.params.items() if key in (MODEL, REVISION)}
        without = EmbeddingSelector(name, params={MODEL: plain.get(MODEL, "")})
        return {
            text: {MAIN}
            for text in (name, str(without), str(EmbeddingSelector(name, params=plain)))
        }
    if name == HEAR:
        return {f"{HEAR}:{selector.params.get('module', '')}": {MAIN}}
    if name.startswith(STUDENT_PREFIX):  # its weights are part of it
        return {name: set(), display_name(name): set()}
    return {name: {key.partition("/")[0] for key in cards.load_extractor_card(name).weights}}


def _split_option(text: str) -> tuple[str, str, str]:
    """Return key, ``=`` and value of an option; a model's path may hold an ``=``."""
    if text.startswith((f"{HF}:", f"{ONNX}:")):
        key, equals, value = text.rpartition("=")
        return key, equals, value
    return text.partition("=")


def _split_key(key: str) -> tuple[str, str]:
    """Return extractor and file of an option; the dots of a module's name belong to the name."""
    if key.startswith((f"{HEAR}:", f"{HF}:", f"{ONNX}:")):
        return key.removesuffix(f".{MAIN}"), MAIN
    name, _, role = key.partition(".")
    return name, role or MAIN
