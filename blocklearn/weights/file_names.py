"""The files of weights in a folder of `blocklearn export`."""

EXPORTED, EXPORTED_HEADS = "model.safetensors", "heads.safetensors"
