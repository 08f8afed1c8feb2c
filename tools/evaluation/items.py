"""Base classes of the items of which a suite consists.

An item is one line of the plan. Items that change the images of the config
(:class:`ConditionItem`) are measured together, in one pass over the data; others
(:class:`MeasuredItem`) by themselves.
"""

from collections.abc import Sequence

from mmtlalign.evaluation.conditions import Condition
from tools.evaluation.context import Context
from tools.evaluation.rows import ResultsByCondition, Row


class Item:
    """Something to measure.

    Attributes:
        suite: Name of its suite.
        name: Its name in ``--items``.
        about: What it measures, in a few words.
        headline: Setting of the row that is shown in the summary; by default the first.
            None for an item whose numbers are not meant for comparison.
        options: Names of the :class:`Options` that its numbers depend on; if one of
            them changes, the item is measured anew.
    """

    suite: str
    name: str
    about: str
    headline: str | None = ''
    options: tuple[str, ...] = ('limit',)

    def stamps(self, context: Context) -> list:
        """Return what else its numbers depend on, such as stamps of further data."""
        return []

    def missing(self, context: Context) -> str | None:
        """Return why the item cannot be measured and what to do, or None if it can."""
        return None

    def images(self, context: Context) -> int:
        """Return how many images, or pairs, are measured."""
        return len(context.indices(len(context.dataset)))

    def seconds(self, context: Context, forward: float) -> float:
        """Return about how many seconds it takes with one network.

        Args:
            context: Networks and images.
            forward: Seconds of a forward pass per image.
        """
        return self.images(context) * forward


class ConditionItem(Item):
    """Item that changes the images of the config."""

    def limit(self, context: Context) -> int | None:
        """Return the most images to use; None for the limit of the command."""
        return None

    def images(self, context: Context) -> int:
        """Return how many images are measured."""
        return len(context.indices(len(context.dataset), self.limit(context)))

    def conditions(self, context: Context) -> Sequence[Condition]:
        """Return the conditions, which have unique names."""
        raise NotImplementedError

    def rows(self, context: Context, results: ResultsByCondition) -> list[Row]:
        """Return the results.

        Args:
            context: Networks and images.
            results: Predictions of every network under its conditions and clean.
        """
        raise NotImplementedError


class MeasuredItem(Item):
    """Item that is measured by itself.

    Attributes:
        alone: Whether the main process measures it alone; else all share the work.
    """

    alone = False

    def measure(self, context: Context) -> list[Row]:
        """Measure it, and return the results."""
        raise NotImplementedError
