"""A daemon for all tests here, and for each an SDK of its own that exports to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from collector import Collector
from opentelemetry.exporter.otlp.proto.http.trace_exporter import Compression, OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("collector")) as found:
        yield found


class Traced:
    """An SDK with the real exporter, in small batches so that a trace comes in several requests."""

    def __init__(self, collector: Collector, compression: Compression = Compression.Gzip) -> None:
        self.collector = collector
        self.source = f"agent-{next(_numbers)}"
        self.provider = TracerProvider(
            resource=Resource.create({"service.name": self.source, "service.version": "2.1"})
        )
        exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces", compression=compression)
        self.exported: list[bool] = []
        export = exporter.export

        def noting(spans: Any) -> Any:
            result = export(spans)
            self.exported.append(result.name == "SUCCESS")
            return result

        exporter.export = noting  # type: ignore[method-assign]
        self.provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=2))

    def outcomes(self) -> list[dict[str, Any]]:
        """What the daemon has stored of it, once everything was sent."""
        assert self.provider.force_flush(20_000)
        assert self.exported, "nothing was sent"
        assert all(self.exported)
        return self.collector.outcomes(self.source)

    def brief(self) -> list[tuple[str, str, str]]:
        """(kind, task, status) of each, sorted: exactly these, none twice."""
        found = self.outcomes()
        assert len({each["id"] for each in found}) == len(found)
        return sorted((each["kind"], each["task"], each["status"]) for each in found)

    def one(self, task: str) -> dict[str, Any]:
        (found,) = [each for each in self.outcomes() if each["task"] == task]
        return found


@pytest.fixture
def sdk(collector: Collector) -> Iterator[Callable[..., Traced]]:
    made: list[Traced] = []

    def make(**options: Any) -> Traced:
        made.append(Traced(collector, **options))
        return made[-1]

    yield make
    for each in made:
        each.provider.shutdown()


@pytest.fixture
def traced(sdk: Callable[..., Traced]) -> Traced:
    return sdk()
