"""Amazon Bedrock and neighbours through boto3: botocore's own exceptions over a loopback endpoint."""

# ruff: noqa: A002 - `id` and `type` are the fields' names
from __future__ import annotations

import functools
from typing import Any

import boto3
from botocore.config import Config
from server import LOOPBACK, WAIT_S
from slots import Slots
from template import Template, add, template

MESSAGES = [{"role": "user", "content": [{"text": "hi"}]}]


@functools.lru_cache(maxsize=64)
def client(service: str, url: str | None = None, timeout: float = 5.0, attempts: int = 1) -> Any:
    # `legacy` says in its message that the retries are used up; its pauses are cut to nothing below
    how = Config(
        retries={"total_max_attempts": attempts, "mode": "legacy"},
        read_timeout=timeout,
        connect_timeout=timeout,
        s3={"addressing_style": "path"},
    )
    return boto3.client(
        service,
        endpoint_url=url or LOOPBACK.url,
        region_name="us-east-1",
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
        config=how,
    )


def api(
    id: str,
    category: str,
    status: int,
    code: str,
    message: Any,
    also: tuple[str, ...] = (),
    operation: str = "converse",
) -> None:
    def make(s: Slots) -> Any:
        s.to_model()
        make.body = {"message": message(s) if callable(message) else message}  # type: ignore[attr-defined]
        LOOPBACK.answer(status, make.body, x_amzn_errortype=code, x_amzn_requestid=s.uuid())  # type: ignore[attr-defined]
        name = "anthropic.claude-v3"
        if operation == "converse":
            client("bedrock-runtime").converse(modelId=name, messages=MESSAGES)
        else:
            client("bedrock-runtime").invoke_model(modelId=name, body=b"{}")

    add(Template(id, "boto3", category, make, "bedrock", also, body=lambda s: {"__type": code, **make.body}))  # type: ignore[attr-defined]


VALIDATION = "ValidationException"
api(
    "bedrock.throttle_requests",
    "rate_limit",
    429,
    "ThrottlingException",
    "Too many requests, please wait before trying again.",
)
api(
    "bedrock.throttle_tokens",
    "rate_limit",
    429,
    "ThrottlingException",
    "Too many tokens, please wait before trying again.",
    operation="invoke",
)
api(
    "bedrock.throttle_day",
    "quota_exhausted",
    429,
    "ThrottlingException",
    "Too many tokens per day, please wait before trying again.",
    also=("rate_limit",),
)
api(
    "bedrock.service_quota",
    "quota_exhausted",
    400,
    "ServiceQuotaExceededException",
    "Your request exceeds the service quota for your account. Request an increase in the Service Quotas console.",
)
api(
    "bedrock.not_ready",
    "overloaded",
    429,
    "ModelNotReadyException",
    "The model is not ready for inference. Wait and try your request again.",
)
api(
    "bedrock.unavailable",
    "overloaded",
    503,
    "ServiceUnavailableException",
    "Bedrock is unable to process your request.",
)
api(
    "bedrock.internal",
    "provider_5xx",
    500,
    "InternalServerException",
    "The system encountered an unexpected error during processing. Try your request again.",
)
api(
    "bedrock.model_error",
    "provider_5xx",
    424,
    "ModelErrorException",
    "The system encountered an error while the model processed the request. Try again.",
)
api(
    "bedrock.stream_error",
    "provider_5xx",
    424,
    "ModelStreamErrorException",
    "The model failed while it was streaming its answer.",
    operation="invoke",
)
api(
    "bedrock.model_timeout",
    "timeout_model",
    408,
    "ModelTimeoutException",
    "Model took too long to process the request. Processing time exceeded the model timeout length.",
)
api(
    "bedrock.access",
    "permission",
    403,
    "AccessDeniedException",
    "You don't have access to the model with the specified model ID.",
    also=("model_not_found",),
)
api("bedrock.iam", "permission", 403, "AccessDeniedException", lambda s: (
    f"User: arn:aws:iam::{s.n(10**11, 10**12 - 1)}:user/{s.name()} is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:{s.region()}::foundation-model/{s.model('bedrock')} because no identity-based policy allows the bedrock:InvokeModel action"))  # fmt: skip
api(
    "bedrock.token_invalid",
    "auth",
    403,
    "UnrecognizedClientException",
    "The security token included in the request is invalid.",
)
api(
    "bedrock.token_expired",
    "auth",
    403,
    "ExpiredTokenException",
    "The security token included in the request is expired",
)
api(
    "bedrock.signature",
    "auth",
    403,
    "InvalidSignatureException",
    lambda s: (
        f"Signature expired: 20260{s.n(1, 9)}1{s.n(0, 9)}T1{s.n(0, 9)}0000Z is now earlier than 2026112{s.n(0, 9)}T120000Z"
    ),
    operation="invoke",
)
api(
    "bedrock.model_gone",
    "model_not_found",
    404,
    "ResourceNotFoundException",
    "This model version has reached the end of its life. Please refer to the documentation for more details.",
)
api(
    "bedrock.model_unknown",
    "model_not_found",
    404,
    "ResourceNotFoundException",
    "Could not resolve the foundation model from the provided model identifier.",
    operation="invoke",
)
api("bedrock.model_identifier", "model_not_found", 400, VALIDATION, "The provided model identifier is invalid.")
api("bedrock.input_long", "context_overflow", 400, VALIDATION, "Input is too long for requested model.")
api(
    "bedrock.input_tokens",
    "context_overflow",
    400,
    VALIDATION,
    lambda s: (
        f"The model returned the following errors: input length and max_tokens exceed context limit: {s.n(190_000, 220_000)} + {s.n(4000, 9000)} > 200000"
    ),
    operation="invoke",
)
api("bedrock.on_demand", "invalid_request", 400, VALIDATION, lambda s: (
    f"Invocation of model ID {s.model('bedrock')} with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model."), also=("model_not_found",))  # fmt: skip
api("bedrock.no_tools", "invalid_request", 400, VALIDATION, "This model doesn't support tool use in streaming mode.")
api(
    "bedrock.malformed",
    "invalid_request",
    400,
    VALIDATION,
    lambda s: (
        f"Malformed input request: #/messages/{s.n(0, 9)}/content: expected minItems: 1, please reformat your input and try again."
    ),
    operation="invoke",
)
api("bedrock.tool_result", "chat_history_invalid", 400, VALIDATION, lambda s: (
    f"Expected toolResult blocks at messages.{s.n(2, 60)}.content for the following Ids: tooluse_{s.mixed(20)}"))  # fmt: skip
api(
    "bedrock.first_user",
    "chat_history_invalid",
    400,
    VALIDATION,
    "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
)


@template("bedrock.throttle_retried", "rate_limit", "boto3", provider="bedrock")
def _(s):
    import botocore.retryhandler

    botocore.retryhandler.delay_exponential = lambda *a, **k: 0
    LOOPBACK.answer(
        429, {"message": "Too many requests, please wait before trying again."}, x_amzn_errortype="ThrottlingException"
    )
    client("bedrock-runtime", attempts=s.n(3, 5)).converse(modelId="amazon.nova-pro-v1:0", messages=MESSAGES)


@template("bedrock.params", "invalid_request", "boto3", provider="bedrock")
def _(s):
    client("bedrock-runtime").converse(modelId="amazon.nova-pro-v1:0", messages=[{"role": "user", "content": s.word()}])


@template("bedrock.no_credentials", "auth", "boto3", provider="bedrock")
def _(s):
    import botocore.credentials

    session = boto3.session.Session()
    session._session.register_component("credential_provider", botocore.credentials.CredentialResolver([]))
    session.client("bedrock-runtime", region_name="us-east-1", endpoint_url=LOOPBACK.url).converse(
        modelId="amazon.nova-pro-v1:0", messages=MESSAGES
    )


@template("bedrock.endpoint", "connection", "boto3", provider="bedrock")
def _(s):
    s.host = f"bedrock-runtime.{s.region()}.amazonaws.com"
    client("bedrock-runtime", f"http://127.0.0.1:{LOOPBACK.closed}").converse(
        modelId="amazon.nova-pro-v1:0", messages=MESSAGES
    )


@template("bedrock.read_timeout", "timeout_model", "boto3", provider="bedrock")
def _(s):
    s.host = f"bedrock-runtime.{s.region()}.amazonaws.com"
    LOOPBACK.answer(mode="hang")
    client("bedrock-runtime", timeout=WAIT_S).converse(modelId="amazon.nova-pro-v1:0", messages=MESSAGES)


def s3_error(status: int, code: str, message: str) -> None:
    LOOPBACK.answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>")


@template("s3.no_such_key", "missing_resource", "boto3", provider="aws")
def _(s):
    s3_error(404, "NoSuchKey", "The specified key does not exist.")
    client("s3").get_object(Bucket="b", Key="k")


@template("s3.access", "permission", "boto3", provider="aws")
def _(s):
    s3_error(403, "AccessDenied", "Access Denied")
    client("s3").put_object(Bucket="b", Key="k", Body=b"x")


@template("s3.slow_down", "rate_limit", "boto3", provider="aws", also=("overloaded",))
def _(s):
    s3_error(503, "SlowDown", "Please reduce your request rate.")
    client("s3").list_objects_v2(Bucket="b")


@template("dynamodb.condition", "state_conflict", "boto3", provider="aws")
def _(s):
    LOOPBACK.answer(
        400,
        {
            "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "message": "The conditional request failed",
        },
    )
    client("dynamodb").put_item(TableName="t", Item={"id": {"S": "1"}})


@template("dynamodb.throughput", "rate_limit", "boto3", provider="aws", also=("overloaded",))
def _(s):
    LOOPBACK.answer(
        400,
        {
            "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "message": "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API.",
        },
    )
    client("dynamodb").get_item(TableName="t", Key={"id": {"S": "1"}})
