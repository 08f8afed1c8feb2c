# TransMix with the attention of a frozen distilled DeiT-S: DeiT-S on ImageNet-1k, from
# scratch.
#   bash tools/dist_train.sh configs/transmix/transmix-distilled_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Weights of the other network, converted once:
#   python tools/model_converters/convert_weights.py deit OFFICIAL checkpoints/deit-small-p16-distilled.pth
# Expected: no gain, according to the paper (CVPR 2022, Table 6); we could not obtain
# its numbers.
# Measured: not yet.
# Cost: not measured by us; each batch needs one more forward pass of a DeiT-S.
# Source: the base config; the paper's Table 6 for the network whose attention is used.
# Ours: how the attention is used, which the paper does not say: the frozen network sees
# the mixed images, and the mask on its own token grid. The labels are weighted half by
# attention, half by area.
_base_ = './transmix_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(
    head=dict(
        teacher=dict(
            type='mmtlalign.TeacherAttention',
            backbone=dict(
                type='DistilledVisionTransformer',
                arch='deit-small',
                img_size=224,
                patch_size=16,
            ),
            checkpoint='checkpoints/deit-small-p16-distilled.pth',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
        ),
    ),
)
