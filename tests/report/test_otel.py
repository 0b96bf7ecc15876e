"""OpenTelemetry, by the exporters of its SDK that keep everything in memory."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from resumable import Event, OpenTelemetry, checkpointed, every


class Telemetry:
    def __init__(self) -> None:
        self.spans, self.metrics = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.metrics])

    def observer(self) -> OpenTelemetry:
        return OpenTelemetry(self.tracers, self.meters)

    def sums(self) -> dict[str, Any]:
        data = self.metrics.get_metrics_data()
        assert data is not None
        points: dict[str, Any] = {}
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value = getattr(point, "value", None)
                        points[metric.name] = points.get(metric.name, 0) + (point.count if value is None else value)
        return points


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    monkeypatch.chdir(tmp_path)
    return Telemetry()


def run(telemetry: Telemetry, fails_at: int | None = None) -> None:
    with checkpointed("job", every(items=2), on_event=telemetry.observer()) as cp:
        for number in cp.remaining(range(8)):
            if number == fails_at:
                raise ValueError("no")
            cp.observe(remaining=100 - number, limit=100)


def test_a_run_is_a_span_and_is_linked_to_the_run_that_it_resumes(telemetry: Telemetry) -> None:
    with (
        telemetry.tracers.get_tracer("program").start_as_current_span("program"),
        pytest.raises(ValueError, match="no"),
    ):
        run(telemetry, fails_at=5)
    run(telemetry)

    first, program, second = telemetry.spans.get_finished_spans()
    assert first.name == second.name == "resumable.run"
    assert first.parent is not None
    assert first.parent.span_id == program.context.span_id
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes is not None
    assert first.attributes["resumable.outcome"] == "failed"
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert [link.context.trace_id for link in second.links] == [first.context.trace_id]
    assert second.attributes is not None
    assert (second.attributes["resumable.outcome"], second.attributes["resumable.run"]) == ("done", 2)
    assert second.status.status_code is StatusCode.UNSET


def test_metrics_count_what_happened(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match="no"):
        run(telemetry, fails_at=5)
    run(telemetry)
    with checkpointed("other", on_event=telemetry.observer()) as cp:
        for number in cp.remaining(range(3)):
            cp.fail(number, "no")

    sums = telemetry.sums()
    assert sums["resumable.items"] == 8 + 3
    assert sums["resumable.failed_items"] == 3
    assert sums["resumable.runs"] == 3
    assert sums["resumable.saves"] == sums["resumable.save.duration"] >= 5
    assert sums["resumable.quota.remaining"] == 93


def test_a_stop_that_was_wanted_is_no_error(telemetry: Telemetry) -> None:
    with pytest.raises(KeyboardInterrupt), checkpointed("job", on_event=telemetry.observer()) as cp:  # noqa: PT012
        for _ in cp.remaining(range(3)):
            raise KeyboardInterrupt

    (span,) = telemetry.spans.get_finished_spans()
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes is not None
    assert span.attributes["resumable.outcome"] == "stopped"


def test_a_damaged_note_of_the_run_before_is_no_link(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match="no"):
        run(telemetry, fails_at=3)
    notes = {"traceparent": "00-zz-zz-01"}
    event = Event(
        name="resumed", operation_id="job", at=datetime.now(UTC), run=2, processed_items=3, notes_before=notes
    )
    observer = telemetry.observer()
    observer(event)
    observer(dataclasses.replace(event, name="done"))

    span = telemetry.spans.get_finished_spans()[-1]
    assert (span.links, span.attributes and span.attributes["resumable.run"]) == ((), 2)
