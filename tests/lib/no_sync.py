"""A GPU that nobody has: what would wait for it is found on a CPU as well."""

from torch.utils._python_dispatch import TorchDispatchMode


class NoSync(TorchDispatchMode):
    """Refuses what a GPU would have to be waited for: numbers read by the host."""

    WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'is_nonzero', 'equal')

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix('aten::')
        if name in self.WAITS or name.startswith('_unique'):
            raise AssertionError(f'{name} waits for the device')
        return func(*args, **(kwargs or {}))
