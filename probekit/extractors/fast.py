"""Lay a network's weights out so that it runs fast, without changing what it computes."""

import torch
from torch import nn

from probekit.extractors.base import Extractor

_PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def arrange(extractor: Extractor, precision: torch.dtype) -> None:
    """Make an extractor ready for a precision.

    Kernels of convolutions are laid out channels last, which is what oneDNN and cuDNN compute with:
    otherwise maps are reordered around every layer. For bf16 and fp16, weights of convolutions and
    linear layers are rounded once; autocast would round them again for every batch, to the same
    numbers. The rest of the network (batch norm, recurrent layers) and the layer of the network's
    own classifier, whose weights the cache keeps, stay float32.

    Parameters
    ----------
    extractor : Extractor
        With its weights. Changed in place; its state dict keeps keys and shapes.
    precision : torch.dtype
        Arithmetic of the network: float32, bfloat16 or float16.
    """
    extractor.precision = precision
    if extractor.network is None:
        return
    head = extractor.head()
    kept = head.weight.data_ptr() if head is not None else 0
    for module in extractor.network.modules():
        if not isinstance(module, _PRODUCTS) or module.weight.data_ptr() == kept:
            continue
        if isinstance(module, nn.Conv2d):
            last = module.weight.data.contiguous(memory_format=torch.channels_last)
            module.weight.data = last
        module.to(precision)
