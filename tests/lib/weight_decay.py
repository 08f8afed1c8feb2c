"""Which parameters decay."""

from mmengine.optim import build_optim_wrapper


def check_optimiser(model, cfg) -> None:
    """Norms, biases and positions do not decay, all else does; one rate."""
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decay = {names[id(p)]: g['weight_decay'] for g in groups for p in g['params']}
    assert decay.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert {group['lr'] for group in groups} == {cfg.optim_wrapper.optimizer.lr}
    tables = ('cls_token', 'pos_embed', 'relative_position_bias_table', 'bias')
    free = {n for n, p in model.named_parameters() if p.ndim == 1}
    free |= {n for n in decay if n.endswith(tables)}
    assert {n for n, value in decay.items() if value == 0} == free & decay.keys()
    assert set(decay.values()) == {0.0, cfg.optim_wrapper.optimizer.weight_decay}
