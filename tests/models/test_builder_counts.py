"""Parameter counts and map sizes against the papers and other implementations of them."""

import math

import keras
import numpy as np
import pytest

from dlip_reg.models import MODEL_NAMES, alexnet, get_builder, lenet5, resnet18, resnet20, vgg16

IMAGENET = ((224, 224, 3), 1000)
CIFAR = ((32, 32, 3), 10)
MNIST = ((28, 28, 1), 10)

# Trainable parameters by name, with default options: for the form of the paper, then, where there
# is one, for the form that small images get.
PINNED = {
    # By hand: 784*512 + 512 + 512*512 + 512 + 512*10 + 10.
    "mlp": {MNIST: 669_706},
    # By hand, 32x32 and the full connection table: 156 + 2,416 + 48,120 + 10,164 + 850. The paper
    # counts 60,000 "trainable free parameters" with 1,516 for C3 and pairs for S2 and S4 besides.
    # At 28x28 conv1 pads to the same maps, so the count is the same.
    "lenet5": {((32, 32, 1), 10): 61_706, MNIST: 61_706},
    # "60 million" in the abstract; by hand, with the two towers: 34,944 + 307,456 + 885,120 +
    # 663,936 + 442,624 + 37,752,832 + 16,781,312 + 4,097,000 (one tower: 62,378,344).
    # At 28x28 by hand: 2,496 + 614,656 + 885,120 + 1,327,488 + 884,992 for the convolutions,
    # 1,024*512 + 512 + 512*512 + 512 + 5,130 for the rest.
    "alexnet": {IMAGENET: 60_965_224, MNIST: 4_507_338},
    # By hand: 160 + 2,320 + 4,640 + 9,248 + 18,496 + 36,928 for the convolutions,
    # 4*4*64*128 + 128 + 128*128 + 128 + 1,290 for the rest.
    "vgg_small": {MNIST: 220_794},
    # torchvision's vgg11 and vgg16, keras.applications' VGG16 and VGG19; table 2 of the paper
    # rounds to 133, 138 and 144 million. At 32x32 the convolutions are those of torchvision's
    # `features` (9,220,480, 14,714,688 and 20,024,384), the rest 2*(512*512 + 512) + 5,130.
    "vgg11": {IMAGENET: 132_863_336, CIFAR: 9_220_480 + 530_442},
    "vgg16": {IMAGENET: 138_357_544, CIFAR: 14_714_688 + 530_442},
    "vgg19": {IMAGENET: 143_667_240, CIFAR: 20_024_384 + 530_442},
    # Table 6 of the paper rounds to 0.27, 0.46, 0.66 and 0.85 million. By hand, each convolution
    # with its 2 BN parameters a filter: stem 464; n blocks of 4,672; 13,952 + (n - 1) * 18,560;
    # 55,552 + (n - 1) * 73,984; classifier 650. So n * 97,216 - 21,926.
    # By hand with half as many filters: stem 88, blocks of 1,184, 3,520 and 13,952, classifier 330.
    "resnet_small": {MNIST: 19_074},
    "resnet20": {CIFAR: 3 * 97_216 - 21_926},
    "resnet32": {CIFAR: 5 * 97_216 - 21_926},
    "resnet44": {CIFAR: 7 * 97_216 - 21_926},
    "resnet56": {CIFAR: 9 * 97_216 - 21_926},
    # torchvision's resnet18 and resnet34. At 32x32 the 7x7 stem is 3x3 (64*3*(49 - 9) fewer) and
    # the classifier has 10 classes (513*990 fewer).
    "resnet18": {IMAGENET: 11_689_512, CIFAR: 11_689_512 - 7_680 - 507_870},
    "resnet34": {IMAGENET: 21_797_672, CIFAR: 21_797_672 - 7_680 - 507_870},
}


def trainable_count(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def test_every_builder_has_a_pinned_count():
    assert set(PINNED) == set(MODEL_NAMES)


@pytest.mark.parametrize(
    ("name", "form", "count"),
    [(name, form, count) for name, forms in PINNED.items() for form, count in forms.items()],
)
def test_parameter_count(symbolic, name, form, count):
    assert trainable_count(get_builder(name)(*form)) == count


@pytest.mark.parametrize("name", ["VGG16", "VGG19"])
def test_weights_have_the_shapes_of_keras_applications(symbolic, name):
    ours = get_builder(name.lower())(*IMAGENET)
    theirs = getattr(keras.applications, name)(weights=None)
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]


@pytest.mark.thorough
def test_vgg16_computes_what_keras_applications_computes():
    shape = (64, 64, 3)
    # The least at which ours takes the form of the paper.
    ours = vgg16(shape)
    theirs = keras.applications.VGG16(
        weights=None, input_shape=shape, classes=10, classifier_activation=None
    )
    theirs.set_weights(ours.get_weights())
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    # The same operations in the same order; only the batching of threads may differ.
    np.testing.assert_allclose(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_batch_norm_statistics_are_the_only_other_weights(symbolic):
    # torchvision's resnet18 keeps 9,600 running means and variances.
    model = resnet18(*IMAGENET)
    assert model.count_params() - trainable_count(model) == 9_600


def sides(model, *names):
    return [model.get_layer(name).output.shape[1] for name in names]


@pytest.mark.parametrize(
    ("builder", "side", "names", "expected"),
    [
        # Figure 2 of the LeNet paper.
        (lenet5, 32, ("conv1", "pool1", "conv2", "pool2"), [28, 14, 10, 5]),
        (lenet5, 28, ("conv1", "pool1", "conv2", "pool2"), [28, 14, 10, 5]),
        # Figure 2 of the AlexNet paper, for 224 as printed and for 227, which its sums need.
        (alexnet, 224, ("conv1a", "conv2b", "conv3a", "conv5b", "pool5a"), [55, 27, 13, 13, 6]),
        (alexnet, 227, ("conv1a", "conv2b", "conv3a", "conv5b", "pool5a"), [55, 27, 13, 13, 6]),
        (alexnet, 32, ("conv1", "conv2", "conv3", "pool5"), [32, 15, 7, 3]),
        (vgg16, 224, ("conv1_1", "conv2_1", "conv3_1", "conv5_3", "pool5"), [224, 112, 56, 14, 7]),
        (vgg16, 28, ("pool1", "pool2", "pool3", "pool4", "pool5"), [14, 7, 4, 2, 1]),
        # Table 1 and section 4.2 of the ResNet paper.
        (resnet18, 224, ("conv1", "conv2_1b", "conv3_2b", "conv5_2b"), [112, 56, 28, 7]),
        (resnet18, 32, ("conv1", "conv2_1b", "conv3_2b", "conv5_2b"), [32, 32, 16, 4]),
        (resnet20, 32, ("conv1", "conv2_3b", "conv3_3b", "conv4_3b"), [32, 32, 16, 8]),
    ],
)
def test_maps_have_the_sides_of_the_paper(symbolic, builder, side, names, expected):
    assert sides(builder((side, side, 3)), *names) == expected


def test_lenet5_classic_is_the_form_of_1998():
    model = lenet5((32, 32, 1), classic=True)
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(keras.layers.AveragePooling2D) == 2
    assert keras.layers.MaxPooling2D not in kinds
    acts = [layer for layer in model.layers if isinstance(layer, keras.layers.Activation)]
    assert [act.activation for act in acts] == [keras.activations.tanh] * 4


def test_resnet_shortcut_takes_every_other_pixel_and_adds_zeros():
    # He et al. 2016, section 4.1, option A.
    model = resnet20((9, 8, 3))
    add = model.get_layer("conv3_1_add")
    shortcut = keras.Model(model.get_layer("conv2_3_act").output, add.input[0])
    maps = np.random.default_rng(0).normal(size=(2, 9, 8, 16)).astype("float32")
    expected = np.pad(maps[:, ::2, ::2], [(0, 0), (0, 0), (0, 0), (0, 16)])
    np.testing.assert_array_equal(shortcut(maps), expected)


@pytest.mark.parametrize("shape", [(9, 8, 3), (8, 7, 3)])
def test_strided_convolution_looks_at_the_pixels_the_shortcut_takes(shape):
    model = resnet20(shape)
    conv = model.get_layer("conv3_1a")
    kernel = np.zeros(conv.kernel.shape, "float32")
    kernel[1, 1, 0, 0] = 1  # the centre of the window, so the convolution only picks
    conv.kernel.assign(kernel)
    picked = keras.Model(model.get_layer("conv2_3_act").output, conv.output)
    maps = np.random.default_rng(0).normal(size=(2, *shape[:2], 16)).astype("float32")
    np.testing.assert_array_equal(picked(maps)[..., 0], maps[:, ::2, ::2, 0])
