"""Soft labels of tokens in few columns, so that a trace can carry them.

A label of K classes moves through attention as K columns; with 1000 classes that is
more than the network itself. Labels that name few classes need few: one for each class
that the image's tokens name most, one for all others together, and one for what a
class has that is not named (:class:`TopKLabels`).

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``k`` classes that a token
names, ``m`` classes that get a column, ``S`` columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .token_label_loss import TopKLabels


@dataclass(frozen=True)
class LabelColumns:
    """Labels of the tokens of each image, and what their columns mean.

    All steps are linear, so that a mean of tokens may be taken before
    :meth:`dense` or after, and no mass is lost. Exact where no image names more than m
    classes; the excess of others is spread evenly over all.

    Attributes:
        values: (B, N, S): m classes, others, rest.
        classes: The classes that have a column (B, m), int64.
        num_classes: K.
    """

    values: Tensor
    classes: Tensor
    num_classes: int

    @classmethod
    def of(cls, labels: TopKLabels, columns: int, num_classes: int) -> 'LabelColumns':
        """Give columns to the classes of most mass in each image.

        Args:
            labels: Of the tokens (B, N).
            columns: m, at most K of them are used.
            num_classes: K.
        """
        batch, tokens, _ = labels.indices.shape
        named, excess = labels.indices.flatten(1), labels.excess.flatten(1)
        # A named class may have less than one that is not: it counts all the same.
        mass = excess.new_zeros(batch, num_classes)
        mass = mass.scatter_add(1, named, excess.abs())
        classes = mass.topk(min(columns, num_classes), dim=1).indices
        count = classes.shape[1]
        numbers = torch.arange(count, device=classes.device).expand_as(classes)
        # All other classes share the column behind.
        column = torch.full_like(mass, count, dtype=torch.int64)
        column = column.scatter(1, classes, numbers).gather(1, named)
        values = excess.new_zeros(batch, tokens, count + 1)
        values = values.scatter_add(2, column.view_as(labels.indices), labels.excess)
        values = torch.cat([values, labels.rest.unsqueeze(-1)], dim=-1)
        return cls(values, classes, num_classes)

    def dense(self, arrived: Tensor) -> Tensor:
        """Label of K classes (B, K) of a mean of tokens (B, S)."""
        excess, others, rest = arrived.tensor_split([-2, -1], dim=-1)
        full = (rest + others / self.num_classes).repeat(1, self.num_classes)
        return full.scatter_add(1, self.classes, excess)
