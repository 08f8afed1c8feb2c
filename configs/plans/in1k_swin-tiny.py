# The whole comparison at full size: Swin-T on ImageNet-1k with TL-Align and with plain
# CutMix, then ADE20K, COCO, CIFAR-100 and Flowers-102 from both.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE
#
# Cost: on 8 GPUs; not measured by us. One seed, as in the papers; the choice of tasks
# is ours. Every stage can be resumed, so the plan may be stopped and moved to another
# machine.
starts = dict(
    tlalign=dict(
        title='TL-Align',
        config='configs/tlalign/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k.py',
        options={'train_dataloader.batch_size': 128},  # 8 GPUs, as 16 of 64
    ),
    control=dict(
        title='CutMix control',
        config='configs/cutmix/cutmix_swin-tiny-p4-w7_16xb64-coslr-300e_in1k.py',
        options={'train_dataloader.batch_size': 128},  # 8 GPUs, as 16 of 64
    ),
)
tasks = dict(
    segment=dict(
        title='ADE20K',
        config='configs/segmentation/'
        'swin-tiny-p4-w7_tlalign-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
    ),
    detect=dict(
        title='COCO',
        config='configs/detection/'
        'cascade-mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-3x_coco.py',
    ),
    cifar100=dict(
        title='CIFAR-100',
        config='configs/transfer/'
        'swin-tiny-p4-w7_tlalign-in1k-pre_sgd-1000e_cifar100-224px.py',
    ),
    flowers=dict(
        title='Flowers-102',
        config='configs/transfer/'
        'swin-tiny-p4-w7_tlalign-in1k-pre_sgd-1000e_flowers102.py',
    ),
)
processes = 8
# The recipes state their batch size; with fewer or more GPUs the learning rate is
# scaled. Mixed precision is ours for ADE20K, whose recipe has none.
arguments = ['--amp', '--auto-scale-lr']
