# Does mixing help, and do labels that follow the tokens help more? A ViT of 65 tokens
# and 1.0 M parameters on a quarter of CIFAR-10 (12,500 images), 60 epochs, five seeds,
# in units that are run and saved one by one.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR --resume
#   ... --starts mixpro --seeds 3    one unit
#   ... --table                      the table of the finished units
#
# DIR holds cifar10/{train,test}/<class>/*.jpg (all 60,000 images), coco200seg/ (for the
# statistic of empty boxes) and imagenette224/{train,val} (the tasks; 200 and 50 images
# of each class): docs/data.md has the commands that make it. Cost: a unit is
# about 60 minutes of one CPU core in bfloat16, SMMix 70 (calculated from 220 and 179
# images a second), at the lowest priority; all 50,000 images for 40 epochs would take
# 150 minutes. All values are ours; see docs/results.md.
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
    scratch=dict(title='random weights'),
)
control = 'cutmix'
tasks = dict(
    # All 10,000 test images; it is saved which of them are classified correctly.
    clean=dict(
        title='',
        suite=['robustness'],
        items=['clean', 'calibration'],
        arguments=['--workers', '0', '--batch-size', '250'],
        metrics={'top-1 %': 'clean', 'ECE %': 'calibration'},
    ),
    # 1,000 of them, evenly spread, to stay within minutes.
    hard=dict(
        title='',
        suite=['robustness', 'occlusion'],
        items=['corruptions', 'random'],
        arguments=[
            *('--workers', '0', '--batch-size', '250', '--limit', '1000'),
            *('--severities', '1', '3'),
        ],
        metrics={
            'corrupted: top-1 %': 'corruptions',
            'dropped patches: area %': 'random',
        },
    ),
    # How labels are traced, at the end and during training.
    labels=dict(
        title='labels',
        suite=['labels'],
        items=['rmse', 'presence', 'similarity', 'empty-box'],
        arguments=[
            *('--workers', '0', '--batch-size', '250', '--limit', '1000'),
            *('--pairs', '1000'),
            *('--objects', '{data}/coco200seg/annotations/instances_val2017.json'),
        ],
        metrics={
            'RMSE %': 'rmse',
            'spread of presence %': 'presence',
            'phantom points': 'empty-box',
        },
    ),
    **{
        f'labels{percent}': dict(
            title=f'after {percent} %',
            suite=['labels'],
            items=['rmse', 'presence'],
            arguments=[
                *('--workers', '0', '--batch-size', '250', '--limit', '1000'),
                *('--pairs', '1000'),
            ],
            metrics={'RMSE %': 'rmse', 'spread of presence %': 'presence'},
            after=percent / 100,
        )
        for percent in (25, 50, 75)
    },
    # Tasks in which the control's backbones are ahead of random weights.
    imagenette=dict(
        title='Imagenette',
        config='configs/small/vit-mini-p4_imagenette-32px.py',
        options={'data_root': '{data}/imagenette224'},
    ),
    imagenette200=dict(
        title='200 of Imagenette',
        config='configs/small/vit-mini-p4_imagenette-32px.py',
        options={
            'data_root': '{data}/imagenette224',
            # every tenth image, 20 of each class of 200
            'train_dataloader.dataset.indices': [*range(0, 2000, 10)],
        },
    ),
)
seeds = [0, 1, 2, 3, 4]
start_options = {
    'data_root': '{data}/cifar10',
    'train_dataloader.dataset.every': 4,
    'train_cfg.max_epochs': 60,
    # For the measures of labels during training.
    'default_hooks.checkpoint.interval': 15,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
}
data = 'data/real'
# With the whole of Imagenette the tasks would be others.
before = [
    [
        'tools/dataset_converters/check_data.py',
        'classes',
        '{data}/imagenette224',
        *('--splits', split, '--images-per-class', number),
    ]
    for split, number in (('train', '200'), ('val', '50'))
]
arguments = ['--amp']
headlines = {
    'top-1 %': 'top-1 %',
    'corrupted: top-1 %': '15 corruptions:\ntop-1 %',
    'dropped patches: area %': '0 to 90 % of patches\ndropped: mean top-1 %',
    'ECE %': 'ECE %\n(less is better)',
    'Imagenette: top-1 %': 'Imagenette:\ntop-1 %',
    '200 of Imagenette: top-1 %': 'Imagenette,\n200 images: top-1 %',
}
results = 'docs/results/cifar10_vit-mini'
nice = 19
threads = 1
at_a_time = 1
# A few minutes, to check that everything runs; its results are kept nowhere else.
smoke = dict(
    start_options={
        'train_dataloader.dataset.every': 500,
        'train_cfg.max_epochs': 12,
        'test_dataloader.dataset.every': 100,
        'default_hooks.checkpoint.interval': 3,
    },
    seeds=[0],
    nice=0,
    results='work_dirs/cifar10-smoke-results',
)
