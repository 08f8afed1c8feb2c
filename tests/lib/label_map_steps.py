"""Pipeline steps with label maps, and a sample that says where it is."""

import numpy as np
from mmengine.registry import TRANSFORMS, init_default_scope


def build(kind, **options):
    init_default_scope('mmpretrain')
    return TRANSFORMS.build(dict(type=kind, **options))


def compass(rows, columns, height=90, width=160):
    """An image and a map that both say where they are, in shares of the image."""
    y, x = ((np.arange(n) + 0.5) / n for n in (rows, columns))
    values = np.stack(np.broadcast_arrays(y[:, None], x[None])).astype(np.float32)
    picture_y, picture_x = ((np.arange(n) + 0.5) / n for n in (height, width))
    picture = np.stack(
        np.broadcast_arrays(picture_y[:, None], picture_x[None], 0), axis=-1
    )
    return dict(
        img=picture.astype(np.float32),
        label_map_values=values,
        label_map_indices=np.stack(
            [np.zeros((rows, columns)), np.ones((rows, columns))]
        ).astype(np.int16),
        label_map_box=np.array([0, 0, 1, 1], np.float32),
    )


STEPS = dict(
    crop=dict(
        type='mmtlalign.RandomResizedCropWithMap',
        scale=(60, 84),
        crop_ratio_range=(0.2, 0.5),
    ),
    flip=dict(type='mmtlalign.FlipWithMap', prob=1.0),
    upright=dict(type='mmtlalign.FlipWithMap', prob=1.0, direction='vertical'),
)
