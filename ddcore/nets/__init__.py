"""Networks, built from their configuration for an image shape and a number of classes."""

from ddcore.nets.classic import MLP, VGG11, AlexNet, LeNet
from ddcore.nets.convnet import ConvNet
from ddcore.nets.functional import Functional, Params
from ddcore.nets.network import Network, Shape, Tap, Taps, build, macs
from ddcore.nets.resnet import ResNet18

__all__ = [
    "MLP",
    "VGG11",
    "AlexNet",
    "ConvNet",
    "Functional",
    "LeNet",
    "Network",
    "Params",
    "ResNet18",
    "Shape",
    "Tap",
    "Taps",
    "build",
    "macs",
]
