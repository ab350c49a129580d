"""Spans by OpenTelemetry, loaded only where traces are asked for.

A request is a trace of its own. A job has one too, whose ids follow from the job's id: so every node and every process
after a restart adds its moves to the same trace, and no row has to remember it. A request that opens a job is linked to
that trace. Names and attributes are those of the semantic conventions for HTTP and for generative AI; words of users
are never among them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from phaya.clock import SECOND
from phaya.tracing import NoTracing, Span, Value

_NANO = 1_000_000_000 // SECOND
_W3C = TraceContextTextMapPropagator()


class Mark:
    """A span of OpenTelemetry."""

    def __init__(self, span: trace.Span) -> None:
        self.span = span

    def name(self, name: str) -> None:
        """What it turned out to be."""
        self.span.update_name(name)

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        """Adds what is known of it; None is left out."""
        for name, value in attributes.items():
            if value is not None:
                self.span.set_attribute(name, value)

    def end(self, failure: str | None = None) -> None:
        """It is over."""
        if failure is not None:
            self.span.set_attribute("error.type", failure)
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()


class Ids(RandomIdGenerator):
    """Random ids, but for the one span that stands for a whole job."""

    def __init__(self) -> None:
        self.chosen: SpanContext | None = None

    def generate_span_id(self) -> int:
        """The chosen id, or a new one."""
        return super().generate_span_id() if self.chosen is None else self.chosen.span_id

    def generate_trace_id(self) -> int:
        """The chosen id, or a new one."""
        return super().generate_trace_id() if self.chosen is None else self.chosen.trace_id


class Recorder:
    """Makes spans and hands them to an exporter."""

    def __init__(self, provider: TracerProvider, ids: Ids, version: str) -> None:
        """`provider` must make its ids by `ids`. It is not made the global one: libraries add nothing of their own."""
        self._provider = provider
        self._ids = ids
        self._tracer = provider.get_tracer("phaya", version)

    @contextmanager
    def request(self, method: str, parent: bytes | None) -> Generator[Mark]:
        """A request that is being answered."""
        links: list[Link] = []
        if parent is not None:
            theirs = trace.get_current_span(_W3C.extract({"traceparent": parent.decode("latin-1")}))
            if theirs.get_span_context().is_valid:
                links.append(Link(theirs.get_span_context()))
        span = self._tracer.start_span(
            method,
            trace.set_span_in_context(trace.INVALID_SPAN),
            SpanKind.SERVER,
            {"http.request.method": method},
            links,
        )
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield Mark(span)

    @contextmanager
    def move(self, job_id: str, step: str, service: str) -> Generator[Mark]:
        """One move of a job, in the job's own trace."""
        context = trace.set_span_in_context(NonRecordingSpan(self._of_job(job_id)))
        attributes = {"phaya.job.id": job_id, "phaya.service": service, "phaya.job.step": step}
        span = self._tracer.start_span(f"job {step}", context, SpanKind.INTERNAL, attributes)
        mark = Mark(span)
        failure = None
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield mark
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            mark.end(failure)

    def call(self, operation: str, model: str | None, attributes: Mapping[str, Value | None]) -> Mark:
        """A request to a provider, under whatever asked for it."""
        mark = Mark(self._tracer.start_span(f"{operation} {model}" if model else operation, kind=SpanKind.CLIENT))
        mark.note({"gen_ai.operation.name": operation, "gen_ai.request.model": model, **attributes})
        return mark

    def job(self, job_id: str, service: str, state: str, began: int, ended: int) -> None:
        """A job that has ended: the root of its trace."""
        place = self._of_job(job_id)
        if not place.trace_flags.sampled:
            return
        self._ids.chosen = place
        try:
            span = self._tracer.start_span(
                f"job {service}",
                trace.set_span_in_context(trace.INVALID_SPAN),
                SpanKind.INTERNAL,
                {"phaya.job.id": job_id, "phaya.service": service, "phaya.job.state": state},
                start_time=began * _NANO,
            )
        finally:
            self._ids.chosen = None
        if state == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended * _NANO)

    def link(self, span: Span, job_id: str) -> None:
        """Says that a request opened a job."""
        if isinstance(span, Mark):
            span.span.add_link(self._of_job(job_id))
            span.note({"phaya.job.id": job_id})

    def close(self) -> None:
        """Sends what was not sent yet."""
        self._provider.shutdown()

    def _of_job(self, job_id: str) -> SpanContext:
        trace_id, span_id = ids_of(job_id)
        # The sampler decides by the trace's id, so that all nodes agree on a job.
        sampled = self._provider.sampler.should_sample(None, trace_id, "job").decision is Decision.RECORD_AND_SAMPLE
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(int(sampled)))


@lru_cache(4096)
def ids_of(job_id: str) -> tuple[int, int]:
    """The ids of a job's trace and of the span that stands for the whole job."""
    mark = hashlib.sha256(f"trace of job {job_id}".encode()).digest()
    return int.from_bytes(mark[:16]), int.from_bytes(mark[16:24])


def recorder(exporter: SpanExporter | None, version: str) -> Recorder:
    """Spans with the sampler, the limits and the batches that the environment asks for; without an exporter they are
    made and thrown away."""
    ids = Ids()
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    told = {"service.version": version} | ({} if named else {"service.name": "phaya"})
    provider = TracerProvider(resource=Resource.create(told), id_generator=ids, shutdown_on_exit=False)
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return Recorder(provider, ids, version)


def from_environment(version: str) -> Recorder:
    """The recorder that the standard variables ask for. Raises NoTracing."""
    kind = os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower()
    match kind:
        case "otlp" | "":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return recorder(OTLPSpanExporter(), version)
        case "console":
            return recorder(ConsoleSpanExporter(), version)
        case "none":
            return recorder(None, version)
        case _:
            raise NoTracing(f"OTEL_TRACES_EXPORTER must be otlp, console or none, not {kind}.")
