"""A trained candidate as files that others can load: a folder, ONNX, timm's own format.

Each format is a module with `write(chosen, place)`, which fills an empty folder.
"""
