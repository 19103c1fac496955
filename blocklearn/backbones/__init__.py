"""Backbones and how they are cut; importing this makes timm know those that it does not have."""

from blocklearn.backbones.cifar_resnet import CifarResNet
from blocklearn.backbones.clapp_vgg import clapp_vgg6
from blocklearn.backbones.preact_resnet import PreActResNet
from blocklearn.backbones.speech_encoder import SpeechEncoder

__all__ = ["CifarResNet", "PreActResNet", "SpeechEncoder", "clapp_vgg6"]
