# The same settings for Swin: the masks of shifted windows are made once for each view
# size.
_base_ = './in1k_300e.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mmtlalign.FastAttentionHook', kernel='explicit'),
]
