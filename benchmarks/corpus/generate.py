"""Raises every template's error for real and writes the texts, one JSON object a line. Runs in an environment of its own.

python generate.py --out rows.jsonl openai anthropic google bedrock http data runtime langchain agents
python generate.py --out more.jsonl crewai            # in CrewAI's environment
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import warnings
from pathlib import Path

# No key, proxy or telemetry of this machine may show up in a text, or send one anywhere.
for _name in list(os.environ):
    if _name.lower().endswith(("_api_key", "_proxy")) or _name.startswith(
        ("AWS_", "LANGSMITH_", "OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_")
    ):
        del os.environ[_name]
os.environ |= {
    "OTEL_SDK_DISABLED": "true", "CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "LANGSMITH_TRACING": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DONT_LOG_MODEL_DATA": "0", "OPENAI_AGENTS_DONT_LOG_TOOL_DATA": "0", "OPENAI_AGENTS_DISABLE_TRACING": "1", "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip
sys.path.insert(0, str(Path(__file__).resolve().parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("parts", nargs="+", help="templates_<part>.py")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import render
    from template import REGISTRY
    from templates_prose import PROSE

    with render.quiet():
        for part in asked.parts:
            importlib.import_module(f"templates_{part}")
        lines = [
            line
            for one in list(REGISTRY.values())
            for line in render.rows(one, asked.seed, PROSE.get(one.id, ((), ())))
        ]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    print(json.dumps({"rows": len(lines), "templates": len(REGISTRY)}))
    sys.stdout.flush()
    os._exit(0)  # some packages leave threads behind that wait for nothing


if __name__ == "__main__":
    main()
