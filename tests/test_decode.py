"""A body in zstd is read with whichever package there is: Python's own, its forerunner, or httpx's."""

from __future__ import annotations

import sys

import pytest

from resilient_client._decode import inflate

zstandard = pytest.importorskip("zstandard")
BODY = b'{"code": "BUSY"}' * 1000
PACKED = zstandard.compress(BODY)


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let there be no such packages."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    "absent",
    [
        (),
        ("compression.zstd", "backports.zstd"),
        ("compression.zstd", "zstandard"),
    ],
    ids=["as it is here", "httpx's zstandard", "httpx2's backports.zstd"],
)
def test_zstd_is_read_with_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, absent: tuple[str, ...]
) -> None:
    """httpx[zstd] and httpx2[zstd] bring different packages, and both announce the coding to the server."""
    without(monkeypatch, *absent)

    assert inflate(PACKED, "zstd", len(BODY)) == BODY


@pytest.mark.parametrize("absent", [("zstandard",), ("compression.zstd", "backports.zstd")])
def test_zstd_is_bounded_with_either(monkeypatch: pytest.MonkeyPatch, absent: tuple[str, ...]) -> None:
    """A body that grows past the limit is not read, nor one that asks for a window of more than 8 MiB."""
    without(monkeypatch, *absent)
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    assert inflate(PACKED, "zstd", len(BODY) - 1) is None
    assert inflate(wide.compress(b"a") + wide.flush(), "zstd", 10) is None


@pytest.mark.parametrize("absent", [("zstandard",), ("compression.zstd", "backports.zstd")])
def test_zstd_may_come_in_several_frames(monkeypatch: pytest.MonkeyPatch, absent: tuple[str, ...]) -> None:
    """RFC 8878 3.1; the bound is for all of them together."""
    frames = zstandard.compress(BODY) * 3
    without(monkeypatch, *absent)

    assert inflate(frames, "zstd", 3 * len(BODY)) == BODY * 3
    assert inflate(frames, "zstd", 3 * len(BODY) - 1) is None


def test_without_any_of_them_the_body_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is judged by its status then."""
    without(monkeypatch, "compression.zstd", "backports.zstd", "zstandard")

    assert inflate(PACKED, "zstd", len(BODY)) is None
