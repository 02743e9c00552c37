"""Where an edge location is: its code, such as `FRA56-P4`, comes in, city and country go out.

A code begins with the IATA code of an airport nearby (CloudFront developer guide, field x-edge-location).
`edge_cities.tsv` has those at which CloudFront is known to be, and the main airports of other large cities, as AWS adds
places all the time: code, city, and country by ISO 3166.
"""

from functools import cache
from importlib.resources import files

_CODE_CHARS = 3


def city_of(edge: str) -> tuple[str, str] | None:
    """City and country code, ('Frankfurt', 'DE'); None where the table has no such place."""
    return _cities().get(edge[:_CODE_CHARS])


@cache
def _cities() -> dict[str, tuple[str, str]]:
    lines = files("sa_stream.records").joinpath("edge_cities.tsv").read_text(encoding="utf-8").splitlines()
    return {code: (city, country) for code, city, country in (line.split("\t") for line in lines)}
