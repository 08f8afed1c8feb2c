# Does mixing help, and do labels that follow the tokens help more? A ViT of 65 tokens and
# 1.0 M parameters on a quarter of CIFAR-10 (12,500 pictures), 60 epochs, five seeds, in
# units that are run and kept one by one.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR --resume
#   ... --starts mixpro --seeds 3    one unit
#   ... --table                      the table of the units that are there
#
# DIR holds train/<class>/*.jpg and test/<class>/*.jpg, all 60,000 pictures. Cost: a unit
# is about 60 minutes of one CPU core in bfloat16, SMMix 70 (calculated from 220 and 179
# pictures a second), at the lowest priority; all 50,000 pictures for 40 epochs would be
# 150. Every number is ours; see docs/results.md.
starts = dict(
    cutmix=dict(
        title='CutMix (control)',
        config='configs/small/cutmix_vit-mini-p4_cifar10-32px.py',
    ),
    plain=dict(
        title='no mixing', config='configs/small/plain_vit-mini-p4_cifar10-32px.py'
    ),
    tokencutmix=dict(
        title='TokenCutMix, target by area',
        config='configs/small/token-cutmix_vit-mini-p4_cifar10-32px.py',
    ),
    transmix=dict(
        title='TransMix', config='configs/small/transmix_vit-mini-p4_cifar10-32px.py'
    ),
    tlalign=dict(
        title='TL-Align', config='configs/small/tlalign_vit-mini-p4_cifar10-32px.py'
    ),
    smmix=dict(title='SMMix', config='configs/small/smmix_vit-mini-p4_cifar10-32px.py'),
    mixpro=dict(
        title='MixPro', config='configs/small/mixpro_vit-mini-p4_cifar10-32px.py'
    ),
)
control = 'cutmix'
tasks = dict(
    # All 10,000 test pictures; which of them are right is kept.
    clean=dict(
        title='',
        suite=['robustness'],
        items=['clean', 'calibration'],
        arguments=['--workers', '0', '--batch-size', '250'],
    ),
    # 1,000 of them, evenly spread, to stay within minutes.
    hard=dict(
        title='',
        suite=['robustness', 'occlusion', 'labels'],
        items=['corruptions', 'random', 'rmse'],
        arguments=[
            *('--workers', '0', '--batch-size', '250', '--limit', '1000'),
            *('--severities', '1', '3', '--pairs', '1000'),
        ],
    ),
)
seeds = [0, 1, 2, 3, 4]
options = {
    'data_root': '{data}',
    'train_dataloader.dataset.every': 4,
    'train_cfg.max_epochs': 60,
}
data = 'data/cifar10'
arguments = ['--amp']
results = 'docs/results/cifar10_vit-mini'
nice = 19
threads = 1
at_a_time = 1
# A few minutes, to see whether all runs; its results are kept nowhere else.
smoke = dict(
    options={
        'train_dataloader.dataset.every': 500,
        'train_cfg.max_epochs': 12,
        'test_dataloader.dataset.every': 100,
    },
    seeds=[0],
    nice=0,
    results='work_dirs/cifar10-smoke-results',
)
