"""Write trained models in the formats of open_clip, transformers and ONNX, and publish them."""
