"""Names of vision transformers: official DeiT and its descendants, timm, mmseg."""

from mmtlalign.checkpoint.key_maps.base import KeyMap, Pair

NAMES: tuple[Pair, ...] = (
    ('cls_token', 'backbone.cls_token'),
    ('dist_token', 'backbone.dist_token'),
    ('pos_embed', 'backbone.pos_embed'),
    ('patch_embed.proj.{end}', 'backbone.patch_embed.projection.{end}'),
    ('blocks.{i}.norm{n}.{end}', 'backbone.layers.{i}.ln{n}.{end}'),
    ('blocks.{i}.attn.qkv.{end}', 'backbone.layers.{i}.attn.qkv.{end}'),
    ('blocks.{i}.attn.proj.{end}', 'backbone.layers.{i}.attn.proj.{end}'),
    ('blocks.{i}.mlp.fc1.{end}', 'backbone.layers.{i}.ffn.layers.0.0.{end}'),
    ('blocks.{i}.mlp.fc2.{end}', 'backbone.layers.{i}.ffn.layers.1.{end}'),
    ('norm.{end}', 'backbone.ln1.{end}'),
    ('head.{end}', 'head.layers.head.{end}'),
    ('head_dist.{end}', 'head.layers.head_dist.{end}'),
)

# DeiT III is left out: mmpretrain's `DeiT3` normalises both halves of a layer with
# the first norm, so that its weights mean another network there.
DEIT = KeyMap('official DeiT and distilled DeiT', NAMES)

# Both codes replace one file of timm 0.5.4 and keep its names.
TLALIGN = KeyMap('official TL-Align', NAMES)
TRANSMIX = KeyMap('official TransMix', NAMES, ('state_dict', 'model'))

TIMM = KeyMap(
    "timm's VisionTransformer and VisionTransformerDistilled",
    (
        *NAMES,
        ('blocks.{i}.ls1.gamma', 'backbone.layers.{i}.attn.gamma1.weight'),
        ('blocks.{i}.ls2.gamma', 'backbone.layers.{i}.ffn.gamma2.weight'),
        ('norm_pre.{end}', 'backbone.pre_norm.{end}'),
        # The norm behind the mean of the tokens.
        ('fc_norm.{end}', 'backbone.ln2.{end}'),
    ),
    ('state_dict', 'model'),
)

# The backbone alone: segmentors have no classifier.
MMSEG = KeyMap(
    "mmseg's own VisionTransformer",
    (
        ('cls_token', 'backbone.cls_token'),
        ('pos_embed', 'backbone.pos_embed'),
        ('patch_embed.projection.{end}', 'backbone.patch_embed.projection.{end}'),
        ('layers.{i}.ln{n}.{end}', 'backbone.layers.{i}.ln{n}.{end}'),
        ('layers.{i}.attn.attn.in_proj_{end}', 'backbone.layers.{i}.attn.qkv.{end}'),
        ('layers.{i}.attn.attn.out_proj.{end}', 'backbone.layers.{i}.attn.proj.{end}'),
        ('layers.{i}.ffn.layers.0.0.{end}', 'backbone.layers.{i}.ffn.layers.0.0.{end}'),
        ('layers.{i}.ffn.layers.1.{end}', 'backbone.layers.{i}.ffn.layers.1.{end}'),
        ('ln1.{end}', 'backbone.ln1.{end}'),
    ),
    ('state_dict', 'model'),
)
