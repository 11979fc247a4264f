"""The package's data lies in ``data/``; in a wheel it becomes ``asr_introspect/data``.

Of the checkpoints in ``data/models`` only those that commands fall back to go into the wheel; the others
(second seed, other activation, plain CTC) are for who has a clone.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["asr_introspect*"]), "asr_introspect.data"],
    package_dir={"asr_introspect.data": "data"},
    package_data={
        "": ["*.csv", "*.json", "*.md", "*.npz", "*.tsv", "*.txt", "*.safetensors", "templates/*"],
        "asr_introspect.data": [
            "models/README.md",
            "models/reference.safetensors",
            "models/phonemes.safetensors",
            "demo/**/*",
        ],
    },
)
