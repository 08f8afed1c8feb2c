# Puzzle Mix with DeiT-S on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/puzzlemix_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number by the authors; of a re-run of Puzzle Mix alone (OpenMixup) 80.5,
# of CutMix alone 80.1.
# Measured: no.
# Cost: not measured by us: on its batches a forward pass more, a backward pass to the
# pixels, and a minimum cut an image on the CPU.
# Source: ICML 2020 and its code (snu-mllab/PuzzleMix) for the costs; the base config,
# which is the control.
# Ours: the maximum flow of SciPy in place of gco, the same masks of two levels; no
# transport of blocks; Puzzle Mix in half of the batches, Mixup in the other.
_base_ = './mixup-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.PuzzleMix', alpha=1.0),
            dict(type='mmtlalign.Mixup', alpha=0.8),
        ],
        probs=[0.5, 0.5],
        guide=dict(type='mmtlalign.InputGradient'),
    ),
)
