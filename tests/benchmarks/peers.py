"""PyHessian and curvlinops on the same weights and data, in a virtual environment of their own.

`Peers` is the benchmark's end of a pipe; run as a script, with PyTorch, this file is the other end.
"""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
from machine import timed

PACKAGES = ("torch==2.13.0", "PyHessian==0.1", "curvlinops-for-pytorch==3.0.1", "scipy")
CHUNK = 256  # examples


class Peers:
    """Asks the other process; a context that ends it. `python` has `PACKAGES`; None installs them
    in a temporary environment first (a few minutes)."""

    def __init__(self, python: str | None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        if python is None:
            print(f"Installing {', '.join(PACKAGES)} in a temporary environment.", flush=True)
            home = Path(self._folder.name) / "venv"
            venv.create(home, with_pip=True)
            python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        self._process = subprocess.Popen(
            [python, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, *error) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def load(self, weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> None:
        """Give them the Keras weights of `small_cnn` and the data."""
        path = Path(self._folder.name) / "state.npz"
        np.savez(path, *weights, x=x, y=y)
        self.ask("load", str(path))

    def ask(self, name: str, *arguments: Any) -> Any:
        """What the function `name` below returns."""
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve() -> None:
    import scipy.sparse.linalg
    import torch
    from curvlinops import HessianLinearOperator
    from pyhessian import hessian
    from torch import nn

    criterion = nn.CrossEntropyLoss()
    state: dict[str, Any] = {}

    def load(path: str) -> None:
        with np.load(path) as file:
            weights = [torch.tensor(file[f"arr_{i}"]) for i in range(8)]
            state["data"] = (
                torch.tensor(file["x"].transpose(0, 3, 1, 2)),
                torch.tensor(file["y"].astype(np.int64)),
            )
        for at in (0, 2):
            weights[at] = weights[at].permute(3, 2, 0, 1)
        # Keras flattens height, width, channels; PyTorch channels, height, width.
        weights[4] = weights[4].reshape(5, 5, 32, 64).permute(2, 0, 1, 3).reshape(800, 64)
        weights[4], weights[6] = weights[4].T, weights[6].T
        with torch.no_grad():
            for own, given in zip(model().parameters(), weights, strict=True):
                own.copy_(given)

    def model() -> nn.Module:
        if "model" not in state:
            state["model"] = nn.Sequential(
                *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Flatten(), nn.Linear(800, 64), nn.ReLU(), nn.Linear(64, 10)),
            )
        return state["model"]

    def chunks() -> list[tuple]:
        return list(zip(*(part.split(CHUNK) for part in state["data"]), strict=True))

    def curvlinops() -> HessianLinearOperator:
        net = model()
        return HessianLinearOperator(
            net, criterion, list(net.parameters()), chunks(), check_deterministic=False
        )

    def top_eigenvalue(peer: str, seed: int) -> tuple[float, float]:
        """Seconds, and the value."""
        torch.manual_seed(seed)
        if peer == "PyHessian":
            net = hessian(model(), criterion, dataloader=chunks(), cuda=False)
            return timed(lambda: net.eigenvalues()[0][0])
        operator = curvlinops()

        def largest() -> float:
            start = np.random.default_rng(seed).normal(size=operator.shape[1]).astype(np.float32)
            found = scipy.sparse.linalg.eigsh(
                operator.to_scipy(), 1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False
            )
            return float(found[0])

        return timed(largest)

    def reference() -> float:
        """The top eigenvalue by scipy's eigsh over float64 products of PyTorch's own."""
        net = model().double()
        weights = list(net.parameters())
        data = [(x.double(), y) for x, y in chunks()]
        examples = len(state["data"][1])

        def times(vector: np.ndarray) -> np.ndarray:
            parts = torch.tensor(vector.ravel()).split([w.numel() for w in weights])
            vectors = [p.view_as(w) for p, w in zip(parts, weights, strict=True)]
            total = np.zeros(vector.size)
            for x, y in data:
                loss = criterion(net(x), y) * len(y) / examples
                slopes = torch.autograd.grad(loss, weights, create_graph=True)
                curved = torch.autograd.grad(slopes, weights, vectors)
                total += torch.cat([c.ravel() for c in curved]).numpy()
            return total

        size = sum(w.numel() for w in weights)
        operator = scipy.sparse.linalg.LinearOperator((size, size), times, dtype=np.float64)
        # A residual of 1e-4 is an error of about its square.
        found = scipy.sparse.linalg.eigsh(
            operator, 1, which="LA", tol=1e-4, ncv=40, return_eigenvectors=False
        )
        net.float()
        return float(found[0])

    known = {f.__name__: f for f in (load, top_eigenvalue, reference)}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(known[name](*arguments)), flush=True)


if __name__ == "__main__":
    serve()
