# The control of token labels on Imagenette: the same network, MixToken and schedule;
# only the class token is trained, on the labels of the images.
#   python tools/train.py configs/small/mixtoken_lvvit-mini-p8_imagenette-64px.py
# Expected: no published number.
# Measured: top-1 49.0 ± 1.2, seeds 0, 1, 2 (docs/results.md).
# Cost: about three minutes on one CPU core.
# Source: no published source.
# Ours: every value of the recipe.
_base_ = './token-label_lvvit-mini-p8_imagenette-64px.py'

model = dict(head=dict(class_target='label', loss=dict(dense_weight=0.0)))
