"""Names of DHVT: official code."""

from mmtlalign.checkpoint.key_maps.base import KeyMap

DHVT = KeyMap(
    'official DHVT',
    (
        ('cls_token', 'backbone.cls_token'),
        (
            'patch_embed.{side}_affine.{end}',
            'backbone.patch_embed.{side}_affine.{end}',
        ),
        (
            'patch_embed.proj.{unit}.0.{end}',
            'backbone.patch_embed.projection.{unit}.conv.{end}',
        ),
        (
            'patch_embed.proj.{unit}.1.{end}',
            'backbone.patch_embed.projection.{unit}.norm.{end}',
        ),
        ('blocks.{i}.norm{n}.{end}', 'backbone.layers.{i}.ln{n}.{end}'),
        ('blocks.{i}.attn.qkv.{end}', 'backbone.layers.{i}.attn.qkv.{end}'),
        ('blocks.{i}.attn.proj.{end}', 'backbone.layers.{i}.attn.proj.{end}'),
        (
            'blocks.{i}.attn.ht_{part}.{end}',
            'backbone.layers.{i}.attn.head_{part}.{end}',
        ),
        ('blocks.{i}.attn.pos_embed', 'backbone.layers.{i}.attn.head_embed'),
        ('blocks.{i}.mlp.conv1.{end}', 'backbone.layers.{i}.ffn.expand.{end}'),
        ('blocks.{i}.mlp.conv2.{end}', 'backbone.layers.{i}.ffn.depthwise.{end}'),
        ('blocks.{i}.mlp.conv3.{end}', 'backbone.layers.{i}.ffn.project.{end}'),
        ('blocks.{i}.mlp.bn{n}.{end}', 'backbone.layers.{i}.ffn.norm{n}.{end}'),
        ('blocks.{i}.mlp.compress.{end}', 'backbone.layers.{i}.ffn.squeeze.{end}'),
        ('blocks.{i}.mlp.excitation.{end}', 'backbone.layers.{i}.ffn.excite.{end}'),
        ('norm.{end}', 'backbone.ln1.{end}'),
        ('head.{end}', 'head.layers.head.{end}'),
    ),
)
