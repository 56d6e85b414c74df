"""What an ONNX graph of a model is called, and its outputs."""

from typing import Final

EMBEDDING: Final = "sentence_embedding"
SCORE: Final = "score"
TOKENS: Final = "token_embeddings"
OPSET: Final = 20
"""Version of ONNX's operators; every ONNX Runtime since 1.17 has it."""

FOLDER: Final = "onnx"
"""Where a model's folder keeps its graphs."""
FLOAT: Final = "model.onnx"
QUANTIZED: Final = "model_quantized.onnx"
EXPORTED: Final = "export.json"
"""What the export stage measured of every graph, beside the model's other files."""
NOTE: Final = "quantization.json"
"""What the quantize stage measured of a quantised graph, beside the model's other files."""
