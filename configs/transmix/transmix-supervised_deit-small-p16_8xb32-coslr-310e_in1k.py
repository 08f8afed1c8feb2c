# TransMix by the attention of a frozen DeiT-S: DeiT-S on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/transmix/transmix-supervised_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Weights of the other network, converted once:
#   python tools/model_converters/convert_weights.py deit OFFICIAL checkpoints/deit-small-p16.pth
# Expected: no gain, says the paper (CVPR 2022, Table 6); its figures could not be had.
# Measured: no.
# Cost: not measured by us; one more forward pass of a DeiT-S a batch.
# Source: the base config; Table 6 for the kind of network.
# Ours: how it is read, which the paper does not say: the frozen network sees the mixed
# images, and the mask at its own tokens; half and half with the area.
_base_ = './transmix_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(
    head=dict(
        teacher=dict(
            type='mmtlalign.TeacherAttention',
            backbone=dict(
                type='VisionTransformer',
                arch='deit-small',
                img_size=224,
                patch_size=16,
            ),
            checkpoint='checkpoints/deit-small-p16.pth',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
        ),
    ),
)
