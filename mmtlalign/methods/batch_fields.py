"""Values of a whole batch, which are passed on with its data samples.

mmpretrain passes only the data samples on, and DistributedDataParallel makes a new list
of them, so that such a value is stored in a field of the first sample.
"""

from collections.abc import Sequence
from typing import Any

from mmtlalign.errors import InputError

LABELS, LABEL_MAPS = 'batch_labels', 'batch_label_maps'


def store(samples: Sequence, name: str, value: Any) -> None:
    """Store a value of the batch.

    Args:
        samples: B data samples.
        name: :data:`LABELS` or :data:`LABEL_MAPS`.
        value: The value.
    """
    samples[0].set_field(value, name)


def load(samples: Sequence, name: str) -> Any:
    """Return a value of the batch, or None if none is stored; see :func:`store`."""
    return samples[0].get(name)


def check_count(count: int, samples: Sequence, what: str, maker: str) -> None:
    """Check that a batch has not been split or joined.

    Args:
        count: Number of images that the stored value has.
        samples: B data samples.
        what: Name of the value, for the message.
        maker: What stores the value, for the message.

    Raises:
        InputError: The numbers differ.
    """
    if count != len(samples):
        raise InputError(
            f'{what} of {count} images for a batch of {len(samples)}: split or join '
            f'batches before {maker}, not after it.'
        )
