"""The memory of Hessian products and of the callback: whatever the data's size, and over calls.

python tests/benchmarks/bench_curvature_memory.py [--calls 200]
python tests/benchmarks/bench_curvature_memory.py --resnet50

Each number comes from a process of its own; a peak is that of the resident set above what it was
with the data loaded and the model built. Linux only, since it reads /proc. With --resnet50 it is
one measurement of lambda_max of ResNet50 with random weights on 32 images of 64x64.
"""

import time
from pathlib import Path

from machine import alone, begin, status

MOST_ABOVE_THE_GRADIENT = 100  # MB
RESNET50 = 4000  # MB above the model


def peaks(n: int) -> tuple[float, float]:
    """MB above the start at the peak of a gradient, and then of Hessian products, over n images."""
    from small_cnn import images, small_cnn

    from dlip_reg.curvature import LossFunction

    model, data = small_cnn(), images(n)
    forget_peak()
    start = status("VmRSS")
    function = LossFunction(model, *data)
    _, gradient = function.gradient()
    first = status("VmHWM")
    for _ in range(3):
        function.hessian_product(gradient)
    return first - start, status("VmHWM") - start


def callback_peak(n: int) -> float:
    """MB above the start at the peak of the callback at its defaults with two measures."""
    from small_cnn import images, small_cnn

    from callbacks import Sharpness

    sharpness = Sharpness(images(n), measures=("lambda_max", "sam_sharpness"))
    sharpness.set_model(small_cnn())
    forget_peak()
    start = status("VmRSS")
    sharpness.prepare()
    for _ in range(3):
        sharpness.measure()
    return status("VmHWM") - start


def growth(calls: int) -> tuple[float, float]:
    """Resident MB after a tenth of the calls of the callback's measurement, and after all."""
    from small_cnn import images, small_cnn

    from callbacks import Sharpness

    model, data = small_cnn(), images(1000)
    sharpness = Sharpness(data, subset=64)
    sharpness.set_model(model)
    sharpness.prepare()
    sizes = []
    for call in range(1, calls + 1):
        sharpness.measure()
        if call in (calls // 10, calls):
            sizes.append(status("VmRSS"))
    return tuple(sizes)


def resnet50() -> dict[str, float]:
    """MB above the model at the peak of a measurement, its seconds, and what it found."""
    import keras
    import numpy as np

    from callbacks import Sharpness

    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10)
    model.compile("sgd", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(32, 64, 64, 3)).astype("float32"), rng.integers(10, size=32)
    model.predict(data[0], verbose=0)
    sharpness = Sharpness(data, batch_norm="batch")
    sharpness.set_model(model)
    forget_peak()
    start, begun = status("VmRSS"), time.perf_counter()
    for step in (sharpness.prepare, sharpness.measure):
        done = step()
        seconds, peak = time.perf_counter() - begun, status("VmHWM") - start
        print(f"{step.__name__}: {seconds:.0f} s, {peak:.0f} MB at the peak", flush=True)
    return {"weights": model.count_params(), "MB": peak, "s": seconds} | done[0]


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    options = begin(__doc__, calls=200, resnet50=False)
    calls = options.calls
    if options.resnet50:
        print(f"\nResNet50, at most {RESNET50} MB: {alone(resnet50)}")
        return
    print(f"\nMB above the data; products at most {MOST_ABOVE_THE_GRADIENT} above the gradient.")
    print("images   gradient   with products   callback")
    for n in (1_000, 2_048, 10_000, 60_000):
        gradient, products = alone(peaks, n)
        print(f"{n:6} {gradient:10.0f} {products:15.0f} {alone(callback_peak, n):10.0f}")
    early, late = alone(growth, calls)
    print(
        f"\nresident after {calls // 10} measurements {early:.0f} MB, after {calls} {late:.0f} MB"
    )


if __name__ == "__main__":
    main()
