# SaliencyMix with DeiT-S on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/saliencymix_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number from the authors; OpenMixup's re-runs reach 79.9 with SaliencyMix
# alone and 80.1 with CutMix alone.
# Measured: not yet.
# Cost: not measured by us.
# Source: ICLR 2021 and its code (afm-shahab-uddin/SaliencyMix): one box per batch, at
# the most salient point of the first image's partner. All else is as in the base
# config, which is the control.
# Ours: saliency is computed on the images themselves; the official code passes
# normalised images to OpenCV, which reads them as bytes (legacy_floats=True does the
# same). SaliencyMix in half of the batches, Mixup in the other half.
_base_ = './mixup-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.SaliencyMix', alpha=1.0),
            dict(type='mmtlalign.Mixup', alpha=0.8),
        ],
        probs=[0.5, 0.5],
        guide=dict(type='mmtlalign.FineGrainedSaliency'),
    ),
)
