# Attentive CutMix with DeiT-S on ImageNet-1k, from scratch, by its own attention.
#   bash tools/dist_train.sh configs/mixers/attentive-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number from the authors; OpenMixup's re-run with another network as guide
# reaches 80.3.
# Measured: not yet.
# Cost: not measured by us.
# Source: ICASSP 2020: the 6 strongest of 7x7 cells. All else is as in the base config,
# which is the control.
# Ours: the attention of the network itself selects the strongest cells, instead of a
# frozen ResNet-50; Attentive CutMix in half of the batches, Mixup in the other half.
_base_ = './mixup-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.AttentiveCutMix', cells=(7, 7), top_k=6),
            dict(type='mmtlalign.Mixup', alpha=0.8),
        ],
        probs=[0.5, 0.5],
        guide=dict(type='mmtlalign.OwnAttention', attention='cls'),
    ),
)
