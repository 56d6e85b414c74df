"""What a Triton model repository of ours is called inside: trainer, prober and operator agree."""

from typing import Final

FOLDER: Final = "triton"
"""The repository, in the student's folder and so below `models` of its artifact."""
MODEL: Final = "student"
"""Takes texts and gives embeddings or scores: an ensemble of the two below. Its configuration has
no name, so that its folder may be mounted under the one that clients ask for."""
TOKENS: Final = f"{MODEL}__tokens"
"""Makes tokens of texts."""
GRAPH: Final = f"{MODEL}__graph"
"""Computes with tokens."""
PROBE: Final = "__probe"
"""Ending of the same ensemble under a second name: Triton counts by model and tells no request from
another, and the prober's are no user's."""
INPUT_TYPE: Final = "input_type"
"""Parameter of a request: `query` or `document`, which prompt goes before the texts."""
TOKEN_IDS: Final = "token_ids"  # noqa: S105 - a parameter's name
"""Parameter of the configuration of TOKENS: the file of what was read in training, as it is."""
WEIGHTS: Final = "weights"
"""Parameter of MODEL's configuration: digest of the student's weights."""
MOST: Final = "most"
"""Parameter of MODEL's configuration: texts in one request at most."""
TEXT: Final = "text"
QUERY: Final = "query"
DOCUMENTS: Final = "documents"
EMBEDDING: Final = "embedding"
SCORE: Final = "score"
INPUT_IDS: Final = "input_ids"
ATTENTION_MASK: Final = "attention_mask"
