"""Backbones and how they are cut; importing this makes timm know those that it does not have."""

from blocklearn.backbones.preact_resnet import PreActResNet
from blocklearn.backbones.speech_encoder import SpeechEncoder

__all__ = ["PreActResNet", "SpeechEncoder"]
