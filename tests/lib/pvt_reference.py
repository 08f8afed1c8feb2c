"""PVT (ICCV 2021) written once more: functions on weights with official names."""

import torch
import torch.nn.functional as F

SR_RATIOS = (8, 4, 2, 1)
HEADS = (1, 2, 5, 8)


def count_parameters(num_layers, size=224, classes=1000):
    """Count by Table 1 of the paper: widths, ratios and patches of four stages."""
    total, channels, side = 0, 3, size
    for width, mlp, sr, patch, layers in zip(
        (64, 128, 320, 512), (8, 8, 4, 4), SR_RATIOS, (4, 2, 2, 2), num_layers
    ):
        side //= patch
        norm = 2 * width
        total += channels * width * patch**2 + width + norm  # patch embedding
        total += side * side * width  # positions
        attention = 4 * (width * width + width)
        if sr > 1:
            attention += width * width * sr * sr + width + norm
        feedforward = width * mlp * width + mlp * width + mlp * width * width + width
        total += layers * (attention + feedforward + 2 * norm)
        channels = width
    # The class token, its position, the final norm and the classifier.
    return total + 2 * channels + 2 * channels + channels * classes + classes


def class_token(weights, images, num_layers, class_too=True):
    """Compute the class token (B, 512), or the last map, from official weights."""

    def norm(x, name, eps):
        weight, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def linear(x, name):
        return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']

    def conv(x, name):
        weight = weights[f'{name}.weight']
        return F.conv2d(x, weight, weights[f'{name}.bias'], weight.shape[-1])

    def tokens(maps):
        return maps.flatten(2).transpose(1, 2)

    def attention(x, name, heads, grid, sr):
        keys = x
        if sr > 1:
            maps = x.transpose(1, 2).reshape(len(x), -1, *grid)
            keys = norm(tokens(conv(maps, f'{name}.sr')), f'{name}.norm', 1e-5)
        both = linear(keys, f'{name}.kv')
        query, key, value = (
            t.reshape(len(x), t.shape[1], heads, -1).transpose(1, 2)
            for t in (linear(x, f'{name}.q'), *both.chunk(2, dim=-1))
        )
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        out = (logits.softmax(-1) @ value).transpose(1, 2).flatten(2)
        return linear(out, f'{name}.proj')

    maps = images
    for i in range(1, 5):
        maps = conv(maps, f'patch_embed{i}.proj')
        grid = maps.shape[-2:]
        x = norm(tokens(maps), f'patch_embed{i}.norm', 1e-5)
        places = weights[f'pos_embed{i}']
        extra = places[:, : int(i == 4 and class_too)]
        places = places[:, extra.shape[1] :]
        side = round(places.shape[1] ** 0.5)
        places = places.transpose(1, 2).reshape(1, -1, side, side)
        x = x + tokens(F.interpolate(places, grid, mode='bilinear'))
        if i == 4 and class_too:
            first = weights['cls_token'] + extra
            x = torch.cat([first.expand(len(x), -1, -1), x], dim=1)
        for k in range(num_layers[i - 1]):
            name = f'block{i}.{k}'
            y = norm(x, f'{name}.norm1', 1e-6)
            x = x + attention(y, f'{name}.attn', HEADS[i - 1], grid, SR_RATIOS[i - 1])
            y = F.gelu(linear(norm(x, f'{name}.norm2', 1e-6), f'{name}.mlp.fc1'))
            x = x + linear(y, f'{name}.mlp.fc2')
        if i < 4 or not class_too:
            maps = x.transpose(1, 2).reshape(len(x), -1, *grid)
    return norm(x, 'norm', 1e-6)[:, 0] if class_too else maps
