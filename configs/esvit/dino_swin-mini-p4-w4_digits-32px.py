# DINO on handwritten digits: the control of EsViT, without regions.
#   python tools/train.py configs/esvit/dino_swin-mini-p4-w4_digits-32px.py
# Expected: no published number.
# Measured: k-NN top-1 77.8 ± 6.9 (k = 20), with random weights 51.7 ± 1.4, with pixels
# 56.8, seeds 0, 1, 2 (docs/frozen_features.md).
# Cost: measured like the base config: 0.08 s a step.
# Source: the base config, of which this is the control.
# Ours: every value of the recipe.
_base_ = './esvit_swin-mini-p4-w4_digits-32px.py'

model = dict(region_head=None)
