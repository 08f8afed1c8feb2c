"""FMix: masks of any shape, from random low-frequency images."""

from typing import Any

import numpy as np

from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import BatchMix


class FMix(BatchMix):
    """FMix (arXiv 2002.12047): the mask is a thresholded low-frequency image.

    A grey image is drawn whose spectrum decays with the frequency. Its brightest
    pixels, a share of ``1 - lam``, come from the partner.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        decay_power (float): How fast the spectrum decays, at least 0. Higher values
            give fewer and smoother regions. Defaults to 3.0.
        max_soft (float): Largest share of the image on either side of the threshold
            where the images blend, 0...0.5. It is limited to the smaller of the two
            images' shares, so that the area stays as drawn. Defaults to 0.0: a hard
            edge.
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
                f'decay_power={decay_power}: give 0 or more, so that the spectrum '
                'decays; the paper uses 3.'
            )
        if not 0 <= max_soft <= 0.5:
            raise InputError(
                f'max_soft={max_soft}: give the width of the soft edge, 0 (hard edge) '
                'to 0.5 of the image.'
            )
        self.decay_power = decay_power
        self.max_soft = max_soft

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw a grey image and threshold it so that ``lam`` of the pixels stay."""
        grey = low_frequency_image(size, self.decay_power).ravel()
        pixels = len(grey)
        own = round(lam * pixels)
        soft = min(self.max_soft * pixels, own, pixels - own)
        # By rank of brightness; with soft = 0 the ramp is one pixel, a hard edge.
        rank = np.arange(pixels) + 0.5 - own
        mask = np.empty(pixels, np.float32)
        mask[np.argsort(grey)] = np.clip(rank / max(2 * soft, 1) + 0.5, 0, 1)
        return mask.reshape(size)


def low_frequency_image(size: tuple[int, int], decay_power: float) -> np.ndarray:
    """Draw Gaussian noise (H, W) with amplitudes that fall as frequency^-decay_power.

    Frequencies are in cycles per pixel, so that regions are as wide as high for any
    aspect ratio. The constant component gets the amplitude of the lowest frequency;
    it shifts all pixels equally.
    """
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(size))
    real, imaginary = np.random.randn(2, *frequency.shape)
    return np.fft.irfft2((real + 1j * imaginary) / frequency**decay_power, size)
