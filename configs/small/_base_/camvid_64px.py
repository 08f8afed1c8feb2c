# CamVid (480 x 360, 11 classes) at 120 x 90, crops of 64, for networks of 32 pixels.
# The sizes are ours.
# Layout and label ids: configs/_base_/datasets/camvid.py.
_base_ = './camvid_128px.py'

train_pipeline = _base_.train_pipeline
train_pipeline[3].update(scale=(120, 90))
train_pipeline[4].update(crop_size=(64, 64))
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(120, 90))
tta_pipeline = _base_.tta_pipeline
for resize in tta_pipeline[1].transforms[0]:
    resize.update(scale=tuple(round(side / 2) for side in resize.scale))

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
