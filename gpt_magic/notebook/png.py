"""A fast PNG writer for pictures made of few colours: one byte a pixel is compressed, only where rows change."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike, NDArray

_LEVELS = 50  # opacities of each colour in the palette; five colours fill it
_BAND = 10  # rows that are compressed together

# A zlib stream (RFC 1950): its head, blocks of deflate that end on whole bytes, an empty last one, a check sum.
_ZLIB, _LAST = b"\x78\x01", b"\x03\x00"
_NOTHING = -1, b""  # a band that is not compressed yet; else zlib's level and the blocks

Bytes = NDArray[np.uint8]


class PaletteWriter:
    """Writes RGBA canvases that differ little from one that was kept.

    Index 0 of the palette is transparent; each colour follows at 50 opacities. A pixel gets the nearest
    colour at the nearest opacity, which is exact for lines and text but for blends where two colours cross.

    Args:
        colours: at most five, in any of matplotlib's ways.
    """

    def __init__(self, colours: Sequence[str]) -> None:
        base = np.array([to_rgb(colour) for colour in colours]) * 255
        opacities = np.tile(np.arange(1, _LEVELS + 1) * 255 / _LEVELS, len(base))
        self._plte = np.concatenate([np.zeros((1, 3)), np.repeat(base, _LEVELS, axis=0)]).round().astype(np.uint8)
        self._trns = np.concatenate([[0], opacities]).round().astype(np.uint8)
        self._level = ((np.arange(256) * _LEVELS + 127) // 255).astype(np.uint8)
        # From red, green and blue, four bits each, to the entries of the nearest colour.
        cells = np.stack(np.meshgrid(*[np.arange(16) * 17.0] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        self._nearest = (((cells - base) ** 2).sum(-1).argmin(1) * _LEVELS).astype(np.uint8)
        self._kept = np.zeros((0, 0), np.uint32)
        self._kept_rows = np.zeros((0, 1), np.uint8)
        self._forget((0, 0))

    def keep(self, canvas: ArrayLike) -> None:
        """Remember a canvas (height, width, 4); later ones are looked up only where they differ from it."""
        self._kept = _words(canvas).copy()
        height, width = self._kept.shape
        self._kept_rows = np.zeros((height, 1 + width), np.uint8)  # a row starts with its filter type, 0: none
        self._fill(self._kept_rows, self._kept, np.asarray(canvas)[..., 3] != 0)
        if self._written.shape != self._kept.shape:
            self._forget(self._kept.shape)

    def png(self, canvas: ArrayLike, level: int) -> bytes:
        """PNG of a canvas of the kept one's size, compressed at zlib's ``level``."""
        words = _words(canvas)
        for number, top in enumerate(range(0, len(words), _BAND)):
            band = slice(top, top + _BAND)
            if self._bands[number][0] == level and np.array_equal(words[band], self._written[band]):
                continue
            self._bands[number] = _NOTHING  # an interrupt below must not leave half a band that counts as written
            self._rows[band] = self._kept_rows[band]
            self._fill(self._rows[band], words[band], words[band] != self._kept[band])
            self._written[band] = words[band]
            self._bands[number] = level, _deflated(self._rows[band], level)
        height, width = words.shape
        head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
        check = struct.pack(">I", zlib.adler32(self._rows.data))
        chunks = (
            (b"IHDR", head),
            (b"PLTE", self._plte.tobytes()),
            (b"tRNS", self._trns.tobytes()),
            (b"IDAT", b"".join([_ZLIB, *(packed for _, packed in self._bands), _LAST, check])),
            (b"IEND", b""),
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)

    def _forget(self, shape: tuple[int, ...]) -> None:
        """Nothing of a picture of so many rows and columns has been written."""
        height, width = shape
        self._written = np.zeros((height, width), np.uint32)
        self._rows = np.zeros((height, 1 + width), np.uint8)
        self._bands = [_NOTHING] * -(-height // _BAND)

    def _fill(self, rows: Bytes, words: NDArray[np.uint32], where: NDArray[np.bool_]) -> None:
        red, green, blue, alpha = words[where].view(np.uint8).reshape(-1, 4).T
        cell = (red >> 4) * np.uint16(256) + (green & 0xF0) + (blue >> 4)
        level = self._level[alpha]
        rows[:, 1:][where] = np.where(level, self._nearest[cell] + level, 0)


def _words(canvas: ArrayLike) -> NDArray[np.uint32]:
    """One number a pixel (height, width)."""
    return np.asarray(canvas, np.uint8).view(np.uint32)[..., 0]


def _deflated(rows: Bytes, level: int) -> bytes:
    """Blocks of deflate that need nothing before them, and after which others may stand."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(rows.data) + packer.flush(zlib.Z_FULL_FLUSH)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
