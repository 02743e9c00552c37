"""polars, which is loaded when it is first used: what the kernel reads needs none of it, and loading it takes longer
than counting a hundred thousand records. `from sa_stream.frames import pl`, with annotations that are not evaluated.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
else:

    class _Late:
        """Any thread may be the first: Python's import lets the others wait."""

        def __getattr__(self, name: str) -> Any:
            import polars

            found = getattr(polars, name)
            setattr(self, name, found)
            return found

    pl = _Late()

__all__ = ["pl"]
