"""What all readers of a forward pass have in common."""


class Reader:
    """Base of the readers that sit on a wire during one forward pass."""

    _embedded = False

    def embed(self, kernel, stride, padding=(0, 0, 0, 0)) -> None:
        """A patch embedding: the first makes the tokens, any later one merges them.

        Arguments as of :func:`mmtlalign.tracing.geometry.merge`.
        """
        if self._embedded:
            self.merge(kernel, stride, padding)
        self._embedded = True
