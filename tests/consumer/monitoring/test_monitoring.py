"""Alert rules and the Grafana dashboard: each rule fires when it should, and both name only what `/metrics` has."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric as Family

from sa_stream.api.metrics_collector import registry_of
from sa_stream.health.metrics import METRICS
from tests.api.lived_in import NOW, PROCESS, lived_in
from tests.consumer.monitoring.promtool import ALERTS, DASHBOARD, promtool

UNIT_TESTS = Path(__file__).with_name("alerts_test.yaml")
NAME = re.compile(r"\bsa_[a-z0-9_]+")
BY = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
MATCHED = re.compile(r"[{,]\s*(\w+)\s*(?:=~|!=|!~|=)")
OF_PROMETHEUS = {"job", "instance", "le"}
VARIABLES = {"$__rate_interval": "5m", "$job": "sa"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def shown(expression: str) -> str:
    """What Grafana asks, with its variables filled in."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def dashboard_expressions() -> list[str]:
    return [shown(target["expr"]) for panel in panels() for target in panel["targets"]]


def families(well: bool = True) -> list[Family]:
    return list(registry_of(lived_in(well), lambda: NOW, PROCESS).collect())


def labels_known() -> dict[str, set[str]]:
    """Name of each series of the real exposition -> its labels."""
    known: dict[str, set[str]] = {}
    for family in families():
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)
    return known


@pytest.mark.parametrize("expression", [rule["expr"] for rule in rules()] + dashboard_expressions())
def test_every_metric_and_label_that_is_named_is_one_of_the_exposition(expression: str) -> None:
    known = labels_known()
    names = set(NAME.findall(expression))
    assert names
    assert names <= known.keys()
    labels = set().union(*(known[name] for name in names)) | OF_PROMETHEUS
    asked = {label.strip() for group in BY.findall(expression) for label in group.split(",")}
    assert asked | set(MATCHED.findall(expression)) <= labels


def test_every_metric_is_in_the_dashboard_or_in_an_alert_unless_it_is_for_looking_closer() -> None:
    named = set(NAME.findall(ALERTS.read_text() + DASHBOARD.read_text()))
    histograms = {f"{metric.name}_bucket": metric.name for metric in METRICS}
    left = {metric.name for metric in METRICS} - {histograms.get(name, name) for name in named}
    assert left == {
        "sa_stream_start_time_seconds",
        "sa_stream_reading_paused",
        "sa_stream_clock_offset_seconds",
        "sa_stream_last_read_timestamp_seconds",
        "sa_stream_last_commit_timestamp_seconds",
        "sa_stream_store_up",
        "sa_stream_store_last_success_timestamp_seconds",
        "sa_traffic_window_end_timestamp_seconds",
    }


def test_the_exposition_passes_the_checks_of_prometheus() -> None:
    text = generate_latest(registry_of(lived_in(), lambda: NOW, PROCESS))
    promtool("check", "metrics", given=text)


def test_the_rules_are_valid_and_each_alert_says_how_bad_it_is_in_a_sentence() -> None:
    promtool("check", "rules", ALERTS)
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert len(rule["annotations"]["summary"]) > 20
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_every_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(UNIT_TESTS, tmp_path)
    promtool("test", "rules", tmp_path / UNIT_TESTS.name)
    cases = [case for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == {rule["alert"] for rule in rules()}


def series_of(exposition: Mapping[str, float], minutes: int) -> list[dict[str, str]]:
    return [{"series": series, "values": f"{value:.17g}x{minutes}"} for series, value in exposition.items()]


def exposition(well: bool) -> dict[str, float]:
    """Every series as it is scraped. Times are moved to where promtool's clock begins."""

    def each() -> Iterator[tuple[str, float]]:
        for family in families(well):
            for sample in family.samples:
                pairs = {"job": "sa", "instance": "a", **sample.labels}
                labels = ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(pairs.items()))
                moved_s = NOW.wall_ms / 1000 if "_timestamp_seconds" in sample.name else 0
                yield f"{sample.name}{{{labels}}}", sample.value - moved_s

    return dict(each())


def evaluated(folder: Path, well: bool, expected: Mapping[str, dict[str, Any]]) -> None:
    """Every rule, and every expression of the dashboard as a rule, over half an hour of this exposition. `expected`:
    alert -> what it says, of those that fire."""
    asked = [{"record": f"dashboard:panel_{n}", "expr": each} for n, each in enumerate(dashboard_expressions())]
    (folder / "dashboard.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": asked}]}))
    shutil.copy(ALERTS, folder)
    names = [rule["alert"] for rule in rules()]
    test = {
        "interval": "1m",
        "input_series": series_of(exposition(well), 30),
        "alert_rule_test": [
            {"alertname": name, "eval_time": "20m", "exp_alerts": [expected[name]] if name in expected else []}
            for name in names
        ],
    }
    given = {"rule_files": ["alerts.yaml", "dashboard.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "real_test.yaml").write_text(yaml.safe_dump(given))
    promtool("test", "rules", folder / "real_test.yaml")


def test_no_alert_fires_for_a_worker_that_is_well(tmp_path: Path) -> None:
    evaluated(tmp_path, True, {})


def test_a_worker_that_is_not_well_is_told_from_its_real_exposition(tmp_path: Path) -> None:
    labels = {"job": "sa", "instance": "a", "severity": "critical"}
    summary = "The worker a is not ready; its /health/ready says why"
    fires = {"exp_labels": labels, "exp_annotations": {"summary": summary}}
    evaluated(tmp_path, False, {"SaStreamNotReady": fires})


def test_the_panels_of_the_dashboard_have_titles_and_places_of_their_own() -> None:
    every = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["title"] for panel in every}) == len({panel["id"] for panel in every}) == len(every)
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in every
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert all(target["expr"] and "$job" in target["expr"] for panel in panels() for target in panel["targets"])
