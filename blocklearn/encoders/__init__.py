"""Backbones that timm does not have, registered with it: importing this makes `timm.create_model` know them."""

from blocklearn.encoders.preact_resnet import PreActResNet
from blocklearn.encoders.speech import SpeechEncoder

__all__ = ["PreActResNet", "SpeechEncoder"]
