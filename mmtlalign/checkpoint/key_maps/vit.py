"""Names of vision transformers: official DeiT and its descendants, timm, mmseg."""

from mmtlalign.checkpoint.key_maps.base import KeyMap, Pair

LAYER = 'backbone.layers.{i}.'

# Names that all of them have.
PLAIN: tuple[Pair, ...] = (
    ('cls_token', 'backbone.cls_token'),
    ('pos_embed', 'backbone.pos_embed'),
    ('patch_embed.proj.{end}', 'backbone.patch_embed.projection.{end}'),
    ('blocks.{i}.norm{n}.{end}', LAYER + 'ln{n}.{end}'),
    ('blocks.{i}.attn.qkv.{end}', LAYER + 'attn.qkv.{end}'),
    ('blocks.{i}.attn.proj.{end}', LAYER + 'attn.proj.{end}'),
    ('blocks.{i}.mlp.fc1.{end}', LAYER + 'ffn.layers.0.0.{end}'),
    ('blocks.{i}.mlp.fc2.{end}', LAYER + 'ffn.layers.1.{end}'),
    ('norm.{end}', 'backbone.ln1.{end}'),
    ('head.{end}', 'head.layers.head.{end}'),
)
DISTILLED: tuple[Pair, ...] = (
    *PLAIN,
    ('dist_token', 'backbone.dist_token'),
    ('head_dist.{end}', 'head.layers.head_dist.{end}'),
)

# DeiT III is left out: mmpretrain's `DeiT3` uses the first norm of a layer for both
# of its branches, so that the official weights would give another network there.
DEIT = KeyMap('official DeiT and distilled DeiT', DISTILLED)

# Both code bases replace one file of timm 0.5.4 and keep its names.
TLALIGN = KeyMap('official TL-Align', DISTILLED)
TRANSMIX = KeyMap('official TransMix', DISTILLED, ('state_dict', 'model'))

TIMM = KeyMap(
    "timm's VisionTransformer and VisionTransformerDistilled",
    (
        *DISTILLED,
        ('blocks.{i}.ls1.gamma', LAYER + 'attn.gamma1.weight'),
        ('blocks.{i}.ls2.gamma', LAYER + 'ffn.gamma2.weight'),
        ('norm_pre.{end}', 'backbone.pre_norm.{end}'),
        # The norm after the mean of the tokens.
        ('fc_norm.{end}', 'backbone.ln2.{end}'),
    ),
    ('state_dict', 'model'),
)

# The backbone alone: segmentors have no classifier.
MMSEG = KeyMap(
    "mmseg's own VisionTransformer",
    (
        *(
            (name, f'backbone.{name}')
            for name in (
                'cls_token',
                'pos_embed',
                'patch_embed.projection.{end}',
                'layers.{i}.ln{n}.{end}',
                'layers.{i}.ffn.layers.0.0.{end}',
                'layers.{i}.ffn.layers.1.{end}',
                'ln1.{end}',
            )
        ),
        ('layers.{i}.attn.attn.in_proj_{end}', LAYER + 'attn.qkv.{end}'),
        ('layers.{i}.attn.attn.out_proj.{end}', LAYER + 'attn.proj.{end}'),
    ),
    ('state_dict', 'model'),
)
