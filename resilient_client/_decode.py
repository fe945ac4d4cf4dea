"""Undoing a Content-Encoding within bounds: what a hostile body can grow to is decided here, not by it.

httpx's own decoders inflate whatever they are given; a few bytes can stand for gigabytes. The packages that httpx and httpx2 use are
asked for no more than the limit, layer by layer.
"""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["inflate"]

_MOST_LAYERS = 4
_ZSTD_WINDOW = 23  # as a power of two; RFC 8878 3.1.1.1.2 recommends that decoders allow at least 8 MiB


def inflate(content: bytes, encoding: str, limit: int) -> bytes | None:
    """Decode a whole body by its Content-Encoding header (RFC 9110 8.4).

    None where that cannot be done: the coding's package is not installed, the bytes are not what it says,
    there are more than four layers, or a layer would grow past `limit` bytes.
    """
    layers = [
        name
        for part in encoding.split(",", _MOST_LAYERS + 1)
        if (name := part.strip().lower()) not in {"", "identity"}
    ]
    if len(layers) > _MOST_LAYERS:
        return None
    for name in reversed(layers):
        undo = _LAYERS.get(name)
        if undo is None:  # httpx, too, gives the body of an unknown coding as it is
            continue
        try:
            content = undo(content, limit + 1)
        except Exception:  # noqa: BLE001 - each package has its own; whatever it is, the body cannot be read
            return None
        if len(content) > limit:
            return None
    return content


def _gzip(content: bytes, most: int) -> bytes:
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(content, most)


def _deflate(content: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(content, most)
    except zlib.error:  # without the zlib header, as some servers send it (RFC 9110 8.4.1.2)
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, most)


def _brotli(content: bytes, most: int) -> bytes:
    for name in ("brotli", "brotlicffi"):
        if find_spec(name) is not None:
            out: bytes = import_module(name).Decompressor().process(content, output_buffer_limit=most)
            return out
    raise LookupError("no brotli")


def _zstd(content: bytes, most: int) -> bytes:
    for name in (
        "compression.zstd",
        "backports.zstd",
    ):  # Python 3.14's own, and the same for older ones: httpx2's
        with suppress(ModuleNotFoundError):
            zstd = import_module(name)
            bound = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
            out = b""
            while content and len(out) < most:  # one frame after the other; RFC 8878 3.1
                frame = zstd.ZstdDecompressor(options=bound)
                out += frame.decompress(content, most - len(out))
                content = frame.unused_data
            return out
    import zstandard  # noqa: PLC0415 - as httpx: where installed

    with zstandard.ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW).stream_reader(
        io.BytesIO(content), read_across_frames=True
    ) as reader:
        return reader.read(most)


_LAYERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
