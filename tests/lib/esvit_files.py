"""Files of the layout of EsViT's golden ones, at any settings, by plain formulas.

In double precision and without the product's code. Keys are those that the README of
the golden files describes.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F


def save(path, arrays):
    """Write numbers as the golden files have them, single precision and int64."""
    kinds = dict(f=np.float32, i=np.int64)
    stored = {}
    for name, value in arrays.items():
        value = np.asarray(value)
        stored[name] = value.astype(kinds.get(value.dtype.kind, value.dtype))
    np.savez(path, **stored)
    return path


def both(name):
    return [f'{name}.weight', f'{name}.bias']


def swin_names(depths):
    """Official names of the parameters of a Swin, in order."""
    parts = [*both('norm1'), 'attn.relative_position_bias_table', *both('attn.qkv')]
    parts += [*both('attn.proj'), *both('norm2'), *both('mlp.fc1'), *both('mlp.fc2')]
    names = [*both('patch_embed.proj'), *both('patch_embed.norm')]
    for stage, depth in enumerate(depths):
        names += [f'layers.{stage}.blocks.{b}.{p}' for b in range(depth) for p in parts]
        if stage < len(depths) - 1:
            merge = f'layers.{stage}.downsample'
            names += [f'{merge}.reduction.weight', *both(f'{merge}.norm')]
    return [*names, *both('norm')]


def head_names(head):
    """Official names of the parameters of a head of three layers."""
    mlp = [name for n in (0, 2, 4) for name in both(f'{head}.mlp.{n}')]
    return [*mlp, f'{head}.last_layer.weight_g', f'{head}.last_layer.weight_v']


# ------------------------------------------------------------------- esvit_schedule


def schedule_arrays(
    epochs, iters, warmup, lr, min_lr, decay, momentum, max_norm, depths, frozen, seed
):
    """Sequences by iteration, groups of parameters, and clipped gradients."""
    draw = np.random.default_rng(seed)
    steps = np.arange(epochs * iters)
    cosine = (1 + np.cos(np.pi * steps / len(steps))) / 2
    rest = len(steps) - warmup * iters
    falling = (1 + np.cos(np.pi * np.arange(rest) / rest)) / 2
    low, high = decay
    group = {}
    for name in [*swin_names(depths), *head_names('head'), *head_names('head_dense')]:
        flat = name.endswith('.bias') or 'norm' in name
        group[name] = int(flat)
    group |= {f'{head}.last_layer.weight_g': -1 for head in frozen}
    arrays = dict(
        epochs=epochs,
        iters_per_epoch=iters,
        warmup_epochs=warmup,
        base_lr=lr,
        min_lr=min_lr,
        lr=[*np.linspace(0, lr, warmup * iters), *(min_lr + (lr - min_lr) * falling)],
        wd=high + (low - high) * cosine,
        wd_range=decay,
        momentum=1 - (1 - momentum) * cosine,
        momentum_base=momentum,
        param_names=list(group),
        param_group=list(group.values()),
    )
    arrays['clip/max_norm'], norms = max_norm, []
    for name, shape in (('a', (6, 5)), ('b', (7,)), ('c', (2, 3, 4))):
        gradient = draw.normal(scale=draw.choice([0.02, 4.0]), size=shape)
        norms.append(np.sqrt((gradient**2).sum()))
        arrays[f'clip/before/{name}'] = gradient
        scale = min(1, max_norm / (norms[-1] + 1e-6))
        arrays[f'clip/after/{name}'] = scale * gradient
    return arrays | {'clip/returned_norms': norms}


# ----------------------------------------------------------------------- esvit_eval


def eval_arrays(
    classes, bank, queries, ks, temperature, grid, cell, topk, images, heads, seed
):
    """Neighbours, corresponding regions and entropies, of single numbers in loops."""
    draw = np.random.default_rng(seed)

    def unit(rows, width=6):
        x = draw.normal(size=(rows, width))
        return np.float32(x / np.linalg.norm(x, axis=1, keepdims=True))

    known, asked = unit(bank), unit(queries)
    labels, truth = (draw.integers(classes, size=size) for size in (bank, queries))
    # Pictures that are there twice, with one class: neighbours as near as each other.
    again = -(bank // 4)
    known[again:], labels[again:] = known[:-again], labels[:-again]
    table = []
    for k in ks:
        hits = np.zeros(2)
        for query, right in zip(asked.astype(float), truth):
            cosines = known.astype(float) @ query
            votes = np.zeros(classes)
            for index in np.argsort(-cosines, kind='stable')[:k]:
                votes[labels[index]] += math.exp(cosines[index] / temperature)
            order = np.argsort(-votes, kind='stable').tolist()
            hits += [right == order[0], right in order[:5]]
        table.append(100 * hits / queries)
    arrays = {
        'knn/train_x': known, 'knn/train_y': labels,
        'knn/test_x': asked, 'knn/test_y': truth,
        'knn/temperature': temperature, 'knn/num_classes': classes, 'knn/ks': ks,
        'knn/top1_top5': table, 'corr/grid': grid, 'corr/cell': cell, 'corr/topk': topk,
    }  # fmt: skip
    figures = []
    for index in range(images):
        one = draw.normal(size=(grid * grid, 7))
        two = one.reshape(grid, grid, 7)[:, ::-1].reshape(-1, 7)
        two = two + draw.normal(size=two.shape) * (0.5 + index)
        one, two = np.float32(one), np.float32(two)
        arrays |= {f'corr/{index}/f1': one, f'corr/{index}/f2': two}
        figures.append(correspondence(one, two, grid, cell, topk))
    arrays['corr/acc_dist_sim'] = figures
    logits = draw.normal(size=(2, heads, grid * grid, grid * grid), scale=2.0)
    attention = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    arrays['entropy/attn'] = attention
    bits = [-(a * np.log2(a)).sum(axis=1).mean() for a in attention[0]]
    return arrays | {'entropy/value': bits}


def correspondence(one, two, grid, cell, topk):
    """Accuracy, distance in pixels, and the similarity of the pair after the last."""
    pairs = []
    one, two = (
        x / np.linalg.norm(x.astype(float), axis=1)[:, None] for x in (one, two)
    )
    for i, region in enumerate(one):
        cosines = two @ region
        pairs.append((cosines.max(), i, int(cosines.argmax())))
    pairs.sort(reverse=True)
    apart = []
    for _, i, j in pairs[:topk]:
        (y, x), (v, u) = divmod(i, grid), divmod(j, grid)
        apart.append(cell * math.hypot(grid - 1 - x - u, y - v))
    return np.mean(np.array(apart) == 0), np.mean(apart), pairs[topk][0]


# ----------------------------------------------------------------------- esvit_swin


def swin_arrays(
    image, patch, dim, depths, heads, window, ratio, eps, head, batch, crops, seed
):
    """Random weights and images, and what the network makes of them."""
    draw = np.random.default_rng(seed)
    outputs, hidden, bottleneck = head
    windows, shifts = [], []
    for stage, depth in enumerate(depths):
        side = image // patch // 2**stage
        whole = side <= window
        windows += depth * [min(side, window)]
        shifts += [0 if whole else (b % 2) * (window // 2) for b in range(depth)]
    shapes = weight_shapes(patch, dim, depths, heads, windows, ratio, head)
    weights = {}
    for name, shape in shapes.items():
        if 'norm' in name and name.endswith('weight') or name.endswith('weight_g'):
            weights[name] = draw.uniform(0.5, 1.5, shape)
        else:
            fan = shape[-1] if len(shape) == 2 else 3 * patch**2
            weights[name] = draw.normal(scale=fan**-0.5, size=shape)
        if 'bias_table' in name:
            weights[name] = draw.normal(size=shape)
    weights = {name: rounded(weight) for name, weight in weights.items()}
    images = [
        rounded(draw.normal(size=(batch, 3, side, side)))
        for side in (image, image, *crops)
    ]
    blocks = (depths, heads, windows, shifts, eps)
    every = [swin(weights, view, *blocks) for view in images]
    features = torch.cat([out['regions'].flatten(0, 1) for out in every])
    tokens = [out['regions'].shape[1] for out in every]
    pooled = torch.cat([out['blocks'][-1] for out in every])
    arrays = {f'w/{name}': w.numpy() for name, w in weights.items()}
    arrays |= {f'in/crop{i}': view.numpy() for i, view in enumerate(images)}
    arrays |= {
        'cfg/img_size': image, 'cfg/patch_size': patch, 'cfg/embed_dim': dim,
        'cfg/depths': depths, 'cfg/num_heads': heads, 'cfg/window_size': window,
        'cfg/mlp_ratio': float(ratio), 'cfg/ln_eps': eps, 'cfg/head': head,
        'cfg/window_per_block': windows, 'cfg/shift_per_block': shifts,
        'out/cls': project(weights, 'head', pooled).numpy(),
        'out/region': project(weights, 'head_dense', features).numpy(),
        'out/fea': features.numpy(),
        'out/npatch': [tokens[0], *tokens[2:3]],
        'global0/pooled': every[0]['blocks'][-1].numpy(),
        'global0/last_attn': every[0]['attention'].numpy(),
    }  # fmt: skip
    for count in (3, 4):
        last = torch.cat(every[0]['blocks'][-count:], dim=1)
        arrays[f'global0/last{count}'] = last.numpy()
    if crops:
        arrays['local0/pooled'] = every[2]['blocks'][-1].numpy()
    return arrays


def rounded(value):
    """Double precision with the digits that a file keeps."""
    return torch.tensor(np.float32(value)).double()


def weight_shapes(patch, dim, depths, heads, windows, ratio, head):
    """Shape of every parameter, by its official name."""
    outputs, hidden, bottleneck = head
    width = dim * 2 ** (len(depths) - 1)
    shapes = {}
    first = np.cumsum([0, *depths])
    for name in [*swin_names(depths), *head_names('head'), *head_names('head_dense')]:
        if name.startswith('layers.'):
            stage = int(name.split('.')[1])
            c = dim * 2**stage
            window = windows[first[stage]]
            sizes = {
                'bias_table': ((2 * window - 1) ** 2, heads[stage]),
                'qkv.weight': (3 * c, c), 'qkv.bias': (3 * c,), 'proj.weight': (c, c),
                'fc1.weight': (ratio * c, c), 'fc1.bias': (ratio * c,),
                'fc2.weight': (c, ratio * c), 'reduction.weight': (2 * c, 4 * c),
                'downsample.norm.weight': (4 * c,), 'downsample.norm.bias': (4 * c,),
                'weight': (c,), 'bias': (c,),
            }  # fmt: skip
        else:
            c = dim if name.startswith('patch') else width
            sizes = {
                'patch_embed.proj.weight': (dim, 3, patch, patch),
                'mlp.0.weight': (hidden, width), 'mlp.0.bias': (hidden,),
                'mlp.2.weight': (hidden, hidden), 'mlp.2.bias': (hidden,),
                'mlp.4.weight': (bottleneck, hidden), 'mlp.4.bias': (bottleneck,),
                'weight_g': (outputs, 1), 'weight_v': (outputs, bottleneck),
                'weight': (c,), 'bias': (c,),
            }  # fmt: skip
        shapes[name] = next(s for end, s in sizes.items() if name.endswith(end))
    return shapes


def swin(w, images, depths, heads, windows, shifts, eps):
    """Regions (B, T, P), means of all blocks (B, C) each, and the last attention."""

    def norm(x, name):
        weight, bias = (w[key] for key in both(name))
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    patch = w['patch_embed.proj.weight']
    x = F.conv2d(images, patch, w['patch_embed.proj.bias'], stride=patch.shape[-1])
    x = norm(x.permute(0, 2, 3, 1), 'patch_embed.norm')  # (B, h, w, C)
    means, number, attention = [], 0, None
    for stage, depth in enumerate(depths):
        for block in range(depth):
            name = f'layers.{stage}.blocks.{block}'
            out, attention = window_attention(
                norm(x, f'{name}.norm1'), w, f'{name}.attn',
                heads[stage], windows[number], shifts[number],
            )  # fmt: skip
            x = x + out
            y = F.gelu(linear(w, f'{name}.mlp.fc1', norm(x, f'{name}.norm2')))
            x = x + linear(w, f'{name}.mlp.fc2', y)
            last = stage == len(depths) - 1
            means.append((norm(x, 'norm') if last else x).mean(dim=(1, 2)))
            number += 1
        if stage < len(depths) - 1:
            x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
            order = [(0, 0), (1, 0), (0, 1), (1, 1)]
            x = torch.cat([x[:, i::2, j::2] for i, j in order], dim=-1)
            name = f'layers.{stage}.downsample'
            x = norm(x, f'{name}.norm') @ w[f'{name}.reduction.weight'].T
    regions = norm(x, 'norm').flatten(1, 2)
    return dict(regions=regions, blocks=means, attention=attention)


def window_attention(x, w, name, heads, window, shift):
    """Attention inside windows of a map (B, h, w, C), padded at the right and below."""
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x.shape[1:3]
    qkv = linear(w, f'{name}.qkv', x).unflatten(-1, (3, heads, channels // heads))
    bias, out, kept = relative_bias(w, name, window), torch.zeros_like(x), []
    y, z = torch.cartesian_prod(torch.arange(window), torch.arange(window)).T + shift
    for image in range(batch):
        for top in range(0, rows, window):
            for left in range(0, columns, window):
                # What came round a rim and what did not do not see each other.
                wrapped = 2 * (top + y >= rows) + (left + z >= columns)
                apart = wrapped[:, None] != wrapped
                place = (top + y) % rows, (left + z) % columns
                q, k, v = qkv[image][place].permute(1, 2, 0, 3)
                logits = q @ k.mT / q.shape[-1] ** 0.5 + bias - 100.0 * apart
                kept.append(logits.softmax(dim=-1))
                out[image][place] = (kept[-1] @ v).transpose(0, 1).flatten(1)
    return linear(w, f'{name}.proj', out)[:, :height, :width], torch.stack(kept)


def relative_bias(w, name, window):
    """Bias (heads, N, N) of two places in a window by how far they are apart."""
    table = w[f'{name}.relative_position_bias_table']
    bias = torch.zeros(table.shape[1], window**2, window**2, dtype=table.dtype)
    for a in range(window**2):
        for b in range(window**2):
            down, right = a // window - b // window, a % window - b % window
            row = (down + window - 1) * (2 * window - 1) + right + window - 1
            bias[:, a, b] = table[row]
    return bias


def linear(w, name, x):
    return F.linear(x, w[f'{name}.weight'], w[f'{name}.bias'])


def project(w, head, x):
    """Logits of a head."""
    for number in (0, 2, 4):
        x = linear(w, f'{head}.mlp.{number}', x)
        x = F.gelu(x) if number < 4 else x
    x = x / x.norm(dim=-1, keepdim=True)
    v = w[f'{head}.last_layer.weight_v']
    return x @ (w[f'{head}.last_layer.weight_g'] * v / v.norm(dim=1, keepdim=True)).T
