"""How PyTorch differentiates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from dlip_reg.curvature.backends import float64_kept

METHOD = "reverse-over-reverse"


def vjp(function: Callable, point: torch.Tensor) -> tuple[torch.Tensor, Any, Callable]:
    nested = point.requires_grad
    if not nested:
        point = point.detach().requires_grad_()
    with torch.enable_grad():
        target, aux = function(point)

    def pullback(u: torch.Tensor) -> torch.Tensor:
        if not target.requires_grad:
            return torch.zeros_like(point)
        try:
            (gradient,) = torch.autograd.grad(
                target,
                point,
                u,
                retain_graph=True,
                # What is differentiated again, in the point or in u, needs a graph of its own.
                create_graph=nested or u.requires_grad,
                materialize_grads=True,
            )
        except RuntimeError as error:
            if "is not implemented" in str(error):
                raise NotImplementedError(str(error)) from error
            raise
        return gradient

    return target, aux, pullback


def symmetric_product(function: Callable, point: torch.Tensor, vector: torch.Tensor) -> tuple:
    _, aux, pullback = vjp(function, point)
    return pullback(vector), aux


def compiled(function: Callable, variables: list, few: bool) -> Callable:
    return function


def corrected() -> AbstractContextManager:
    # The fused kernels of attention have no second derivative.
    return torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)


def precision(dtype: str) -> AbstractContextManager:
    return float64_kept()
