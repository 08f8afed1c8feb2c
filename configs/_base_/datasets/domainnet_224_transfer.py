# One set of DomainNet for fine-tuning: as domainnet_224.py, without random erasing.
# With the 33,525 training images of clipart, an epoch on 8 GPUs has 43 steps.
_base_ = './domainnet_224.py'

train_pipeline = [
    step for step in _base_.train_pipeline if step.type != 'RandomErasing'
]
train_dataloader = dict(
    batch_size=96,
    dataset=dict(pipeline=train_pipeline),
    # Repeated augmentation: each image occurs three times in a batch over all GPUs. The
    # length of an epoch does not change.
    sampler=dict(type='RepeatAugSampler', shuffle=True),
)
