"""What is said of a shard's records by their counters: that most are malformed, and for which columns; that most come
again."""

import pytest

from consumer.worker.lane_report import Lane_Report, Quality, Repetition
from sa_stream.errors import Source_Error
from sa_stream.health.notebook import Health
from sa_stream.timing import moment


def test_a_hundred_records_of_another_list_turn_health_red_with_the_columns_that_do_not_fit() -> None:
    quality = Quality(0, 0)
    assert quality.verdict({"records": 99, "columns": 99}) is None
    verdict = quality.verdict({"records": 100, "columns": 100}, {"ssl-protocol": 100, "x-edge-result-type": 90})
    assert verdict is not None
    assert "has 100 malformed ones among its last 100 records" in verdict
    assert "(the columns that do not fit: ssl-protocol, x-edge-result-type)" in verdict
    assert "SGRAPH_SEND__SA_FIELDS" in verdict
    assert quality.verdict({"records": 200, "columns": 149}) == ""


def test_more_than_half_duplicates_among_a_thousand_records_are_told() -> None:
    repetition = Repetition(0, 0)
    assert repetition.verdict({"records": 999, "duplicates": 999}) is None
    verdict = repetition.verdict({"records": 1_000, "duplicates": 501})
    assert verdict is not None
    assert "has 501 duplicates among its last 1000 records" in verdict
    assert repetition.verdict({"records": 2_000, "duplicates": 1_001}) == ""


def test_only_a_mistake_of_the_program_is_told_with_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    report = Lane_Report("shardId-000000000000", Health(moment()))
    report.failed(Source_Error("the KCL refuses the checkpoint: InvalidStateException"))
    report.failed(KeyError("window"))
    refused, mistake = caplog.records
    assert refused.getMessage() == "shardId-000000000000 stops: the KCL refuses the checkpoint: InvalidStateException"
    assert not refused.exc_info
    assert mistake.exc_info
