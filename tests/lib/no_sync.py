"""Find on a CPU what would make the host wait for a GPU."""

from torch.utils._python_dispatch import TorchDispatchMode


class NoSync(TorchDispatchMode):
    """Mode that fails where the host reads numbers of a device, and so waits for it."""

    WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'is_nonzero', 'equal')

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix('aten::')
        if name in self.WAITS or name.startswith('_unique'):
            raise AssertionError(f'{name} waits for the device')
        return func(*args, **(kwargs or {}))
