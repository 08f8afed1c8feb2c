"""PVT: official."""

from mmtlalign.checkpoint.key_maps.base import Family

# Official stages count from 1. The class token is of the last of the four.
PVT = Family(
    'official PVT (the first version)',
    (
        ('cls_token', 'backbone.stages.3.positions.cls_token'),
        *(
            pair
            for i in range(4)
            for pair in (
                (f'pos_embed{i + 1}', f'backbone.stages.{i}.positions.pos_embed'),
                (
                    f'patch_embed{i + 1}.proj.{{end}}',
                    f'backbone.stages.{i}.patch_embed.projection.{{end}}',
                ),
                (
                    f'patch_embed{i + 1}.norm.{{end}}',
                    f'backbone.stages.{i}.patch_embed.norm.{{end}}',
                ),
                (
                    f'block{i + 1}.{{k}}.norm{{n}}.{{end}}',
                    f'backbone.stages.{i}.layers.{{k}}.norm{{n}}.{{end}}',
                ),
                (
                    f'block{i + 1}.{{k}}.attn.{{part}}.{{end}}',
                    f'backbone.stages.{i}.layers.{{k}}.attn.{{part}}.{{end}}',
                ),
                (
                    f'block{i + 1}.{{k}}.mlp.fc1.{{end}}',
                    f'backbone.stages.{i}.layers.{{k}}.ffn.layers.0.0.{{end}}',
                ),
                (
                    f'block{i + 1}.{{k}}.mlp.fc2.{{end}}',
                    f'backbone.stages.{i}.layers.{{k}}.ffn.layers.1.{{end}}',
                ),
            )
        ),
        ('norm.{end}', 'backbone.norm.{end}'),
        ('head.{end}', 'head.layers.head.{end}'),
    ),
)
