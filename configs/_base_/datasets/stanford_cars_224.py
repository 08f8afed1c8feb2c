# Stanford Cars, 196 classes: 8144 training images, which are 10 steps an epoch on 8
# GPUs, and 8041 test images. All else is as for Flowers-102. Layout: cars_annos.mat and
# car_ims/, or cars_train/, cars_test/ and devkit/ with cars_test_annos_withlabels.mat.
_base_ = './flowers102_224.py'

dataset_type = 'StanfordCars'
data_root = 'data/stanford_cars'
data_preprocessor = dict(num_classes=196)
train_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, split='train')
)
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root))
test_dataloader = val_dataloader
