"""One decoded video frame → an upright SDR picture of the size wanted."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from reelmesh.scheduler.stages.decode_video import MAX_PIXELS

from .footage_header import bad_footage
from .frames import Picture
from .hdr import HLG, PQ, USUAL_PEAK_NITS, is_hdr, to_sdr

Turn = tuple[bool, bool, bool]  # transposed, then mirrored left to right, then top to bottom

_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
# What swscale makes of YUV comes out with 255 as 65280 of 65535.
_FULL_SCALE = np.float32(65535 / 65280)
_HD_LINES = 720
_TALLEST_INTERLACED = 1080


class Developer:
    """Makes pictures of width x height; `notes` says what was done to them besides."""

    def __init__(self, width: int, height: int, fit: str, pixel_shape: float) -> None:
        self._size = (width, height)
        self._fit = fit
        self._pixel_shape = pixel_shape
        self._peak: float | None = None
        self.notes: dict[str, None] = {}

    def picture(self, frame: Any) -> Picture:
        """uint8 [height, width, 3] RGB of a PyAV frame. Raises StageFailed ("bad_input")."""
        turn = turn_of(frame)
        inner = self._inner_size(frame, turn)
        rgb, cover = self._samples(frame, inner[::-1] if turn[0] else inner)
        if turn != (False, False, False):
            self.notes["turned upright"] = None
        rgb = self._sdr(rgb, frame)
        if cover is not None:
            self.notes["transparent parts over white"] = None
            rgb = rgb * cover + (1 - cover)
        picture = np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)
        return place(turned(picture, turn), *self._size)

    def _inner_size(self, frame: Any, turn: Turn) -> tuple[int, int]:
        """The whole picture's width and height once scaled, upright."""
        wide, high = frame.width * self._pixel_shape, float(frame.height)
        if turn[0]:
            wide, high = high, wide
        width, height = self._size
        pick = max if self._fit == "cover" else min
        scale = pick(width / wide, height / high)
        inner = max(1, round(wide * scale)), max(1, round(high * scale))
        if inner[0] * inner[1] > 2 * MAX_PIXELS:
            raise bad_footage(f"its shape is too far from {width}x{height}")
        return inner

    def _samples(self, frame: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """Non-linear RGB float32 [h, w, 3] in 0..1, and the alpha plane [h, w, 1] or None."""
        alpha = any(component.is_alpha for component in frame.format.components)
        woven = frame.interlaced_frame and 2 < frame.height <= _TALLEST_INTERLACED
        to_size = (frame.width, frame.height) if woven else size
        smaller = to_size[0] < frame.width
        made = frame.reformat(
            *to_size,
            format="gbrapf32le" if alpha else "gbrpf32le",
            src_colorspace=_matrix(frame),
            dst_colorspace=Colorspace.ITU709,
            src_color_range=_range(frame),
            dst_color_range=ColorRange.JPEG,
            interpolation=_EXACT | (Interpolation.AREA if smaller else Interpolation.BICUBIC),
        )
        samples: NDArray[np.float32] = made.to_ndarray()
        samples[..., :3] *= _FULL_SCALE
        if woven:
            self.notes["interlaced: every other line made anew"] = None
            how = cv2.INTER_AREA if size[1] < frame.height // 2 else cv2.INTER_CUBIC
            samples = cv2.resize(samples[::2], size, interpolation=how)  # type: ignore[assignment]
        return samples[..., :3], samples[..., 3:] if alpha else None

    def _sdr(self, rgb: NDArray[np.float32], frame: Any) -> NDArray[np.float32]:
        transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
        if is_hdr(transfer):
            self.notes[f"HDR ({'PQ' if transfer == PQ else 'HLG'}) brought to SDR"] = None
        if self._peak is None:
            self._peak = _peak_nits(frame)
        return to_sdr(rgb, transfer, primaries, self._peak)


def turn_of(frame: Any) -> Turn:
    """How a frame has to be turned to be upright, by its display matrix, in quarter turns."""
    found = frame.side_data.get(SideData.DISPLAYMATRIX)
    if found is None:
        return False, False, False
    # 16.16 fixed point, by rows; a point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = (int(n) for n in np.frombuffer(bytes(found), "<i4")[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def turned(picture: Picture, turn: Turn) -> Picture:
    """A picture [h, w, 3] turned."""
    transposed, mirrored, flipped = turn
    if transposed:
        picture = picture.transpose(1, 0, 2)
    if mirrored:
        picture = picture[:, ::-1]
    if flipped:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def place(picture: Picture, width: int, height: int) -> Picture:
    """The middle of a picture, with black around it where it is smaller."""
    h, w = picture.shape[:2]
    top, left = max(0, (h - height) // 2), max(0, (w - width) // 2)
    picture = picture[top : top + height, left : left + width]
    h, w = picture.shape[:2]
    if (h, w) == (height, width):
        return np.ascontiguousarray(picture)
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    out[top : top + h, left : left + w] = picture
    return out


def _matrix(frame: Any) -> Colorspace:
    usual = Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601
    if int(frame.color_trc) in (PQ, HLG):
        usual = Colorspace.BT2020
    return _MATRICES.get(int(frame.colorspace), usual)


def _range(frame: Any) -> ColorRange:
    full = int(frame.color_range) == 2 or frame.format.name.startswith(("yuvj", "gbr", "rgb"))
    return ColorRange.JPEG if full else ColorRange.MPEG


def _peak_nits(frame: Any) -> float:
    found = frame.side_data.get(SideData.CONTENT_LIGHT_LEVEL)
    stated = int(np.frombuffer(bytes(found), "<u4")[0]) if found is not None else 0
    return float(min(max(stated, 300), 10000)) if stated else USUAL_PEAK_NITS
