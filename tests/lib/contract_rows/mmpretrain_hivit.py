"""mmpretrain's HiViT."""

from mmpretrain.models.backbones.hivit import Attention

from .row import Row


def blocks(backbone):
    return list(backbone.blocks[-backbone.num_main_blocks :])


# Fewer blocks in the last stage would be taken for the output of an earlier one.
HIVIT = dict(
    type='HiViT',
    arch=dict(embed_dims=32, depths=[1, 1, 7], num_heads=2),
    img_size=64,
    out_indices=[6],
)

ROWS = {
    'HiViT': Row(dict(HIVIT, rpe=True), (64, 64), 16, 'mean', blocks),
    # Stock positions that are interpolated do not export to ONNX.
    'HiViT, any size': Row(dict(HIVIT, ape=False), (64, 96), 16, 'mean', blocks),
}


def hook_attention(module, events):
    def hook(softmax, args, weights):
        events.append(('attention', weights.double().mean(1)))

    return [module.softmax.register_forward_hook(hook)]


HOOKS = {Attention: hook_attention}
