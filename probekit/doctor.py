"""Checks of an installation: versions, devices, decoders, folders, extractors, weights."""

import importlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.cards import ExtractorCard
from probekit.errors import AudioError
from probekit.extractors.weights import inventory, source
from probekit.parallel import resources
from probekit.utils.text import first_line

# numpy, torch, soundfile and soxr are imported when used: a broken one is a failed check

TOLERANCE = 1e-3  # in standard deviations of a stream; rounding on other machines stays below 1e-4
LARGE = 20e6, 20.0  # parameters, GFLOP per second of audio; larger networks need everything=True
MIN_FREE = 1e9  # bytes that should be free on a disk
LIBRARIES = ("probekit", "torch", "numpy", "scipy", "sklearn", "h5py", "soundfile", "soxr", "av")
FORMATS = ("wav", "flac", "ogg", "mp3")
REINSTALL = "Reinstall it: pip install --upgrade --force-reinstall {}"
HASH_STATES = {"right": "ok"}  # the inventory's states in the words of this module


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes
    ----------
    part : {"versions", "devices", "decoders", "folders", "extractors", "weights"}
        Part of the installation.
    name : str
        What was checked.
    state : {"ok", "info", "error"}
        ``info`` is no problem.
    result : str
        What the check found.
    advice : str
        What to do; empty if nothing.
    """

    part: str
    name: str
    state: str
    result: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the check as ``probekit doctor --json`` prints it."""
        return {
            "part": self.part,
            "name": self.name,
            "state": {"ok": "right", "info": "note", "error": "wrong"}[self.state],
            "found": self.result,
            "advice": self.advice,
        }


def run_checks(
    *,
    everything: bool = False,
    device: str = "cpu",
    cache: str | Path | None = None,
    reports: str | Path | None = None,
    step: Callable[[str], None] | None = None,
) -> list[Check]:
    """Check everything that probekit needs to work.

    Parameters
    ----------
    everything : bool
        Run the large networks as well: some 10 s more, and 1 GB of memory.
    device : str
        Where the extractors run: ``"cpu"``, ``"cuda"`` …
    cache, reports : str or pathlib.Path, optional
        As for :func:`probekit.extract` and :func:`probekit.evaluate`.
    step : callable, optional
        Called with the name of each check before it runs.

    Raises
    ------
    ProbekitError
        If the device does not exist, or a file of probekit itself is missing.
    """
    report_step = step or (lambda name: None)
    report_step("versions")
    checks = list(_check_versions())
    if not any(check.name == "torch" and check.state == "error" for check in checks):
        resources.resolve_device(device)  # a missing device is no fault of the extractors
    parts: dict[str, Callable[[], Iterable[Check]]] = {
        "devices": _check_devices,
        "decoders": lambda: map(_check_decoder, FORMATS),
        "folders": lambda: _check_folders(cache, reports),
        "extractors": lambda: _check_extractors(everything, device, report_step),
        "weights": _check_weights,
    }
    for part, run_part in parts.items():
        report_step(part)
        try:
            checks += run_part()
        except Exception as error:  # whatever it is, the other checks must run
            advice = "If a library has an error above, repair that first; else report this."
            checks.append(Check(part, part, "error", first_line(error), advice))
    return checks


def _check_versions() -> Iterator[Check]:
    """Check Python and the libraries."""
    python = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Check(
        "versions",
        "python",
        "error" if old else "ok",
        python,
        "probekit needs Python 3.11 or newer." if old else "",
    )
    for name in LIBRARIES:
        package = {"sklearn": "scikit-learn"}.get(name, name)
        try:
            module = importlib.import_module(name)
            version = metadata.version(package)
        except Exception as error:  # a broken library can raise anything
            yield Check("versions", name, "error", first_line(error), REINSTALL.format(package))
            continue
        if name == "soundfile":
            version += f", libsndfile {module.__libsndfile_version__}"
        yield Check("versions", name, "ok", version)


def _check_devices() -> Iterator[Check]:
    """Check the devices that networks can run on."""
    import torch

    features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch >= 2.13
    hardware = [features[key] for key in ("avx512_bf16", "amx_bf16", "bf16") if key in features]
    bf16 = "unknown"
    if hardware:
        bf16 = "in hardware" if any(hardware) else "emulated, slow"
    yield Check(
        "devices",
        "cpu",
        "ok",
        f"{resources.cpu_count()} cores, {platform.machine()}; bf16 {bf16}",
    )
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is None:
            yield Check("devices", "cuda", "info", "no CUDA device")
        elif torch.version.cuda is None:
            yield Check(
                "devices",
                "cuda",
                "info",
                "nvidia-smi is installed, but torch has no CUDA",
                "To use the GPU, install torch for CUDA: https://pytorch.org",
            )
        else:
            yield Check(
                "devices",
                "cuda",
                "info",
                f"torch has CUDA {torch.version.cuda}, but no device is available",
                "To use the GPU: nvidia-smi must list it, CUDA_VISIBLE_DEVICES must not "
                "hide it, and its driver must not be older than torch's CUDA.",
            )
        return
    for i in range(torch.cuda.device_count()):
        name = f"cuda:{i}"
        try:
            properties = torch.cuda.get_device_properties(i)
            with torch.cuda.device(i):
                native = torch.cuda.is_bf16_supported(including_emulation=False)
            ones = torch.ones(64, 64, device=name)
            correct = bool((ones @ ones == 64).all())
        except RuntimeError as error:
            yield Check(
                "devices",
                name,
                "error",
                first_line(error),
                "Install a torch that was built for this GPU and its driver: "
                "https://pytorch.org; until then, --device cpu",
            )
            continue
        yield Check(
            "devices",
            name,
            "ok" if correct else "error",
            f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, CUDA "
            f"{torch.version.cuda}; bf16 {'in hardware' if native else 'emulated, slow'}",
            "" if correct else "Its results are wrong; use --device cpu.",
        )


def _check_decoder(name: str) -> Check:
    """Write a tone, read it back resampled, and compare duration, frequency and level."""
    import numpy as np
    import soundfile

    from probekit import audio

    sr, frequency, level, duration, file_sr = 16000, 440.0, 0.5, 0.5, 44100
    samples = np.arange(round(duration * file_sr))
    tone = level * np.sin(2 * np.pi * frequency / file_sr * samples)
    subtype = "PCM_16" if name in ("wav", "flac") else None
    try:
        with tempfile.TemporaryDirectory(prefix="probekit-") as folder:
            path = Path(folder) / f"tone.{name}"
            soundfile.write(path, tone, file_sr, subtype, format=name.upper())
            decoded = audio.load(path, sr)
    except (AudioError, OSError, RuntimeError, TypeError, ValueError) as error:
        return Check(
            "decoders",
            name,
            "error",
            first_line(error),
            "libsndfile 1.1 or newer reads and writes it: pip install --upgrade "
            "soundfile; until then, convert such recordings to wav or flac.",
        )
    demodulator = np.exp(-2j * np.pi * frequency / sr * np.arange(len(decoded.wave)))
    measured = 2 * abs(np.mean(decoded.wave * demodulator)) * decoded.duration / duration
    if abs(measured - level) > 0.02 or abs(decoded.duration - duration) > 0.1:
        return Check(
            "decoders",
            name,
            "error",
            f"a tone of {duration:g} s and level {level:g} was read back as "
            f"{decoded.duration:.3f} s and {measured:.3f}",
            REINSTALL.format("soundfile soxr"),
        )
    return Check("decoders", name, "ok", "written, read back, resampled")


def _check_folders(cache: str | Path | None, reports: str | Path | None) -> Iterator[Check]:
    """Check that probekit can write into its folders, without creating them."""
    from probekit.cache import layout
    from probekit.scores import store

    folders = {
        "downloads": (source.weights_folder(), "PROBEKIT_HOME"),
        "cache": (layout.cache_root(cache), "--cache or PROBEKIT_CACHE"),
        "reports": (store.reports_root(reports), "--reports or PROBEKIT_REPORTS"),
    }
    for name, (folder, setting) in folders.items():
        path = folder.absolute()
        existing = next(p for p in (path, *path.parents) if p.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                free = shutil.disk_usage(existing).free
        except OSError as error:
            yield Check(
                "folders",
                name,
                "error",
                f"{path}: cannot write in {existing} ({error.strerror})",
                f"Make it a writable folder, or choose another folder by {setting}.",
            )
            continue
        existence = "exists" if path.exists() else "will be created"
        scarce = free < MIN_FREE
        yield Check(
            "folders",
            name,
            "info" if scarce else "ok",
            f"{path}: {existence}, writable, {free / 1e9:.1f} GB free",
            f"Free disk space, or choose another folder by {setting}." if scarce else "",
        )


def _check_weights() -> Iterator[Check]:
    """Check the weights files, without reading them."""
    for weights in inventory.list_weights():
        name = f"{weights.extractor}/{weights.role}"
        if weights.state == "wrong":
            yield Check(
                "weights",
                name,
                "error",
                f"{weights.path}: {weights.fault}",
                f"Delete it, then: probekit weights get {weights.extractor}",
            )
        elif weights.present:
            advice = "probekit weights verify checks it." if weights.state == "not checked" else ""
            yield Check(
                "weights",
                name,
                "ok",
                f"present, hash: {HASH_STATES.get(weights.state, weights.state)}",
                advice,
            )
        elif weights.url is None:
            yield Check(
                "weights",
                name,
                "info",
                "not present and not public",
                "probekit weights get NAME prints where to get it.",
            )
        else:
            yield Check(
                "weights",
                name,
                "info",
                "not present",
                "They are downloaded when needed, or by: probekit weights get NAME",
            )


def _check_extractors(
    everything: bool, device: str, report_step: Callable[[str], None]
) -> Iterator[Check]:
    """Check all extractors."""
    from probekit.extractors import selftest

    expected = selftest.load_expected()
    for name in cards.card_paths("extractors"):
        report_step(name)
        yield _check_extractor(
            cards.load_extractor_card(name), expected.get(name), everything, device
        )


def _check_extractor(
    card: ExtractorCard, expected: dict[str, Any] | None, everything: bool, device: str
) -> Check:
    """Run an extractor with random weights, and compare with its reference."""
    from probekit.extractors import selftest

    name = card.name
    if expected is None or expected["version"] != card.version:
        return Check("extractors", name, "info", f"no reference for version {card.version}")
    if _is_large(card) and not everything:
        return Check(
            "extractors", name, "info", "not run: a large network", "probekit doctor --all runs it."
        )
    advice = (
        f"Do not use {name} on this machine until this is solved. Install torch, numpy and soxr in "
        "the versions of constraints.txt; if that does not help, report it with probekit doctor "
        "--json."
    )
    # a second of audio through a small network: synchronizing threads costs more than they save
    threads = nullcontext() if _is_large(card) else resources.single_threaded()
    try:
        with threads:
            actual = selftest.compute_reference(name, device)
    except Exception as error:
        return Check("extractors", name, "error", first_line(error), advice)
    deviations = selftest.compare(actual, expected["streams"])
    worst = max(deviations, key=lambda stream: deviations[stream])
    if deviations[worst] > TOLERANCE:
        return Check(
            "extractors",
            name,
            "error",
            f"stream {worst} is off by {deviations[worst]:.2g} standard deviations "
            f"(allowed: {TOLERANCE:g})",
            advice,
        )
    return Check(
        "extractors",
        name,
        "ok",
        f"on {device}: off by at most {deviations[worst]:.1g} standard deviations",
    )


def _is_large(card: ExtractorCard) -> bool:
    """Tell whether a network takes more than a few seconds for the test wave."""
    parameters, gflop = LARGE
    return (card.parameter_count or 0) > parameters or (card.gflop_per_second or 0) > gflop
