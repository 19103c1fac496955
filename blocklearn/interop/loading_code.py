"""Python that builds a backbone without blocklearn and loads its exported weights."""

from collections.abc import Collection

from torch import nn

from blocklearn.backbones import PreActResNet, SpeechEncoder
from blocklearn.backbones.input_spec import input_of
from blocklearn.interop.timm_folder import fits_timm, on_meta
from blocklearn.interop.trained_weights import torchvision_twin
from blocklearn.weights.file_names import EXPORTED
from blocklearn.weights.structure import NetworkStructure

TORCHVISION_FILE = "pytorch_model_torchvision.pth"


def timm_code(structure: NetworkStructure, names: Collection[str]) -> str:
    """Builds the backbone with timm as `model` and loads `model.safetensors` from the working
    folder: by its `config.json` where timm can, and otherwise argument by argument, strictly; of
    the families that have weights behind `forward_features` (VGG, MobileNetV3, ConvNeXt), only
    those are not loaded. For a backbone of blocklearn's own it imports what registers it with timm.

    Args:
        structure: `BlockwiseModule.structure`.
        names: of the exported tensors.
    """
    own = "import blocklearn.backbones\n" if own_encoder(structure) else ""
    if fits_timm(structure, names):
        return (
            f'import timm\n{own}\nmodel = timm.create_model("local-dir:.", pretrained=True)\n'
            "model.eval()\n"
        )
    arguments = "".join(f", {key}={value!r}" for key, value in structure.backbone_kwargs.items())
    stem = small_stem_code(structure)
    needed = ("import torch\n" if stem else "") + own
    strict = set(on_meta(structure).state_dict()) <= set(names)
    return (
        f"import timm\n{needed}from safetensors.torch import load_file\n\n"
        f'model = timm.create_model("{structure.backbone}", num_classes=0{arguments})\n{stem}'
        f'model.load_state_dict(load_file("{EXPORTED}"), strict={strict})'
        f"{'' if strict else '  # what lies behind forward_features is not in the file'}\n"
        "model.eval()\n"
    )


def own_encoder(structure: NetworkStructure) -> type[nn.Module] | None:
    """The class of the backbone where it is one of blocklearn's own, which timm knows only when
    blocklearn is imported."""
    made = type(on_meta(structure))
    return made if issubclass(made, (PreActResNet, SpeechEncoder)) else None


def takes_sound(structure: NetworkStructure) -> bool:
    """Whether the backbone reads sound rather than images."""
    return input_of(on_meta(structure).modules()).kind == "sound"


def torchvision_code(structure: NetworkStructure) -> str:
    """The same with torchvision, for a backbone that it has, and
    `pytorch_model_torchvision.pth`."""
    return (
        "import torch\nimport torchvision\n\nmodel = "
        f"torchvision.models.{torchvision_twin(structure)}()\n"
        f"model.fc = torch.nn.Identity()\n{small_stem_code(structure)}"
        f'model.load_state_dict(torch.load("{TORCHVISION_FILE}", weights_only=True), strict=True)\n'
        "model.eval()\n"
    )


def small_stem_code(structure: NetworkStructure) -> str:
    """The lines that change the stem of `model` for small images; empty where it is not changed."""
    if not structure.small_stem:
        return ""
    before = dict(on_meta(structure).named_modules())
    lines = []
    for name, module in on_meta(structure, small_stem=True).named_modules():
        if isinstance(module, nn.Conv2d) and module.stride != before[name].stride:
            extra = f", groups={module.groups}" if module.groups > 1 else ""
            extra += "" if module.bias is not None else ", bias=False"
            lines.append(
                (name, f"Conv2d({module.in_channels}, {module.out_channels}, 3, padding=1{extra})")
            )
        elif isinstance(module, nn.Identity) and isinstance(before[name], nn.MaxPool2d):
            lines.append((name, "Identity()"))
    return "".join(
        f'model.set_submodule("{name}", torch.nn.{made})\n'
        if "." in name
        else f"model.{name} = torch.nn.{made}\n"
        for name, made in lines
    )
