# EsViT (ICLR 2022) with Swin-T, window 14. The official code determines windows at 224
# pixels: the map of stage 3 is one window there, so its blocks are never shifted; that
# of stage 4 is smaller, so its window is 7.
_base_ = './esvit_swin_tiny.py'

third_stage = dict(_base_.stage, block_cfgs=dict(_base_.eps, shift=False))
fourth_stage = dict(_base_.last_stage, window_size=7)
model = dict(
    backbone=dict(
        window_size=14,
        stage_cfgs=[_base_.stage, _base_.stage, third_stage, fourth_stage],
    )
)
