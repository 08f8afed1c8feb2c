"""Names of LV-ViT: official code."""

from mmtlalign.checkpoint.key_maps.base import KeyMap

STEM = 'backbone.patch_embed.stem'

LVVIT = KeyMap(
    'official LV-ViT (TokenLabeling)',
    (
        ('cls_token', 'backbone.cls_token'),
        ('pos_embed', 'backbone.pos_embed'),
        # Official units count from 1.
        *(
            (f'patch_embed.{theirs}{k + 1}.{{end}}', f'{STEM}.{k}.{ours}.{{end}}')
            for k in range(3)
            for theirs, ours in (('conv', 'conv'), ('bn', 'norm'))
        ),
        ('patch_embed.proj.{end}', 'backbone.patch_embed.projection.{end}'),
        ('blocks.{i}.norm{n}.{end}', 'backbone.layers.{i}.ln{n}.{end}'),
        ('blocks.{i}.attn.qkv.{end}', 'backbone.layers.{i}.attn.qkv.{end}'),
        ('blocks.{i}.attn.proj.{end}', 'backbone.layers.{i}.attn.proj.{end}'),
        ('blocks.{i}.mlp.fc1.{end}', 'backbone.layers.{i}.ffn.layers.0.0.{end}'),
        ('blocks.{i}.mlp.fc2.{end}', 'backbone.layers.{i}.ffn.layers.1.{end}'),
        ('norm.{end}', 'backbone.ln1.{end}'),
        # Of the class token, and of all other tokens, for token labels.
        ('head.{end}', 'head.layers.head.{end}'),
        ('aux_head.{end}', 'head.layers.aux_head.{end}'),
    ),
    ('state_dict', 'model'),
)
