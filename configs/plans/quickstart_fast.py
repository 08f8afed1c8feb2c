# The quickstart in one to five minutes: every stage, with fewer steps and one seed.
#
#   bash tools/quickstart.sh --fast
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE
#
# Cost: one to five minutes on two CPU cores. All values are ours.
_base_ = './quickstart.py'
starts = dict(
    tlalign=dict(options={'train_cfg.max_iters': 120, 'train_cfg.val_interval': 120}),
    control=dict(options={'train_cfg.max_iters': 120, 'train_cfg.val_interval': 120}),
)
tasks = dict(
    segment=dict(options={'train_cfg.max_iters': 25, 'train_cfg.val_interval': 25}),
    detect=dict(options={'train_cfg.max_iters': 25, 'train_cfg.val_interval': 25}),
)
seeds = [0]
# No smoke run: the step counts above would not be small.
smoke = dict(_delete_=True)
note = _base_.note.split('A difference')[0] + (
    'All of it is far shorter than the full quickstart, and there is one seed: enough to '
    'see every stage work, too little to compare TL-Align with its control.'
)
