# Token labels with TL-Align on Imagenette: of two mixed images the class token learns
# the share that arrives, not the area.
#
#   python tools/train.py THIS_FILE
#
# Cost: about three minutes on one CPU core. Every number is ours.
_base_ = './token-label_lvvit-mini-p8_imagenette-64px.py'

model = dict(head=dict(type='mmtlalign.TLAlignTokenLabelClsHead', traced='share'))
