"""Visible parts of the objects of both images in a mixed image.

For a pair with object masks m_A (own) and m_B (partner), in pixels after the crop, and
pasted region R, the visible fractions are ``v_A = |m_A outside R| / |m_A|`` and ``v_B =
|m_B inside R| / |m_B|``, and the ideal share of the partner is ``s = |m_B inside R| /
(|m_B inside R| + |m_A outside R|)``. Labels are compared with it in
:mod:`mmtlalign.evaluation.empty_box`.

Shapes: ``P`` pairs, ``I`` images, ``H, W`` pixels.
"""

from dataclasses import dataclass

import numpy as np

from mmtlalign.errors import InputError


@dataclass(frozen=True)
class VisibleObjects:
    """Visible parts of both objects of mixed pairs; all arrays are (P,).

    Attributes:
        own_pixels, partner_pixels: Size of each object, in pixels.
        own_visible, partner_visible: Its visible pixels in the mixed image.
        area: Share of the partner by area, 0 to 1.
    """

    own_pixels: np.ndarray
    partner_pixels: np.ndarray
    own_visible: np.ndarray
    partner_visible: np.ndarray
    area: np.ndarray

    @classmethod
    def from_images(
        cls, masks: np.ndarray, own: np.ndarray, partner: np.ndarray, boxes: np.ndarray
    ) -> 'VisibleObjects':
        """Count the pixels of many pairs of few images, by summed-area tables.

        Args:
            masks: Object masks of the images (I, H, W) bool.
            own, partner: Indices of the images of each pair (P,).
            boxes: Top, bottom, left, right (P, 4), ends exclusive.

        Raises:
            InputError: The shapes do not match.
        """
        masks, boxes = np.asarray(masks, bool), np.asarray(boxes)
        own, partner = np.asarray(own), np.asarray(partner)
        if (
            masks.ndim != 3
            or boxes.shape != (len(own), 4)
            or own.shape != partner.shape
        ):
            raise InputError(
                f'Masks {masks.shape}, pairs {own.shape} and {partner.shape}, boxes '
                f'{boxes.shape}: give (I, H, W), (P,), (P,) and (P, 4).'
            )
        table = np.zeros((len(masks), masks.shape[1] + 1, masks.shape[2] + 1), np.int64)
        table[:, 1:, 1:] = masks.cumsum(1).cumsum(2)
        top, bottom, left, right = boxes.T

        def inside(image: np.ndarray) -> np.ndarray:
            upper = table[image, top, right] - table[image, top, left]
            return table[image, bottom, right] - table[image, bottom, left] - upper

        pixels = table[:, -1, -1]
        area = (bottom - top) * (right - left) / (masks.shape[1] * masks.shape[2])
        return cls(
            pixels[own],
            pixels[partner],
            pixels[own] - inside(own),
            inside(partner),
            area,
        )

    def take(self, index: np.ndarray) -> 'VisibleObjects':
        """Return some of the pairs, by index or mask; they may repeat."""
        return VisibleObjects(*(values[index] for values in vars(self).values()))

    @property
    def own_fraction(self) -> np.ndarray:
        """Visible fraction of the own object, NaN without object."""
        return ratio(self.own_visible, self.own_pixels)

    @property
    def partner_fraction(self) -> np.ndarray:
        """Visible fraction of the partner's object, NaN without object."""
        return ratio(self.partner_visible, self.partner_pixels)

    @property
    def ideal(self) -> np.ndarray:
        """Ideal share of the partner by object pixels; NaN if nothing is visible."""
        return ratio(self.partner_visible, self.partner_visible + self.own_visible)

    @property
    def ideal_by_fraction(self) -> np.ndarray:
        """The same by visible fractions, which does not favour large objects."""
        own, partner = self.own_fraction, self.partner_fraction
        return ratio(partner, partner + own)

    @property
    def usable(self) -> np.ndarray:
        """Whether both images have an object, and the pair is mixed."""
        mixed = (self.area > 0) & (self.area < 1)
        return (self.own_pixels > 0) & (self.partner_pixels > 0) & mixed

    def empty_partner(self, threshold: float = 0.05) -> np.ndarray:
        """Return which usable pairs show nearly nothing of the partner's object."""
        return self.usable & (_or_one(self.partner_fraction) <= threshold)

    def empty_own(self, threshold: float = 0.05) -> np.ndarray:
        """Return which usable pairs show nearly nothing of the own object."""
        return self.usable & (_or_one(self.own_fraction) <= threshold)

    def phantom(self, share: np.ndarray, threshold: float = 0.05) -> np.ndarray:
        """Return the part of each label that names an object which is not visible.

        It is ``q [v_B <= t] + (1 - q) [v_A <= t]``, NaN for pairs that are not usable;
        its mean is the phantom label mass.

        Args:
            share: Share q of the partner in the label (P,).
            threshold: Visible fraction t up to which an object is not visible.
        """
        q = np.asarray(share, np.float64)
        unseen = q * self.empty_partner(threshold) + (1 - q) * self.empty_own(threshold)
        return np.where(self.usable, unseen, np.nan)


def box_masks(boxes: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return masks (P, H, W) of boxes (P, 4): top, bottom, left, right, exclusive."""
    top, bottom, left, right = (side[:, None] for side in np.asarray(boxes).T)
    rows, columns = np.arange(size[0]), np.arange(size[1])
    inside = (rows >= top) & (rows < bottom)
    return inside[:, :, None] & ((columns >= left) & (columns < right))[:, None]


def other_images(count: int, seed: int = 0) -> np.ndarray:
    """Draw for each image the index of another one, whose mask is a control (I,).

    A correlation that remains with the masks of other images is due to boxes and
    objects that are both more frequent in the centre.
    """
    if count < 2:
        raise InputError(
            f'{count} image: a control needs the mask of another image, so give two or '
            'more.'
        )
    order = np.random.default_rng(seed).permutation(count)
    found = np.empty(count, np.int64)
    found[order] = np.roll(order, 1)
    return found


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return the quotient, NaN where the denominator is 0 or NaN."""
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(whole > 0, part / whole, np.nan)


def _or_one(fraction: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(fraction), 1.0, fraction)
