"""The text tower of CLAP: vectors of sentences in the space of its stream ``pooled``."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from probekit._typing import Array
from probekit.cards.selector import HF, REVISION
from probekit.errors import ProbekitError
from probekit.extractors.adapters import hf_files, hf_model
from probekit.extractors.load import Spec
from probekit.extractors.weights.source import MAIN
from probekit.utils.text import first_line

_STREAM = "pooled"
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_PREFIXES = ("text_model.", "text_projection.", "logit_scale")


class TextVectors(NamedTuple):
    """Vectors of texts, the factor of cosines that makes them logits, and the stream of sounds."""

    vectors: Array
    scale: float
    stream: str


def has_text_tower(spec: Spec) -> bool:
    """Return whether an extractor is a model of sound and text, with the stream of both."""
    return spec.name == HF and spec.code.get("type") == "clap" and _STREAM in spec.streams


def embed_texts(spec: Spec, texts: Sequence[str]) -> TextVectors:
    """Embed sentences, one by one: none is padded.

    Parameters
    ----------
    spec : Spec
        Of a model with a text tower.
    texts : sequence of str
        The sentences.

    Returns
    -------
    TextVectors
        Of length 1, with the model's scale of logits.

    Raises
    ------
    ProbekitError
        If the model has no tokenizer, or its weights lack the text tower.
    """
    assert spec.file is not None
    source = spec.sources[MAIN]
    folder = spec.file.parent
    if "/" in spec.model and not (folder / "tokenizer.json").is_file():
        hf_files.download_tokenizer(spec.model, str(spec.params.get(REVISION, "")))
    tokenizer = _load_tokenizer(spec)
    files = hf_files.find_files(str(folder), "", with_weights=source.seed is None)
    family = hf_model.FAMILIES["clap"]
    config, _ = hf_model.load_settings(files, family)
    model: Any = hf_model.load_model(files, config, source, _PREFIXES)
    vectors = []
    with torch.inference_mode():
        for text in texts:
            inputs = tokenizer(text, return_tensors="pt", truncation=True)
            hidden = model.text_model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            )
            projected = model.text_projection(hidden.pooler_output)[0]
            vectors.append(torch.nn.functional.normalize(projected, dim=-1).numpy())
        scale = float(model.logit_scale_a.exp())
    return TextVectors(np.array(vectors, np.float32), scale, _STREAM)


def _load_tokenizer(spec: Spec) -> Any:
    """Return the tokenizer of a model."""
    assert spec.file is not None
    folder = spec.file.parent
    transformers = hf_files.import_library("transformers")
    try:
        # without these files transformers makes a tokenizer that knows no word
        if not any(all((folder / name).is_file() for name in names) for names in _VOCABULARIES):
            raise FileNotFoundError(f"no {_VOCABULARIES[0][0]}")
        with hf_model.quiet():
            return transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # of any kind, where files are missing or not valid
        raise ProbekitError(
            f"{spec.label}: has no tokenizer that can be read ({first_line(error)}), so its "
            "classes cannot be scored as texts (--probe zero-shot). Copy tokenizer.json and "
            f"tokenizer_config.json into {folder}"
        ) from error
