# Token labels with TL-Align on Imagenette: the class token learns the labels of two
# mixed images by the share that arrives at it, not by area.
#   python tools/train.py configs/small/tlalign-token-label_lvvit-mini-p8_imagenette-64px.py
# Expected: no published number.
# Measured: top-1 51.9 ± 0.5, seeds 0, 1, 2 (docs/results.md).
# Cost: about three minutes on one CPU core.
# Source: no published source.
# Ours: every value of the recipe.
_base_ = './token-label_lvvit-mini-p8_imagenette-64px.py'

model = dict(head=dict(type='mmtlalign.TLAlignTokenLabelClsHead', traced='share'))
