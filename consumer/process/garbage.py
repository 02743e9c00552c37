"""How often Python looks for garbage. Imports nothing, as it comes before all else."""

import gc


def collect_rarely() -> None:
    """Look for garbage in cycles once in a while, and never in what is there by now. Python would look after every 700
    new objects, and now and then through all there are, which stops the process for 30 ms. Cycles are rare here; what
    is in none goes at once, as ever."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
