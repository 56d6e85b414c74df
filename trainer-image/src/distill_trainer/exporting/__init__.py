"""The student in other forms: its ONNX graphs, held against its weights."""
