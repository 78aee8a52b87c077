"""Weights in files of other programs: reading PyTorch's files and safetensors, mapping their names, and writing both.

`torch_pickle`, `torch_file` and `safetensors_file` know formats. `layouts` knows how networks name their layers,
`matching` finds the layout of a file, and `convert` moves the weights. `reference` is the form `file:PATH`.
"""
