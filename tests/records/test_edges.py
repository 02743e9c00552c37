"""Where edge locations are, and that the table is one."""

import re
from importlib.resources import files

import pytest

from sa_stream.embedded import generator
from sa_stream.records.edges import city_of

LINES = files("sa_stream.records").joinpath("edge_cities.tsv").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("edge", "place"),
    [
        ("FRA56-P4", ("Frankfurt", "DE")),
        ("IAD12-C1", ("Ashburn", "US")),
        ("NRT57-P1", ("Tokyo", "JP")),
        ("GRU3-C2", ("São Paulo", "BR")),
        ("YTO50", ("Toronto", "CA")),
        ("HKG62-P2", ("Hong Kong", "HK")),
        ("LHR", ("London", "GB")),
        ("ZZZ99", None),
        ("fra56", None),
        ("FR", None),
        ("-", None),
        ("", None),
        ("[ip]", None),
    ],
)
def test_an_edge_location_is_in_a_city(edge, place):
    assert city_of(edge) == place


def test_the_table_is_sorted_and_whole():
    assert sorted(set(LINES)) == LINES
    assert all(re.fullmatch(r"[A-Z]{3}\t[^\t]{2,30}\t[A-Z]{2}", line) for line in LINES)
    assert len({line[:3] for line in LINES}) == len(LINES) > 130


def test_every_city_of_the_generator_is_in_the_table():
    assert [code for code in generator._CITIES if city_of(code) is None] == []
