"""The settings of a backbone, and which of them an export has translated."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmtlalign.backbones.pvt import PVT
from mmtlalign.errors import InputError

# Settings that hold settings: of all layers, or a list with those of each.
NESTED = {
    *('patch_cfg', 'layer_cfgs', 'stage_cfgs', 'block_cfgs', 'downsample_cfg'),
    *('attn_cfgs', 'ffn_cfgs'),
}
# Settings that training alone reads.
NEUTRAL = {
    *('type', '_scope_', 'init_cfg', 'with_cp', 'frozen_stages', 'norm_eval'),
    *('drop_rate', 'attn_drop_rate', 'drop_path_rate', 'drop_path', 'drop_paths'),
    *('attn_drop', 'proj_drop', 'ffn_drop', 'dropout_layer'),
}
LN, GELU = dict(type='LN'), dict(type='GELU')
LAYER_NORM = 'layer_cfgs.norm_cfg'
BLOCK = 'stage_cfgs.block_cfgs.'
NESTED_DEFAULTS: dict[str, dict[str, Any]] = dict(
    SwinTransformer={
        'patch_cfg.norm_cfg': LN,
        'stage_cfgs.downsample_cfg.norm_cfg': LN,
        BLOCK + 'norm_cfg': LN,
        BLOCK + 'ffn_ratio': 4.0,
        BLOCK + 'ffn_cfgs.act_cfg': GELU,
        BLOCK + 'attn_cfgs.qkv_bias': True,
        BLOCK + 'attn_cfgs.qk_scale': None,
    },
    VisionTransformer={'layer_cfgs.act_cfg': GELU},
    DistilledVisionTransformer={'layer_cfgs.act_cfg': GELU},
)


class _Unset:
    def __repr__(self) -> str:
        return 'default'


UNSET = _Unset()


class Each(list):
    """Values of one setting that differ from layer to layer."""


class BackboneOptions:
    """Settings of a backbone by dotted name, such as ``patch_cfg.norm_cfg``.

    Those that an export translates are taken. Those that change the network, differ
    from their default and are left over are an error, see :meth:`check`.

    Args:
        backbone: The dict of the backbone in a config.
    """

    def __init__(self, backbone: Mapping[str, Any]):
        self.kind = str(backbone['type']).rpartition('.')[2]
        if self.kind == 'PVT':
            self._class: Any = PVT
        else:
            models = importlib.import_module('mmpretrain.models')
            self._class = getattr(models, self.kind)
        self._defaults = _defaults(self._class) | NESTED_DEFAULTS.get(self.kind, {})
        self._given = _flatten(backbone)
        self._taken: set[str] = set()
        self._refused: set[str] = set()

    def get(self, name: str) -> Any:
        """Return a setting, or else its default."""
        found = self._given.get(name, self._defaults.get(name, UNSET))
        # Layers have the norms of the whole unless they have their own.
        return self.get('norm_cfg') if name == LAYER_NORM and found is UNSET else found

    def take(self, name: str) -> Any:
        """Return a setting, or else its default, and note that it is translated."""
        self._taken.add(name)
        return self.get(name)

    def refuse(self, name: str) -> None:
        """Note that the format cannot express a setting, whatever its default is."""
        self._refused.add(name)

    def take_side(self, name: str) -> Any:
        """Return a size: an int for equal sides, else a tuple."""
        value = self.take(name)
        if isinstance(value, Sequence):
            return value[0] if len(set(value)) == 1 else tuple(value)
        return value

    def take_eps(self, *names: str) -> float | None:
        """Return the eps of layer norms, None and not taken if they differ."""
        values = {_layer_norm_eps(self.get(name)) for name in names}
        if len(values) > 1 or None in values:
            return None
        self._taken.update(names)
        return values.pop()

    def take_arch(self) -> Mapping[str, Any]:
        """Return the sizes behind the name of an architecture."""
        arch = self.take('arch')
        return self._class.arch_zoo[arch.lower()] if isinstance(arch, str) else arch

    def take_last(self, count: int, every: bool = False) -> list[int]:
        """Return ``out_indices`` from 0; taken if the last layer is among them.

        Args:
            count: Number of layers.
            every: Whether those without the last can be translated too.
        """
        given = self.get('out_indices')
        given = [given] if isinstance(given, int) else given
        indices = [i + count if i < 0 else i for i in given]
        if every or count - 1 in indices:
            self._taken.add('out_indices')
        return indices

    def check(self, layout: str) -> None:
        """Check that nothing is left over.

        Raises:
            InputError: Settings that the format cannot express.
        """
        left = [
            name
            for name, value in self._given.items()
            if name not in self._taken | self._refused
            and name.rpartition('.')[2] not in NEUTRAL
            and not _same(value, self._defaults.get(name, UNSET))
        ]
        left += sorted(self._refused)
        if left:
            said = [f'{name}={self.get(name)!r}' for name in left]
            raise InputError(
                f'--format {layout} cannot express {", ".join(said)} of this '
                f'{self.kind}, so its features would differ. Export it with --format '
                'mmpretrain.'
            )


def _defaults(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if '__init__' in vars(base):
            signature = inspect.signature(base.__init__)  # type: ignore[misc]
            for name, parameter in signature.parameters.items():
                if parameter.default is not parameter.empty:
                    found[name] = parameter.default
    return found


def _flatten(settings: Mapping[str, Any], begin: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = begin + key
        if key not in NESTED:
            flat[name] = value
        elif isinstance(value, Mapping):
            flat.update(_flatten(value, name + '.'))
        else:
            flat.update(_merge([_flatten(part, name + '.') for part in value]))
    return flat


def _merge(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of all layers, one value where they agree."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        # The last stage is not followed by a smaller one.
        among = parts[:-1] if 'downsample_cfg.' in name else parts
        values = [part.get(name, UNSET) for part in among]
        alike = all(_same(value, values[0]) for value in values)
        merged[name] = values[0] if values and alike else Each(values)
    return merged


def _layer_norm_eps(value: Any) -> float | None:
    known = isinstance(value, Mapping) and value.get('type') == 'LN'
    if not known or set(value) - {'type', 'eps', 'requires_grad'}:
        return None
    return value.get('eps', 1e-5)


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return list(value) == list(other)
    return value == other
