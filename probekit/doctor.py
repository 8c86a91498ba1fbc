"""Is this installation right: versions, devices, decoders, folders, extractors, weights."""

import importlib
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.cards import ExtractorCard
from probekit.errors import AudioError
from probekit.extractors.weights import inventory, source
from probekit.parallel import resources

# numpy, torch, soundfile and soxr are imported where they are used: one that is broken is a finding

TOLERANCE = 1e-3  # of a stream's standard deviation; other machines' rounding stays below 1e-4
LARGE = 20e6, 20.0  # parameters, GFLOP per second of audio: from there on only with everything=True
ROOM = 1e9  # bytes that should be free
LIBRARIES = ("probekit", "torch", "numpy", "scipy", "sklearn", "h5py", "soundfile", "soxr")
FORMATS = ("wav", "flac", "ogg", "mp3")
REINSTALL = "Install it again: pip install --upgrade --force-reinstall {}"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    part : {"versions", "devices", "decoders", "folders", "extractors", "weights"}
        What it belongs to.
    name : str
        What it is.
    state : {"right", "note", "wrong"}
        ``note`` is worth knowing, and no fault.
    found : str
        What was found.
    advice : str
        What to do; empty where nothing is to be done.
    """

    part: str
    name: str
    state: str
    found: str
    advice: str = ""


def run_checks(
    *,
    everything: bool = False,
    device: str = "cpu",
    cache: str | Path | None = None,
    reports: str | Path | None = None,
    step: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Look at everything that has to be right for probekit to work.

    Parameters
    ----------
    everything : bool
        Run the large networks too: some 10 s more, and 1 GB of memory.
    device : str
        Where the extractors run: ``"cpu"``, ``"cuda"`` …
    cache, reports : str or pathlib.Path, optional
        As for :func:`probekit.extract` and :func:`probekit.evaluate`.
    step : callable, optional
        Called with the name of each thing before it is looked at.

    Returns
    -------
    list of Finding
        Something is wrong where one of them has the state ``"wrong"``.

    Raises
    ------
    ProbekitError
        If there is no such device, or a file of probekit itself is missing.
    """
    tell = step or (lambda name: None)
    tell("versions")
    found = list(_versions())
    if not any(one.name == "torch" and one.state == "wrong" for one in found):
        resources.device(device)  # if it is not there, that is no fault of the extractors
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "devices": _devices,
        "decoders": lambda: map(_decoder, FORMATS),
        "folders": lambda: _folders(cache, reports),
        "extractors": lambda: _extractors(everything, device, tell),
        "weights": _weights,
    }
    for name, look in parts.items():
        tell(name)
        try:
            found += look()
        except Exception as error:  # whatever it is, the other findings are wanted too
            found.append(
                Finding(
                    name,
                    name,
                    "wrong",
                    _line(error),
                    "If a library is wrong above, mend that first; else report this.",
                )
            )
    return found


def _versions() -> Iterator[Finding]:
    """Look at Python, and what probekit stands on."""
    python = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Finding(
        "versions",
        "python",
        "wrong" if old else "right",
        python,
        "probekit needs Python 3.11 or newer." if old else "",
    )
    for name in LIBRARIES:
        package = {"sklearn": "scikit-learn"}.get(name, name)
        try:
            module = importlib.import_module(name)
            version = metadata.version(package)
        except Exception as error:  # a broken library can raise anything
            yield Finding("versions", name, "wrong", _line(error), REINSTALL.format(package))
            continue
        if name == "soundfile":
            version += f", libsndfile {module.__libsndfile_version__}"
        yield Finding("versions", name, "right", version)


def _devices() -> Iterator[Finding]:
    """Look at what networks can run on."""
    import torch

    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.13 has it
    hardware = [able[key] for key in ("avx512_bf16", "amx_bf16", "bf16") if key in able]
    bf16 = "not known"
    if hardware:
        bf16 = "in hardware" if any(hardware) else "emulated, slow"
    yield Finding(
        "devices",
        "cpu",
        "right",
        f"{resources.cpu_count()} cores, {platform.machine()}; bf16 {bf16}",
    )
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is None:
            yield Finding("devices", "cuda", "note", "no CUDA device")
        elif torch.version.cuda is None:
            yield Finding(
                "devices",
                "cuda",
                "note",
                "nvidia-smi is here, but torch has no CUDA",
                "To use the GPU, install torch for CUDA: https://pytorch.org",
            )
        else:
            yield Finding(
                "devices",
                "cuda",
                "note",
                f"torch has CUDA {torch.version.cuda}, but finds no device",
                "To use the GPU: nvidia-smi must list it, CUDA_VISIBLE_DEVICES must not "
                "hide it, and its driver must not be older than torch's CUDA.",
            )
        return
    for i in range(torch.cuda.device_count()):
        name = f"cuda:{i}"
        try:
            facts = torch.cuda.get_device_properties(i)
            with torch.cuda.device(i):
                native = torch.cuda.is_bf16_supported(including_emulation=False)
            ones = torch.ones(64, 64, device=name)
            whole = bool((ones @ ones == 64).all())
        except RuntimeError as error:
            yield Finding(
                "devices",
                name,
                "wrong",
                _line(error),
                "Install a torch that was built for this GPU and its driver: "
                "https://pytorch.org; until then, --device cpu",
            )
            continue
        yield Finding(
            "devices",
            name,
            "right" if whole else "wrong",
            f"{facts.name}, {facts.total_memory / 1e9:.0f} GB, CUDA "
            f"{torch.version.cuda}; bf16 {'in hardware' if native else 'emulated, slow'}",
            "" if whole else "It computes wrongly; use --device cpu.",
        )


def _decoder(name: str) -> Finding:
    """Write a tone, and read it back resampled: is it as long, as high and as loud as it was."""
    import numpy as np
    import soundfile

    from probekit.audio import recording

    rate, hertz, level, seconds, own = 16000, 440.0, 0.5, 0.5, 44100
    tone = level * np.sin(2 * np.pi * hertz / own * np.arange(round(seconds * own)))
    subtype = "PCM_16" if name in ("wav", "flac") else None
    try:
        with tempfile.TemporaryDirectory(prefix="probekit-") as folder:
            path = Path(folder) / f"tone.{name}"
            soundfile.write(path, tone, own, subtype, format=name.upper())
            heard = recording.load(path, rate)
    except (AudioError, OSError, RuntimeError, TypeError, ValueError) as error:
        return Finding(
            "decoders",
            name,
            "wrong",
            _line(error),
            "libsndfile 1.1 or newer reads and writes it: pip install --upgrade "
            "soundfile; until then, convert such recordings to wav or flac.",
        )
    turn = np.exp(-2j * np.pi * hertz / rate * np.arange(len(heard.wave)))
    measured = 2 * abs(np.mean(heard.wave * turn)) * heard.seconds / seconds
    if abs(measured - level) > 0.02 or abs(heard.seconds - seconds) > 0.1:
        return Finding(
            "decoders",
            name,
            "wrong",
            f"a tone of {seconds:g} s and level {level:g} was read back as "
            f"{heard.seconds:.3f} s and {measured:.3f}",
            REINSTALL.format("soundfile soxr"),
        )
    return Finding("decoders", name, "right", "written, read back, resampled")


def _folders(cache: str | Path | None, reports: str | Path | None) -> Iterator[Finding]:
    """Try whether probekit can write where it will."""
    from probekit.cache import layout
    from probekit.scores import store

    folders = {
        "downloads": (source.weights_dir(), "PROBEKIT_HOME"),
        "cache": (layout.root(cache), "--cache or PROBEKIT_CACHE"),
        "reports": (store.root(reports), "--reports or PROBEKIT_REPORTS"),
    }
    for name, (folder, setting) in folders.items():
        place = folder.absolute()
        nearest = next(p for p in (place, *place.parents) if p.exists())
        try:
            with tempfile.TemporaryFile(dir=nearest):
                free = shutil.disk_usage(nearest).free
        except OSError as error:
            yield Finding(
                "folders",
                name,
                "wrong",
                f"{place}: cannot write in {nearest} ({error.strerror})",
                f"Make it a folder that you may write to, or name another by {setting}.",
            )
            continue
        there = "is here" if place.exists() else "will be made"
        scarce = free < ROOM
        yield Finding(
            "folders",
            name,
            "note" if scarce else "right",
            f"{place}: {there}, writable, {free / 1e9:.1f} GB free",
            f"Make room, or name another folder by {setting}." if scarce else "",
        )


def _weights() -> Iterator[Finding]:
    """List which weights files are here, as far as that is known without reading them."""
    for one in inventory.held():
        name = f"{one.extractor}/{one.role}"
        if one.state == "wrong":
            yield Finding(
                "weights",
                name,
                "wrong",
                f"{one.path}: {one.fault}",
                f"Delete it, then: probekit weights get {one.extractor}",
            )
        elif one.present:
            advice = "probekit weights verify reads it." if one.state == "not checked" else ""
            yield Finding("weights", name, "right", f"here, hash: {one.state}", advice)
        elif one.url is None:
            yield Finding(
                "weights",
                name,
                "note",
                "not here and not public",
                "probekit weights get NAME says what can be used instead.",
            )
        else:
            yield Finding(
                "weights",
                name,
                "note",
                "not here",
                "They come when they are needed, or by: probekit weights get NAME",
            )


def _extractors(everything: bool, device: str, tell: Callable[[str], None]) -> Iterator[Finding]:
    """Run all extractors."""
    from probekit.extractors import selftest

    expected = selftest.read()
    for name in cards.card_paths("extractors"):
        tell(name)
        yield _extractor(cards.load_extractor_card(name), expected.get(name), everything, device)


def _extractor(
    card: ExtractorCard, expected: dict[str, Any] | None, everything: bool, device: str
) -> Finding:
    """Run an extractor, and compare with what it should give."""
    from probekit.extractors import selftest

    name = card.name
    if expected is None or expected["version"] != card.version:
        return Finding("extractors", name, "note", f"no reference for version {card.version}")
    if is_slow(card) and not everything:
        return Finding(
            "extractors", name, "note", "not run: a large network", "probekit doctor --all runs it."
        )
    advice = (
        f"Do not use {name} here before this is clear. Install torch, numpy and soxr again in the "
        "versions of constraints.txt; if it stays, report it with probekit doctor --json."
    )
    try:
        found = selftest.compute_reference(name, device)
    except Exception as error:
        return Finding("extractors", name, "wrong", _line(error), advice)
    faults = selftest.compare(found, expected["streams"])
    worst = max(faults, key=lambda stream: faults[stream])
    if faults[worst] > TOLERANCE:
        return Finding(
            "extractors",
            name,
            "wrong",
            f"stream {worst} is off by {faults[worst]:.2g} standard deviations "
            f"(allowed: {TOLERANCE:g})",
            advice,
        )
    return Finding(
        "extractors",
        name,
        "right",
        f"on {device}: off by at most {faults[worst]:.1g} standard deviations",
    )


def _line(error: Exception) -> str:
    """Return the first line of what is wrong."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def is_slow(card: ExtractorCard) -> bool:
    """Say whether a network takes more than a few seconds for the wave."""
    parameters, gflop = LARGE
    return (card.parameter_count or 0) > parameters or (card.gflop_per_second or 0) > gflop


def make_reference(path: Path | None = None) -> Path:
    """Run every extractor, large ones too, and keep what they give: for developers.

    Needed when an extractor is added or its card's version rises::

        python -c "from probekit import doctor; doctor.make_reference()"

    Look at the difference before you keep it: a number that changed without a new version of its
    card is a fault.

    Parameters
    ----------
    path : pathlib.Path, optional
        The file to write; ``extractors/selftest.json`` in the package if not given.

    Returns
    -------
    pathlib.Path
        The file.
    """
    from probekit.extractors import selftest

    path = path or selftest.FILE
    made = {
        name: {
            "version": cards.load_extractor_card(name).version,
            "streams": selftest.compute_reference(name),
        }
        for name in cards.card_paths("extractors")
    }
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return path
