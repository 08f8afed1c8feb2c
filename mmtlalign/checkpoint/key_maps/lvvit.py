"""Names of LV-ViT: official code."""

from mmtlalign.checkpoint.key_maps.base import KeyMap
from mmtlalign.checkpoint.key_maps.vit import PLAIN

STEM = 'backbone.patch_embed.stem'

LVVIT = KeyMap(
    'official LV-ViT (TokenLabeling)',
    (
        *PLAIN,
        # Official units count from 1.
        *(
            (f'patch_embed.{theirs}{k + 1}.{{end}}', f'{STEM}.{k}.{ours}.{{end}}')
            for k in range(3)
            for theirs, ours in (('conv', 'conv'), ('bn', 'norm'))
        ),
        # The head for the image tokens, which learn token labels.
        ('aux_head.{end}', 'head.layers.aux_head.{end}'),
    ),
    ('state_dict', 'model'),
)
