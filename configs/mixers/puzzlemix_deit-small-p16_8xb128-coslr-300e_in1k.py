# Puzzle Mix with DeiT-S on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/puzzlemix_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number from the authors; OpenMixup's re-runs reach 80.5 with Puzzle Mix
# alone and 80.1 with CutMix alone.
# Measured: not yet.
# Cost: not measured by us. Each of its batches needs one more forward pass, a backward
# pass to the pixels, and one minimum cut per image on the CPU.
# Source: ICML 2020 and its code (snu-mllab/PuzzleMix) for the costs. All else is as in
# the base config, which is the control.
# Ours: SciPy's maximum flow instead of gco, with the same masks of two levels; no
# transport of blocks; Puzzle Mix in half of the batches, Mixup in the other half.
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
