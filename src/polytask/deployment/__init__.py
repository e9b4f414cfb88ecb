"""Trained networks in files that run without polytask: `torch.export` programs and ONNX."""

from polytask.deployment.onnx import export_onnx, run_onnx
from polytask.deployment.program import export_program

__all__ = ["export_onnx", "export_program", "run_onnx"]
