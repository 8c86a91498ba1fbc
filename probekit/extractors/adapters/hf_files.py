"""Files of a model of transformers: found on the disk or the hub, inspected, never executed.

A model is a folder with ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from probekit.cards.selector import HF
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors.weights.source import file_digests
from probekit.utils.text import forbids_commerce

CONFIG, PREPROCESSOR, PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_README = "README.md"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.bin")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# licenses of checkpoints whose model card states none
_KNOWN_LICENSES = {"facebook/encodec": "cc-by-nc-4.0"}


@dataclass(frozen=True)
class ModelFiles:
    """Files of one model, on this machine.

    Attributes
    ----------
    folder : pathlib.Path
        Where they are.
    name : str
        ``ORG/NAME`` of the hub, or the folder's name.
    config : dict
        Content of ``config.json``.
    settings : dict
        Content of ``preprocessor_config.json``.
    weights : pathlib.Path or None
        ``model.safetensors``, or the index of several; None where weights are random.
    digests : dict of str to str
        SHA-256 of ``config`` and ``preprocessor``.
    licence : str
        From the front matter of the model card; empty if it states none.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    settings: dict[str, Any]
    weights: Path | None
    digests: dict[str, str]
    licence: str

    @property
    def is_noncommercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return forbids_commerce(self.licence)


def find_files(model: str, revision: str, *, with_weights: bool = True) -> ModelFiles:
    """Find the files of a model, downloading those of the hub that are missing.

    Parameters
    ----------
    model : str
        A folder, or ``ORG/NAME`` of the hub.
    revision : str
        Branch, tag or commit of the hub; empty for the default branch.
    with_weights : bool
        Whether weights are needed, too.

    Returns
    -------
    ModelFiles
        Their JSON is read, their weights are complete.

    Raises
    ------
    ProbekitError
        If a file is missing, damaged, asks for code of its own, or cannot be downloaded.
    """
    path = Path(model).expanduser()
    if path.is_file():
        raise ProbekitError(
            f"{HF}:{model}: a file; name the folder that holds {CONFIG}, {PREPROCESSOR} and "
            f"{WEIGHTS}, or write onnx:FILE for a network in ONNX format"
        )
    if path.is_dir() and not revision:
        return _read_folder(path, path.resolve().name, with_weights)
    if not _HUB_NAME.fullmatch(model):
        raise ProbekitError(
            f"{HF}:{model}: no such folder, and no name of the hub, which is ORG/NAME or "
            "ORG/NAME@REVISION"
        )
    if path.is_dir():
        raise ProbekitError(
            f"{HF}:{model}@{revision}: {model} is a folder here, which has no revisions. Leave out "
            f"@{revision}, or start the command in another folder"
        )
    folder = _download(model, revision, with_weights)
    return _read_folder(folder, model, with_weights)


def _read_folder(folder: Path, name: str, with_weights: bool) -> ModelFiles:
    """Read and check a folder of a model."""
    config_path = folder / CONFIG
    if not config_path.is_file():
        raise ProbekitError(f"{folder}: no {CONFIG} in this folder, so no model of transformers")
    config = _read_json(config_path)
    settings, settings_path = _read_settings(folder)
    _check_no_code(config, config_path)
    _check_no_code(settings, settings_path)
    digests = {
        "config": file_digests(config_path).sha256,
        "preprocessor": file_digests(settings_path).sha256,
    }
    weights = _find_weights(folder) if with_weights else None
    licence = _read_licence(folder / _README) or next(
        (text for start, text in _KNOWN_LICENSES.items() if name.startswith(start)), ""
    )
    return ModelFiles(folder, name, config, settings, weights, digests, licence)


def _read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProbekitError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ProbekitError(f"{path}: must be a JSON object, got {type(content).__name__}")
    return content


def _read_settings(folder: Path) -> tuple[dict[str, Any], Path]:
    """Return the settings of the front-end and their file."""
    nested = folder / PROCESSOR
    if nested.is_file():
        content = _read_json(nested).get("feature_extractor")
        if isinstance(content, dict):
            return content, nested
    path = folder / PREPROCESSOR
    if not path.is_file():
        raise ProbekitError(
            f"{folder}: no {PREPROCESSOR}, which states the sample rate and the front-end. Copy it "
            "from the model's page; a model that you saved: feature_extractor.save_pretrained"
            "(FOLDER)"
        )
    return _read_json(path), path


def _check_no_code(content: dict[str, Any], path: Path) -> None:
    """Raise if a configuration names Python files of its own."""
    if content.get("auto_map"):
        names = ", ".join(map(str, content["auto_map"].values()))
        raise ProbekitError(
            f"{path}: asks for code of its own ({names}). probekit runs no code that comes with "
            "weights. Export the network to ONNX and name that file, onnx:FILE, or write a card "
            "for a module that you read (docs/extending.md)"
        )


def _find_weights(folder: Path) -> Path:
    """Return the weights, which are complete, or the index of several such files."""
    for name in (WEIGHTS, _INDEX):
        path = folder / name
        if path.is_file():
            for file in weight_files(path):
                _check_complete(file)
            return path
    pickles = [name for name in _PICKLES if (folder / name).is_file()]
    if pickles:
        raise WeightsError(_pickle_message(str(folder / pickles[0])))
    raise WeightsError(
        f"{folder}: no {WEIGHTS} in this folder. Save it there; random weights need none: "
        f"--weights {HF}=random:0"
    )


def _pickle_message(place: str) -> str:
    return (
        f"{place}: a pickle, which can run code when it is read, and there is no {WEIGHTS} beside "
        "it. Convert it where you trust it: transformers.AutoModel.from_pretrained(…)"
        ".save_pretrained(FOLDER), then name FOLDER"
    )


def weight_files(path: Path) -> list[Path]:
    """Return the files of weights: the file itself, or those that an index lists."""
    if path.name != _INDEX:
        return [path]
    names = _read_json(path).get("weight_map", {}).values()
    if not names or any(Path(str(name)).name != name for name in names):
        raise WeightsError(f"{path}: must list files of the same folder under weight_map")
    return [path.parent / name for name in sorted(set(names))]


def hash_weights(path: Path) -> str:
    """Return the SHA-256 of the weights; of several files, of the lines of their hashes."""
    files = weight_files(path)
    if files == [path]:
        return file_digests(path).sha256
    lines = [f"{file.name} {file_digests(file).sha256}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _check_complete(path: Path) -> None:
    """Raise if a safetensors file is shorter or longer than its header says, or has none."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length)) if length < size else None
        assert isinstance(header, dict)
        ends = [facts["data_offsets"][1] for name, facts in header.items() if name[:2] != "__"]
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightsError(f"{path}: cannot be read ({reason.lower()})") from error
    except (AssertionError, struct.error, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: not a complete safetensors file: its header cannot be read. Download it again"
        ) from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        relation = "cut short" if size < expected else "longer than its header says"
        raise WeightsError(f"{path}: {relation}: {size:,} of {expected:,} bytes. Download it again")


def _read_licence(path: Path) -> str:
    """Return the licence in the front matter of a model card; empty if there is none."""
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    match = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    if match is None:
        return ""
    try:
        facts = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return ""
    if not isinstance(facts, dict):
        return ""
    licence = facts.get("license")
    if licence == "other":
        licence = facts.get("license_name") or "other"
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    return str(licence or "")


# ---- the hub


def _download(model: str, revision: str, with_weights: bool) -> Path:
    """Download the files of a model of the hub; returns their folder."""
    fetch = _fetcher(model, revision)
    config = fetch(CONFIG, True)
    assert config is not None
    settings = [fetch(name, False) for name in (PROCESSOR, PREPROCESSOR)]
    if not any(settings):
        fetch(PREPROCESSOR, True)
    fetch(_README, False)
    if not with_weights:
        return config.parent
    weights = fetch(WEIGHTS, False) or fetch(_INDEX, False)
    if weights is None:
        fetch(WEIGHTS, False, offline_ok=False)
        if any(fetch(name, False, download=False) for name in _PICKLES):
            raise WeightsError(_pickle_message(f"{HF}:{model}"))
        raise WeightsError(f"{HF}:{model}: has no {WEIGHTS} on the hub")
    if weights.name == _INDEX:
        for file in weight_files(weights):
            fetch(file.name, True)
    return config.parent


def download_tokenizer(model: str, revision: str) -> None:
    """Download the files of a model's tokenizer beside its other files."""
    fetch = _fetcher(model, revision)
    for name in TOKENIZER:
        fetch(name, False)


def _fetcher(model: str, revision: str) -> "Callable[..., Path | None]":
    """Return a function that downloads a file of a model of the hub."""
    hub, errors = import_library("huggingface_hub"), import_library("huggingface_hub.errors")
    logging = import_library("huggingface_hub.utils.logging")
    label = f"{HF}:{model}" + (f"@{revision}" if revision else "")

    def fetch(
        name: str, required: bool, *, download: bool = True, offline_ok: bool = True
    ) -> Path | None:
        """Return the path of a file; None if the model has no such file."""
        level = logging.get_verbosity()
        logging.set_verbosity(logging.CRITICAL)  # what fails is said by the error
        try:
            if not download:
                exists = hub.file_exists(model, name, revision=revision or None)
                return Path(name) if exists else None
            return Path(hub.hf_hub_download(model, name, revision=revision or None))
        except errors.GatedRepoError as error:
            raise WeightsError(
                f"{label}: its authors ask for consent. Accept their terms on "
                f"https://huggingface.co/{model}, then log in with: hf auth login"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise WeightsError(f"{label}: the hub has no revision {revision!r} of it") from error
        except errors.RepositoryNotFoundError as error:
            raise WeightsError(
                f"{label}: no such folder, and no such model on the hub, or a private one (log in "
                "with: hf auth login)"
            ) from error
        except errors.LocalEntryNotFoundError as error:  # before EntryNotFoundError, its base
            if not required and offline_ok:
                return None
            raise WeightsError(_offline_message(label, name)) from error
        except errors.EntryNotFoundError as error:
            if not required:
                return None
            raise WeightsError(f"{label}: has no {name} on the hub") from error
        except OSError as error:  # no connection, no space
            raise WeightsError(
                f"{_offline_message(label, name)} ({str(error).partition(chr(10))[0]})"
            ) from error
        finally:
            logging.set_verbosity(level)

    return fetch


def _offline_message(label: str, name: str) -> str:
    """Return the message that the hub cannot be reached, and what to do without it."""
    return (
        f"{label}: no such folder, {name} is not on this machine and the hub cannot be reached. "
        f"Download {CONFIG}, {PREPROCESSOR} and {WEIGHTS} elsewhere, put them into one folder and "
        f"write {HF}:FOLDER"
    )


def import_library(name: str) -> Any:
    """Import a library of the extra ``hf``; an error that names the extra if it is missing."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ProbekitError(
            f"{HF}: needs {name}, which is not installed. Install it with: pip install "
            '"probekit[hf]"'
        ) from error
