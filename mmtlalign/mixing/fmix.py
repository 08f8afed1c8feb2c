"""FMix: masks of any shape, from random images of low frequency."""

from typing import Any

import numpy as np

from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import BatchMix


class FMix(BatchMix):
    """FMix (arXiv 2002.12047): the bright part of a random image of low frequency.

    A grey image is drawn whose spectrum falls with the frequency; the pixels
    above the threshold that leaves ``lam`` of the image come from the partner.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        decay_power (float): How fast the spectrum falls: the higher, the smoother and
            fewer the parts; at least 0. Defaults to 3.0.
        max_soft (float): Largest share of the image on either side of the threshold
            where the images blend; 0...0.5. It shrinks to the smaller share, so
            that the area stays as drawn. Defaults to 0.0: a hard edge.
        **kwargs: ``prob``, ``pairing`` and ``mode`` as in :class:`BatchMix`.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        decay_power: float = 3.0,
        max_soft: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(alpha, **kwargs)
        if not decay_power >= 0:
            raise InputError(
                f'decay_power={decay_power}: a spectrum that falls needs 0 or more; '
                "3 is the paper's."
            )
        if not 0 <= max_soft <= 0.5:
            raise InputError(
                f'max_soft={max_soft}: the soft edge takes 0 to 0.5 of the image; '
                '0 is a hard edge.'
            )
        self.decay_power = decay_power
        self.max_soft = max_soft

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw an image and cut it at the threshold that leaves ``lam``."""
        grey = low_frequency_image(size, self.decay_power).ravel()
        pixels = len(grey)
        own = round(lam * pixels)
        soft = min(self.max_soft * pixels, own, pixels - own)
        # From the lowest pixel to the highest; half a pixel is the hard edge.
        rank = np.arange(pixels) + 0.5 - own
        mask = np.empty(pixels, np.float32)
        mask[np.argsort(grey)] = np.clip(rank / max(2 * soft, 1) + 0.5, 0, 1)
        return mask.reshape(size)


def low_frequency_image(size: tuple[int, int], decay_power: float) -> np.ndarray:
    """Draw Gaussian noise (H, W) with amplitudes that fall as frequency^-decay_power.

    Frequencies are per pixel, so that shapes are as wide as high whatever the
    image's form. The constant part has the lowest frequency's amplitude; it
    shifts all pixels alike.
    """
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(size))
    real, imaginary = np.random.randn(2, *frequency.shape)
    return np.fft.irfft2((real + 1j * imaginary) / frequency**decay_power, size)
