"""Cross-entropy of many student rows to chosen teacher rows, in little memory.

Shapes: ``R`` rows of the student, ``M`` rows of the teacher, ``J`` targets a row,
``K`` prototypes.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Numbers that a chunk of rows may hold: 8 MiB in float32, near what caches of a CPU
# hold, and for a GPU still some 200 chunks at most of the largest recipe.
CHUNK = 2**21


def teacher_probabilities(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    """Centred and sharpened teacher outputs (M, K), float32, without gradient.

    DINO (arXiv 2104.14294), §3.1: the centre works against one prototype that takes
    all, the temperature against all being alike.

    Args:
        logits: Of the teacher (M, K).
        center: Running mean of such logits (1, K).
        temperature: Of the teacher.
    """
    return ((logits.detach().float() - center) / temperature).softmax(dim=-1)


def cross_entropy_to_rows(
    student: Tensor, targets: Tensor, rows: Tensor, weights: Tensor, temperature: float
) -> Tensor:
    """Weighted sum over r and j of ``CE(targets[rows[r, j]], student[r])``.

    The gradient is made with the loss, chunk by chunk of rows: apart from inputs and
    gradient, no tensor of R x K is held, and none of R x J x K ever. Logits of 5,440
    regions, a step of 32 images at K = 65,536, take 1.4 GB a copy in float32, and
    plain autograd keeps several.

    Args:
        student: Logits (R, K).
        targets: Probabilities (M, K), without gradient.
        rows: Which target row (R, J), int64.
        weights: Of each target (R, J); 0 leaves it out.
        temperature: Of the student.

    Returns:
        Tensor: The sum, () float32.
    """
    return _CrossEntropyToRows.apply(student, targets, rows, weights, temperature)


class _CrossEntropyToRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, student, targets, rows, weights, temperature):
        learns = ctx.needs_input_grad[0]
        gradient = torch.empty_like(student) if learns else None
        loss = student.new_zeros((), dtype=torch.float32)
        step = max(1, CHUNK // student.shape[1])
        for start in range(0, len(student), step):
            chunk = slice(start, start + step)
            log_p = (student[chunk].float() / temperature).log_softmax(dim=-1)
            row, weight = rows[chunk].T, weights[chunk].T[..., None]
            wanted = targets[row[0]].mul_(weight[0])
            for j in range(1, len(row)):
                wanted.addcmul_(targets[row[j]], weight[j])
            loss -= (wanted * log_p).sum()
            if learns:
                # In place: each new tensor is one more chunk to write and to read.
                total = weight.sum(dim=0) / temperature
                log_p.exp_().mul_(total).sub_(wanted, alpha=1 / temperature)
                gradient[chunk] = log_p
        if learns:
            ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None, None
