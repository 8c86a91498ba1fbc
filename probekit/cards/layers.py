"""Layers of networks: the streams of a card that state their depth."""

from collections.abc import Mapping

from probekit.errors import ProbekitError


def select_layers(name: str, depths: Mapping[str, int | None], layer: str) -> tuple[str, ...]:
    """Return the streams that ``layer=`` means.

    Parameters
    ----------
    name : str
        The extractor's name, for messages.
    depths : dict of str to int or None
        Depth of each stream; None for streams that are no layers.
    layer : str
        A depth, or another value of ``layer=``, which stands for all layers.

    Returns
    -------
    tuple of str
        Names of streams, by depth.

    Raises
    ------
    ProbekitError
        If no stream is a layer, there is no layer of this depth, or there are several.
    """
    layers = {stream: depth for stream, depth in depths.items() if depth is not None}
    if not layers:
        raise ProbekitError(
            f"{name}: layer={layer}: its card states no layers; choose one of its streams "
            f"instead: {', '.join(f'stream={stream}' for stream in depths)}"
        )
    by_depth = sorted(layers, key=lambda stream: layers[stream])
    if not layer.isdigit():
        return tuple(by_depth)
    streams = tuple(stream for stream in by_depth if layers[stream] == int(layer))
    if not streams:
        known = ", ".join(str(depth) for depth in sorted(set(layers.values())))
        raise ProbekitError(f"{name}: no layer {layer}; its layers are {known}")
    if len(streams) > 1:
        choices = " or ".join(f"stream={stream}" for stream in streams)
        raise ProbekitError(f"{name}: several streams are of layer {layer}; write {choices}")
    return streams


def layer_names(streams: tuple[str, ...], depths: Mapping[str, int | None]) -> list[int | str]:
    """Return the depth of each stream, or its name where several streams share the depth."""
    values = [depths[stream] for stream in streams]
    return [
        stream if depth is None or values.count(depth) > 1 else depth
        for stream, depth in zip(streams, values, strict=True)
    ]
