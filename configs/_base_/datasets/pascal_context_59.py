# Pascal Context without background: 59 classes. The data set itself reduces the zero
# label, so that background becomes 255, ignored, and the classes start at 0.
_base_ = './pascal_context.py'

train_dataloader = dict(dataset=dict(type='PascalContextDataset59'))
val_dataloader = dict(dataset=dict(type='PascalContextDataset59'))
test_dataloader = val_dataloader
