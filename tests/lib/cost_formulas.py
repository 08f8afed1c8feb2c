"""Multiply-accumulates of networks by formulas of their papers: the counter's oracle.

N image tokens, T with class token, D width, L layers, K classes, s pixels of a side.
"""


def vit(width, layers, size=224, patch=16, classes=1000, extra=1):
    n = (size // patch) ** 2
    t = n + extra
    layer = 12 * t * width**2 + 2 * t**2 * width
    return n * 3 * patch**2 * width + layers * layer + width * classes


def swin(width, depths, size=224, window=7, classes=1000, class_attention=False):
    n, total = (size // 4) ** 2, (size // 4) ** 2 * 48 * width
    for stage, depth in enumerate(depths):
        if stage:  # merging
            n //= 4
            total += n * 4 * width * 2 * width
            width *= 2
        blocks = depth - (class_attention and stage == len(depths) - 1)
        total += blocks * (12 * n * width**2 + 2 * n * window**2 * width)
    if class_attention:
        # keys and values of all tokens; query, projection and feed-forward of one
        total += 2 * (n + 1) * width**2 + 2 * (n + 1) * width + 10 * width**2
    return total + width * classes


def reduced_attention(n, width, reduction, ratio, extra=0):
    """A layer whose keys are reduced `reduction`-fold a side, feed-forward included."""
    t, keys = n + extra, n // reduction**2 + extra
    convolution = n * width**2 if reduction > 1 else 0
    products = (2 + 2 * ratio) * t * width**2 + 2 * keys * width**2
    return convolution + products + 2 * t * keys * width


def pyramid(widths, depths, ratios, layer, size=224, classes=1000):
    """Stages that begin with patches of 4, 2, 2 and 2."""
    total, channels, side = 0, 3, size
    for stage, (width, depth) in enumerate(zip(widths, depths)):
        patch = 2 if stage else 4
        side //= patch
        total += side**2 * patch**2 * channels * width
        total += layer(side**2, width, depth, ratios[stage], 8 >> stage, stage)
        channels = width
    return total + channels * classes


def pvt(depths):
    def layers(n, width, depth, ratio, reduction, stage):
        extra = int(stage == 3)  # the class token
        return depth * reduced_attention(n, width, reduction, ratio, extra)

    return pyramid((64, 128, 320, 512), depths, (8, 8, 4, 4), layers)


def pcpvt(depths):
    def layers(n, width, depth, ratio, reduction, stage):
        positions = 9 * n * width
        return positions + depth * reduced_attention(n, width, reduction, ratio)

    return pyramid((64, 128, 320, 512), depths, (8, 8, 4, 4), layers)


def svt(widths, depths, window=7):
    def layers(n, width, depth, ratio, reduction, stage):
        local = (4 + 2 * ratio) * n * width**2 + 2 * n * window**2 * width
        wide = reduced_attention(n, width, reduction, ratio)
        return 9 * n * width + (depth - depth // 2) * local + depth // 2 * wide

    return pyramid(widths, depths, (4, 4, 4, 4), layers)


def convolutions(size, channels):
    """Convolutions of 3x3 that halve the map, through these numbers of channels."""
    total = 0
    for before, after in zip(channels, channels[1:]):
        size = -(-size // 2)
        total += size**2 * 9 * before * after
    return total


def xcit(width, layers, heads, size=224, classes=1000):
    n = (size // 16) ** 2
    stem = convolutions(size, [3, width // 8, width // 4, width // 2, width])
    covariance = 2 * n * width**2 // heads
    layer = 12 * n * width**2 + covariance + 18 * n * width
    class_layer = 2 * (n + 1) * width**2 + 2 * (n + 1) * width + 10 * width**2
    total = stem + 64 * width * n + layers * layer + 2 * class_layer
    return total + width * classes


def lvvit(width, layers, stem=64, size=224, classes=1000):
    n = (size // 16) ** 2
    convs = (size // 2) ** 2 * (49 * 3 * stem + 2 * 9 * stem**2)
    t = n + 1
    layer = 10 * t * width**2 + 2 * t**2 * width
    return convs + n * 64 * stem * width + layers * layer + t * width * classes


def dhvt(width, heads, patch, size, classes):
    units = patch.bit_length() - 1
    stem = convolutions(size, [3, *(width >> k for k in reversed(range(units)))])
    n = (size // patch) ** 2
    t = n + 1 + heads
    attention = width**2 + 4 * t * width**2 + 2 * t**2 * width
    feed_forward = 8 * n * width**2 + 9 * n * 4 * width + width**2 // 2
    return stem + 12 * (attention + feed_forward) + width * classes
