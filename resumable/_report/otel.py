"""OpenTelemetry: a span for each run, and metrics of its items, saves, waits, failures and quota."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from .events import Event

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span

_SCOPE = "resumable"
_PARENT = "traceparent"
"""The name under which a run notes the id of its span. The W3C's header has this name, too."""
_WANTED = frozenset(
    {"KeyboardInterrupt", "SystemExit", "CancelledError", "GeneratorExit"}
    | {"RunAgain", "BudgetExhausted", "RateLimitExhausted"}
)
"""Errors by which somebody ends a run on purpose."""


class OpenTelemetry:
    """Tells OpenTelemetry of every run: give it as ``on_event=``. It needs the extra ``otel``.

    Example:
        >>> with checkpointed("traced", on_event=OpenTelemetry()) as cp:
        ...     for number in cp.remaining(range(3)):
        ...         pass

    A run is a span ``resumable.run``. A run that goes on is linked to the span of the run before it, also in another
    process. Failed items, waits and failed saves are events of the span. Its status is an error if an exception ended
    the run, but not for a signal or a limit. Metrics, each with the attribute ``resumable.operation_id``:
    ``resumable.items``, ``resumable.saves``, ``resumable.save.duration``, ``resumable.waits``,
    ``resumable.wait.duration``, ``resumable.failed_items``, ``resumable.runs`` and ``resumable.quota.remaining``.

    It runs between items, so use an exporter that works in the background, such as ``BatchSpanProcessor``.

    Args:
        tracer_provider, meter_provider: The providers to use; by default the global ones.

    Raises:
        ModuleNotFoundError: ``opentelemetry-api`` is not installed; it says what to install.
    """

    is_direct = True

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        try:
            from opentelemetry import metrics, trace
        except ModuleNotFoundError as error:
            what = "OpenTelemetry needs opentelemetry-api:  pip install 'resumable-loops[otel]'"
            raise ModuleNotFoundError(what, name=error.name) from None
        from .._models import __version__

        self._trace = trace
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._items = meter.create_counter("resumable.items", "{item}", "Items that were done")
        self._saves = meter.create_counter("resumable.saves", "{save}", "Saves that stand")
        self._save_seconds = meter.create_histogram("resumable.save.duration", "s", "How long a save took")
        self._waits = meter.create_counter("resumable.waits", "{wait}", "Waits for a quota")
        self._wait_seconds = meter.create_histogram("resumable.wait.duration", "s", "How long a wait was to be")
        self._failed = meter.create_counter("resumable.failed_items", "{item}", "Items that have failed")
        self._runs = meter.create_counter("resumable.runs", "{run}", "Runs that have ended")
        self._quota = meter.create_gauge("resumable.quota.remaining", "{request}", "Requests left of the API's quota")
        self._open: dict[str, Span] = {}
        self._counted: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        about = {"resumable.operation_id": event.operation_id}
        if event.name in ("opened", "resumed"):
            self._begin(event)
        self._count(event, about)
        span = self._open.get(event.operation_id)
        if event.name == "saved":
            self._saves.add(1, about)
            self._save_seconds.record(event.seconds or 0.0, about)
        elif event.name == "waiting":
            self._waits.add(1, about)
            self._wait_seconds.record(event.seconds or 0.0, about)
        elif event.name == "failed_item":
            self._failed.add(1, about)
        if span is None:
            return
        if event.name in ("waiting", "failed_item", "save_failed"):
            span.add_event(f"resumable.{event.name}", _facts(event, ("seconds", "whom", "loop", "key", "error")))
        elif event.name in ("stopping", "done"):
            self._end(event, about)

    def _begin(self, event: Event) -> None:
        attributes: dict[str, str | int] = {
            "resumable.operation_id": event.operation_id,
            "resumable.run": event.run,
            "resumable.items_before": event.processed_items,
            "resumable.location": event.location,
        }
        links = [link] if (link := self._link(event.notes_before.get(_PARENT, ""))) is not None else []
        span = self._open[event.operation_id] = self._tracer.start_span(
            "resumable.run", attributes=attributes, links=links, start_time=_nanoseconds(event.at)
        )
        self._counted[event.operation_id] = event.processed_items
        context = span.get_span_context()
        if context.is_valid:
            event.notes[_PARENT] = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def _link(self, parent: str) -> Link | None:
        try:
            _, trace_id, span_id, flags = parent.split("-")
            context = self._trace.SpanContext(
                int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=self._trace.TraceFlags(int(flags, 16))
            )
        except ValueError:
            return None
        return self._trace.Link(context, {"resumable.link": "resumes"})

    def _count(self, event: Event, about: dict[str, str]) -> None:
        done = event.processed_items - self._counted.get(event.operation_id, event.processed_items)
        if done > 0:
            self._items.add(done, about)
            self._counted[event.operation_id] = event.processed_items
        if event.requests_remaining is not None:
            self._quota.set(event.requests_remaining, about)

    def _end(self, event: Event, about: dict[str, str]) -> None:
        span = self._open.pop(event.operation_id)
        self._counted.pop(event.operation_id, None)
        kind = event.error.partition(":")[0]
        outcome = "done" if event.name == "done" else "failed" if kind and kind not in _WANTED else "stopped"
        self._runs.add(1, about | {"resumable.outcome": outcome})
        span.set_attributes({"resumable.outcome": outcome, "resumable.items": event.processed_items})
        span.set_attributes(_facts(event, ("total_items", "failed_items", "reason")))
        if outcome == "failed":
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, event.error))
            span.add_event("exception", {"exception.type": kind, "exception.message": event.error})
        span.end(_nanoseconds(event.at))


def _facts(event: Event, names: tuple[str, ...]) -> dict[str, Any]:
    return {f"resumable.{name}": value for name in names if (value := getattr(event, name)) not in (None, "")}


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e9)
