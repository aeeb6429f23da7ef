"""LiteLLM's own hook for observers. It calls these by keyword: with other names they are passed over in silence."""

from __future__ import annotations

from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from rsi_adapters.litellm.observing import Observer


class Logger(CustomLogger):
    """Hands every call to the observer: a sync call tells the sync methods, an async one the others."""

    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self._observer = observer

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        """A call is about to be made; in the caller's context."""
        del model, messages
        self._observer.began(kwargs)

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It worked; told later, in a thread of LiteLLM's."""
        del start_time, end_time
        self._observer.worked(kwargs, response_obj)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It failed."""
        del response_obj, start_time, end_time
        self._observer.failed(kwargs)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It worked."""
        self.log_success_event(kwargs=kwargs, response_obj=response_obj, start_time=start_time, end_time=end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It failed."""
        self.log_failure_event(kwargs=kwargs, response_obj=response_obj, start_time=start_time, end_time=end_time)
