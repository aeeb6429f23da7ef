"""What a secret looks like: a table of kinds, each with an example that must go and one that must stay.

Every pattern is linear: it begins with a literal, and nothing unbounded is followed by something that may fail.
Examples are kept in pieces and joined when read, so that no secret scanner trips over this file.
Prefixes and lengths are those the providers document; generic assignments come last.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

#: A prefixed token is at least this many token characters in a row; the gate in `rsi.redact` looks for such a run.
RUN: Final = 16

#: What an already redacted place looks like.
PLACEHOLDER: Final = r"\[redacted:[a-z0-9-]+\]"

Gate = Literal["run", "word", "sign"]

_HEX, _ALNUM, _WORD = "0123456789abcdef", "a1B2c3D4e5F6g7H8", "Ab3_dE6-gH9jK2mN"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of secret.

    `gate` says which cheap test must pass first: `run` (a run of `RUN` token characters), `word` (one of `triggers` in
    the lower-cased text) or `sign` (one of `triggers` as it stands). What its groups captured
    survives. `check` may refuse a match. `yes` and `no` are pieces of examples.
    """

    name: str
    gate: Gate
    triggers: tuple[str, ...]
    pattern: re.Pattern[str]
    yes: tuple[str, ...]
    no: str
    check: Callable[[str], bool] | None = None

    @property
    def example(self) -> str:
        """A text of which the secret must go."""
        return "".join(self.yes)


def _token(name: str, trigger: str | tuple[str, ...], body: str, yes: tuple[str, ...], no: str) -> Kind:
    """A token known by its prefix, not preceded by a letter or digit; what is glued to its end goes with it."""
    triggers = (trigger,) if isinstance(trigger, str) else trigger
    return Kind(name, "run", triggers, re.compile(rf"(?<![A-Za-z0-9])(?:{body})[\w-]*+", re.ASCII), yes, no)


def _word(name: str, triggers: tuple[str, ...], pattern: str, yes: tuple[str, ...], no: str) -> Kind:
    """Something known by the word before it; the word is kept. Matched against the lower-cased text."""
    return Kind(name, "word", triggers, re.compile(pattern, re.ASCII), yes, no)


def luhn(text: str) -> bool:
    """Whether the digits of `text` carry a valid check digit (ISO/IEC 7812-1, annex B)."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = (sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


# A value in quotes (escaped or not) up to the closing one, or without quotes up to a space or a separator. A value that
# is a placeholder already is left alone; what is unbounded here is possessive and comes last. Opening quotes are kept.
_QUOTED = (
    rf'(\\")(?!{PLACEHOLDER}\\)[^"\\\n]{{LEAST,}}+'
    rf'|(")(?!{PLACEHOLDER}")(?=[^"\n]{{LEAST}})[^"\\\n]*+(?:\\.[^"\\\n]*+)*+'
    rf"|(')(?!{PLACEHOLDER}')(?=[^'\n]{{LEAST}})[^'\\\n]*+(?:\\.[^'\\\n]*+)*+"
)
_BARE = rf"(?!{PLACEHOLDER}(?:[\s\"'&;,<>(){{}}\\]|\Z))(?!(?:none|null|true|false)\b)[^\s\"'&;,<>(){{}}\\]{{LEAST,}}+"
_COLON = r"\s{0,4}+(?:=>|[:=])\s{0,4}+"
_CLOSE = r"\\?[\"']\]?"
_SEP = rf"(?:{_CLOSE})?{_COLON}"
_NOT_A_COUNT = r"(?![\"'\\]{0,2}\d{1,7}(?!\w))"
#: A value in prose must look made by a machine: a digit near its start, or 20 characters without a space.
_MADE = r"(?=[\"'\\]{0,2}(?:[^\s\"'\d]{0,64}\d|[^\s\"']{20}))"


def _value(pattern: str, least: int) -> str:
    """A value of at least so many characters."""
    return f"(?:{pattern.replace('LEAST', str(least))})"


_ANY: Final = _value(f"{_QUOTED}|{_BARE}", 1)
_FOUR: Final = _value(f"{_QUOTED}|{_BARE}", 4)


def _assigned(words: str) -> str:
    """`word=value`, `"word": "value"`, or in prose `word: value` where the value looks made by a machine."""
    tight = rf"((?:{_CLOSE})?=(?!=)){_NOT_A_COUNT}{_FOUR}"
    field = rf"({_CLOSE}{_COLON}){_NOT_A_COUNT}{_value(_QUOTED, 4)}"
    prose = rf"({_SEP}){_MADE}{_NOT_A_COUNT}{_value(f'{_QUOTED}|{_BARE}', 8)}"
    return f"({words})(?:{tight}|{field}|{prose})"


_PRIVATE = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PEM = rf"{_PRIVATE}[\s\S]*?(?:-----END [A-Z0-9 ]{{0,60}}-----|\Z)"
_CARD = (
    r"(?<![\w.-])(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d|35\d\d)(?:[ -]?\d{4}){3}(?![\w-])"
    r"|(?<![\w.-])3[47]\d\d[ -]?\d{6}[ -]?\d{5}(?![\w-])"
    r"|(?<![\w.-])3(?:0[0-5]|[68]\d)\d[ -]?\d{6}[ -]?\d{4}(?![\w-])"
)
_H32, _A40 = _HEX * 2, _ALNUM * 3

_SIGNS: Final = (
    Kind("private-key", "sign", ("-----BEGIN",), re.compile(_PEM),
         ("-----BEGIN RSA ", "PRIVATE KEY-----\n", "MIIE" + _A40, "\n-----END RSA ", "PRIVATE KEY-----"),
         "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
    Kind("url-password", "sign", ("://",),
         re.compile(rf"(://[^\s:/@]{{0,100}}:)(?!{PLACEHOLDER}@)[^\s/@]{{1,256}}(?=@)", re.ASCII),
         ("postgresql://app", ":hunter", "2@db.local/x"), "http://host:8080/path?mail=a@b.example"),
)  # fmt: skip

_TOKENS: Final = (
    _token("anthropic", "sk-ant-", r"sk-ant-[\w-]{20,}", ("sk-", "ant-api03-", _WORD * 2), "sk-ant-key"),
    _token("openrouter", "sk-or-", r"sk-or-[\w-]{20,}", ("sk-", "or-v1-", _H32), "sk-or-swim"),
    _token("langfuse", "sk-lf-", r"sk-lf-[\w-]{20,}", ("sk-", "lf-", _H32), "sk-lf-x"),
    _token("openai-project", "sk-", r"sk-(?:proj|svcacct|admin)-[\w-]{20,}", ("sk-", "proj-", _WORD * 2), "sk-proj-x"),
    _token("openai", "sk-", r"sk-(?:(?=[A-Za-z_-]{0,60}\d)[\w-]{20,}|[A-Za-z0-9]{20,})",
           ("sk-", _A40), "sk-learn-pipelines-are-no-keys"),
    _token("google-api", "AIza", r"AIza[\w-]{30,}", ("AI", "za", _WORD * 3), "AIzawa"),
    _token("google-oauth", "ya29.", r"ya29\.[\w-]{20,}", ("ya", "29.", _WORD * 2), "ya29.x"),
    _token("google-client", "GOCSPX-", r"GOCSPX-[\w-]{20,}", ("GOC", "SPX-", _WORD * 2), "GOCSPX-x"),
    _token("aws-access-key", ("AKIA", "ASIA"), r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
           ("AK", "IA", "Q3Z7" * 4), "ASIANPACIFICREGIONALOFFICE"),
    _token("github", ("ghp_", "gho_", "ghs_", "ghu_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{30,}",
           ("gh", "p_", _A40), "ghp_token"),
    _token("github-pat", "github_pat_", r"github_pat_\w{22,}", ("github", "_pat_", _A40), "github_pat_x"),
    _token("gitlab", ("glpat-", "gldt-", "glrt-"), r"gl(?:pat|dt|rt)-[\w-]{20,}", ("gl", "pat-", _WORD * 2), "glpat-x"),
    _token("slack", ("xox", "xapp-"), r"(?:xox[abeoprs]|xapp)-[\w-]{12,}",
           ("xo", "xb-", "1234567890-", _ALNUM), "xoxo-x"),
    _token("slack-webhook", "hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows)/[\w/-]{16,}",
           ("https://hooks.slack", ".com/services/T000/B000/", _ALNUM), "hooks.slack.com/docs"),
    _token("discord-webhook", "/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/\d{5,}/[\w-]{20,}",
           ("https://discord", ".com/api/webhooks/123456789/", _WORD * 2), "discord.com/api/webhooks/docs"),
    _token("discord-bot", ("MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"),
           r"(?:M[Tjz]|N[DTjz]|O[DT])[\w-]{22,26}\.[\w-]{6}\.[\w-]{27,45}(?![\w-])",
           ("M", "TIzNDU2Nzg5MDEyMzQ1Njc4", ".Gabc12.", _WORD * 2), "Module.submod.AnotherRatherLongClassNameHere"),
    _token("telegram", ":AA", r"(?:bot)?\d{8,10}:AA[\w-]{30,}", ("123456789", ":AA", _WORD * 2, "x"), "12345678:AA"),
    _token("stripe", ("_live_", "_test_"), r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",
           ("sk", "_live_", _A40), "sk_live_x"),
    _token("webhook-secret", "whsec_", r"whsec_[A-Za-z0-9+/=]{20,}", ("wh", "sec_", _A40), "whsec_docs"),
    _token("twilio", ("SK", "AC"), r"(?:SK|AC)[0-9a-f]{32}(?![A-Za-z0-9])",
           ("S", "K", _H32), "SKU0123456789abcdef0123"),
    _token("sendgrid", "SG.", r"(?<![\w-])SG\.[\w-]{16,64}\.[\w-]{16,}", ("S", "G.", _WORD, ".", _WORD * 2), "SG.mean"),
    _token("mailgun", "key-", r"key-[0-9a-f]{32}(?![A-Za-z0-9])", ("ke", "y-", _H32), "key-value-pairs-everywhere"),
    _token("mailchimp", "-us", r"[0-9a-f]{32}-us\d{1,2}(?!\w)", (_H32, "-u", "s12"), "0123-us12"),
    _token("npm", "npm_", r"npm_[A-Za-z0-9]{36,}", ("np", "m_", _A40), "npm_config_registry_is_not_set_here"),
    _token("pypi", "pypi-", r"pypi-AgEI[\w-]{40,}", ("py", "pi-AgEI", _WORD * 3), "pypi-publish-action"),
    _token("huggingface", "hf_", r"hf_[A-Za-z0-9]{30,}", ("h", "f_", _A40), "hf_hub_download"),
    _token("azure-storage", "Key=", r"((?:Account|SharedAccess)Key=)[A-Za-z0-9+/=]{30,}",
           ("Account", "Key=", _A40, "=="), "AccountKey=x"),
    _token("azure-sas", "sig=", r"(sig=)[\w%+/=-]{20,}", ("?sv=2024&si", "g=", _A40, "%3D"), "sig=short"),
    _token("databricks", "dapi", r"dapi[0-9a-f]{32,}", ("da", "pi", _H32), "dapi-documentation-page"),
    _token("digitalocean", "_v1_", r"do[opr]_v1_[0-9a-f]{40,}", ("do", "p_v1_", _H32 * 2), "dop_v1_x"),
    _token("shopify", "shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32,}", ("sh", "pat_", _H32), "shpat_docs"),
    _token("square", ("sq0", "EAAA"), r"sq0(?:atp|csp|idp)-[\w-]{22,}|EAAA[\w-]{56,}",
           ("sq", "0atp-", _WORD * 2), "sq0x"),
    _token("linear", "lin_api_", r"lin_api_[A-Za-z0-9]{30,}", ("lin", "_api_", _A40), "lin_api_docs"),
    _token("notion", ("secret_", "ntn_"), r"secret_[A-Za-z0-9]{40,}|ntn_[A-Za-z0-9]{40,}", ("nt", "n_", _A40), "ntn_x"),
    _token("groq", "gsk_", r"gsk_[A-Za-z0-9]{40,}", ("gs", "k_", _A40), "gsk_x"),
    _token("replicate", "r8_", r"r8_[A-Za-z0-9]{30,}", ("r", "8_", _A40), "r8_x"),
    _token("xai", "xai-", r"xai-[A-Za-z0-9]{40,}", ("xa", "i-", _A40), "xai-grok-conversation-handler"),
    _token("perplexity", "pplx-", r"pplx-[A-Za-z0-9]{32,}", ("pp", "lx-", _A40), "pplx-70b-online"),
    _token("fireworks", "fw_", r"fw_[A-Za-z0-9]{20,}", ("f", "w_", _A40), "fw_rules"),
    _token("nvidia", "nvapi-", r"nvapi-[\w-]{40,}", ("nv", "api-", _WORD * 3), "nvapi-docs"),
    _token("tavily", "tvly-", r"tvly-[\w-]{20,}", ("tv", "ly-", _WORD * 2), "tvly-x"),
    _token("pinecone", "pcsk_", r"pcsk_\w{40,}", ("pc", "sk_", _A40), "pcsk_x"),
    _token("langsmith", "lsv2_", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10,}",
           ("ls", "v2_pt_", _H32, "_0123456789"), "lsv2_x"),
    _token("airtable", "pat", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64,}",
           ("pa", "tAbC1dEf2GhI3jK.", _H32 * 2), "patience-is-a-virtue"),
    _token("figma", "figd_", r"figd_[\w-]{30,}", ("fi", "gd_", _WORD * 3), "figd_x"),
    _token("grafana", ("glsa_", "glc_"), r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8,}|glc_[A-Za-z0-9+/=]{32,}",
           ("gl", "sa_", _H32, "_01234567"), "glsa_x"),
    _token("sentry", "sntry", r"sntry[su]_[A-Za-z0-9+/=_]{30,}", ("snt", "rys_", _A40), "sntrys_x"),
    _token("newrelic", "NRAK-", r"NRAK-[A-Z0-9]{27,}", ("NR", "AK-", "Q3Z7K" * 6), "NRAK-x"),
    _token("postman", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34,}", ("PM", "AK-", _H32[:24], "-", _H32, "01"), "PMAK-x"),
    _token("heroku", "HRKU-", r"HRKU-[\w-]{30,}", ("HR", "KU-", _WORD * 3), "HRKU-x"),
    _token("docker", "dckr_pat_", r"dckr_pat_[\w-]{20,}", ("dckr", "_pat_", _WORD * 2), "dckr_pat_x"),
    _token("planetscale", "pscale_", r"pscale_(?:tkn|pw|oauth)_[\w.-]{30,}",
           ("psc", "ale_tkn_", _WORD * 3), "pscale_x"),
    _token("supabase", "sbp_", r"sbp_[0-9a-f]{40,}", ("sb", "p_", _H32, "01234567"), "sbp_x"),
    _token("doppler", "dp.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{40,}", ("d", "p.pt.", _A40), "dp.pt.x"),
    _token("atlassian", "ATATT3", r"ATATT3[\w=-]{50,}", ("ATA", "TT3", _WORD * 4), "ATATT3"),
    _token("vault", ("hvs.", "hvb.", "hvr."), r"hv[sbr]\.[\w-]{20,}", ("hv", "s.", _WORD * 2), "hvs.x"),
    _token("age", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
           ("AGE-", "SECRET-KEY-1", "Q3Z7K" * 11), "AGE-OLD"),
    _token("jwt", "eyJ", r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.?[\w-]*+",
           ("ey", "J", _WORD, ".ey", "J", _WORD, ".", _WORD), "eyJ.x"),
)  # fmt: skip

_HEADER = r"(?:(?:bearer|basic|token|digest|apikey|negotiate)\s{1,4}+)?+"
_WORDS: Final = (
    _word("aws-secret-key", ("secret",), rf"(aws_?secret_?(?:access_?)?key{_SEP}(?:\\?[\"'])?+)[a-z0-9/+=]{{40,}}+",
          ("aws_secret", "_access_key = ", _A40), "aws_secret_access_key is missing"),
    _word("private-key-id", ("private_key_id",), rf"(private_key_id{_SEP}(?:\\?[\"'])?+)[0-9a-f]{{32,}}+",
          ('"private_', 'key_id": "', _H32, '"'), "private_key_id is missing"),
    _word("authorization", ("authorization",), rf"(authorization{_SEP}(?:\\?[\"'])?+{_HEADER}){_value(_BARE, 4)}",
          ("Authori", "zation: Basic ", _ALNUM), "authorization failed for the tenant"),
    _word("bearer", ("bearer",), r"(bearer\s{1,4})(?:(?=[a-z._~+/=-]{0,200}\d)[\w.~+/=-]{16,}+|\w{24,}+[\w.~+/=-]*+)",
          ("sent Bea", "rer ", _A40), "Bearer authentication is required here"),
    _word("basic", ("basic",), r"(basic\s{1,4})(?=[a-z+/]{0,60}\d)[a-z0-9+/]{12,}+={0,2}",
          ("sent Ba", "sic ", "dXNlcjpwYXNzd29yZDEyMw=="), "basic authentication was refused"),
    _word("cookie", ("cookie",), rf"(cookie{_SEP}(?:\\?[\"'])?+)(?!{PLACEHOLDER}(?:[\n\"'\\]|\Z))[^\n\"'\\]++",
          ("Set-Coo", "kie: sid=", _ALNUM, "; Path=/"), "no cookie was sent"),
    _word("password", ("pass", "pwd"), rf"((?:password|passwd|passphrase|passcode|pwd){_SEP}){_ANY}",
          ("pass", "word=", "hunter", "2"), "password authentication failed for user app"),
    _word("cli-flag", ("--",), rf"(--(?:password|passwd|token|api-?key|secret)\s{{1,4}})(?!-){_FOUR}",
          ("login --pass", "word ", "hunter", "2"), "the option --token is required"),
    _word("api-key", ("key",),
          _assigned(r"(?:api|access|secret|private|signing|encryption|subscription|account|master|auth)[-_ .]?key"),
          ("x-api", "-key: ", _ALNUM), "invalid x-api-key: it was not given"),
    _word("secret", ("secret",), _assigned("secret"),
          ('{"client_', 'secret": "', "correct horse", '"}'), "secret: not set"),
    _word("token", ("token",), _assigned("token"), ("access_", "token=", "swordfish"), "Unexpected token: '}' at 12"),
)  # fmt: skip

_CARDS: Final = Kind(
    "card", "sign", (), re.compile(_CARD, re.ASCII),
    ("paid with 4242 ", "4242 4242 ", "4242"), "4242 4242 4242 4241", luhn
)  # fmt: skip

#: In this order: what is known by its own shape first, what is known by the word before it last.
KINDS: Final[tuple[Kind, ...]] = (*_SIGNS, *_TOKENS, *_WORDS, _CARDS)
