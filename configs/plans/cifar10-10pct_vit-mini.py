# The comparison of cifar10_vit-mini.py with a tenth of CIFAR-10 (5,000 images) and 40
# epochs: the network memorises most of the images, and mixing matters more.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR --resume
#   ... --table                      the table of the finished units
#
# DIR as in its base. Cost: a unit is about 20 minutes of one CPU core in bfloat16
# (calculated, as its base says). All values are ours; see docs/results.md.
_base_ = './cifar10_vit-mini.py'

start_options = {
    'train_dataloader.dataset.every': 10,
    'train_cfg.max_epochs': 40,
    'default_hooks.checkpoint.interval': 10,
}
results = 'docs/results/cifar10-10pct_vit-mini'
smoke = dict(results='work_dirs/cifar10-10pct-smoke-results')
