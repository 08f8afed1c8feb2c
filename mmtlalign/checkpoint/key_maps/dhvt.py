"""Names of DHVT: official code."""

from mmtlalign.checkpoint.key_maps.base import KeyMap

STEM, LAYER = 'backbone.patch_embed.', 'backbone.layers.{i}.'

DHVT = KeyMap(
    'official DHVT',
    (
        ('cls_token', 'backbone.cls_token'),
        ('patch_embed.{side}_affine.{end}', STEM + '{side}_affine.{end}'),
        ('patch_embed.proj.{unit}.0.{end}', STEM + 'projection.{unit}.conv.{end}'),
        ('patch_embed.proj.{unit}.1.{end}', STEM + 'projection.{unit}.norm.{end}'),
        ('blocks.{i}.norm{n}.{end}', LAYER + 'ln{n}.{end}'),
        ('blocks.{i}.attn.qkv.{end}', LAYER + 'attn.qkv.{end}'),
        ('blocks.{i}.attn.proj.{end}', LAYER + 'attn.proj.{end}'),
        ('blocks.{i}.attn.ht_{part}.{end}', LAYER + 'attn.head_{part}.{end}'),
        ('blocks.{i}.attn.pos_embed', LAYER + 'attn.head_embed'),
        ('blocks.{i}.mlp.conv1.{end}', LAYER + 'ffn.expand.{end}'),
        ('blocks.{i}.mlp.conv2.{end}', LAYER + 'ffn.depthwise.{end}'),
        ('blocks.{i}.mlp.conv3.{end}', LAYER + 'ffn.project.{end}'),
        ('blocks.{i}.mlp.bn{n}.{end}', LAYER + 'ffn.norm{n}.{end}'),
        ('blocks.{i}.mlp.compress.{end}', LAYER + 'ffn.squeeze.{end}'),
        ('blocks.{i}.mlp.excitation.{end}', LAYER + 'ffn.excite.{end}'),
        ('norm.{end}', 'backbone.ln1.{end}'),
        ('head.{end}', 'head.layers.head.{end}'),
    ),
)
