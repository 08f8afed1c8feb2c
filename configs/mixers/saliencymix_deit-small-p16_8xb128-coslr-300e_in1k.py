# SaliencyMix with DeiT-S on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/saliencymix_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number by the authors; of a re-run of SaliencyMix alone (OpenMixup) 79.9,
# of CutMix alone 80.1.
# Measured: no.
# Cost: not measured by us.
# Source: ICLR 2021 and its code (afm-shahab-uddin/SaliencyMix): one box a batch, where
# the partner of the first image stands out; the base config, which is the control.
# Ours: that the saliency is that of the pictures: the official code gives OpenCV
# normalised images, of which it reads bytes (legacy_floats=True does the same);
# SaliencyMix in half of the batches, Mixup in the other.
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
