# Fine-tuning of LV-ViT at a larger size: the released command for S at 384 pixels,
# batch 512. Its learning rate is also the minimum, hence constant after the warm-up;
# weights are not averaged.
# Ours: 30 epochs. That command names none (the script's default, 300 and 10, is that
# of pretraining); 30 is the value in VOLO's command for the same step (sail-sg/volo),
# with the same warm-up.
_base_ = './token_label_310e.py'

optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.2,  # from 1e-6
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=512)

# Reads the top-level `pretrained`, including the classifiers, since the classes are the
# same.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook', whole=True)]
