"""Networks in ONNX files as extractors: ``-e onnx:FILE``."""
