# Token labels with TL-Align on Imagenette: of two mixed images the class token learns
# the share that arrives, not the area.
#   python tools/train.py configs/small/tlalign-token-label_lvvit-mini-p8_imagenette-64px.py
# Expected: in no paper.
# Measured: top-1 51.9 ± 0.5, seeds 0, 1, 2 (docs/results.md).
# Cost: about three minutes on one CPU core.
# Source: none.
# Ours: every number.
_base_ = './token-label_lvvit-mini-p8_imagenette-64px.py'

model = dict(head=dict(type='mmtlalign.TLAlignTokenLabelClsHead', traced='share'))
