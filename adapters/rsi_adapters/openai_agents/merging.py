"""What the policy says, merged into a `RunConfig`; the host's own settings win wherever it has any."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Final

from agents import ModelSettings, RunConfig
from agents.retry import ModelRetrySettings, RetryDecision
from agents.run import CallModelData, ModelInputData

from rsi.client import Run
from rsi.enforce.call import Call
from rsi.enforce.layer import Attempt, Layer, attempt_of
from rsi.enforce.told import told
from rsi_adapters.openai_agents.observing import Processor

#: The SDK asks our policy before each retry; how many there may be, the policy says.
_BOUND: Final = 20


class Turns:
    """The model calls of one run, one after the other: each is a call of the layer.

    Args:
        layer: what may be done about them.
        run: the run that they belong to.
        processor: hears of the errors that older SDKs do not tell in their spans.
    """

    def __init__(self, layer: Layer, run: Run | None, processor: Processor) -> None:
        self._layer = layer
        self._processor = processor
        self._run = run
        self._call: Call | None = None
        self.first: Attempt | None = self._begin()

    def _begin(self) -> Attempt:
        self._call = self._layer.begin(self._run)
        plain = self._call is None or self._call.plain
        return Attempt() if plain or self._call is None else attempt_of(self._call)

    def next(self) -> Attempt:
        """A model call is about to be made."""
        if self.first is not None:
            attempt, self.first = self.first, None
            return attempt
        return self._begin()

    def retry(self, context: Any) -> RetryDecision:
        """Whether the SDK may make the call again, and after how many seconds."""
        call = self._call
        if self._run is not None:
            self._processor.settle(self._run.id, context.error)
        if call is None or call.plain or getattr(context, "response_started", False):
            return RetryDecision(retry=False)
        wait = call.failed(context.error)
        return RetryDecision(retry=wait is not None, delay=wait, reason="rsi")


def merged(config: RunConfig, turns: Turns) -> RunConfig:
    """The host's configuration with retry policy, output limit and lessons; the given one is not changed."""
    first = turns.first or Attempt()
    settings = config.model_settings or ModelSettings()
    changes: dict[str, Any] = {}
    if "retry" in turns._layer.knobs and settings.retry is None:  # noqa: SLF001 - its own module's
        changes["retry"] = ModelRetrySettings(max_retries=_BOUND, policy=turns.retry)
    if first.max_output_tokens is not None:
        limits = [limit for limit in (settings.max_tokens, first.max_output_tokens) if limit is not None]
        changes["max_tokens"] = max(limits)
    return dataclasses.replace(
        config,
        model_settings=dataclasses.replace(settings, **changes),
        call_model_input_filter=_filter(config.call_model_input_filter, turns),
    )


def _filter(own: Any, turns: Turns) -> Any:
    """The host's filter first, then the lessons."""

    async def filtered(data: CallModelData[Any]) -> ModelInputData:
        kept = data.model_data
        if own is not None:
            kept = own(data)
            if inspect.isawaitable(kept):
                kept = await kept
        text = told(turns.next().lessons)
        if not text:
            return kept
        return ModelInputData(input=kept.input, instructions="\n\n".join(filter(None, (kept.instructions, text))))

    return filtered
