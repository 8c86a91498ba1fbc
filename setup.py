"""Metadata and dependencies of probekit; build system and tools are in pyproject.toml."""

from setuptools import find_packages, setup

# The card folders stand at the top of the repository, where people edit them. In the wheel they
# become data of the packages probekit._cards.{extractors,tasks,reports}.
CARDS = {f"probekit._cards.{kind}": kind for kind in ("extractors", "tasks", "reports")}

setup(
    name="probekit",
    version="0.2.0",
    description="How much does this audio embedding know, what did the probe learn, "
    "and can a small network inherit it?",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_packages(include=["probekit", "probekit.*"]), *CARDS],
    package_dir=dict(CARDS),
    package_data={
        **{name: ["*.yaml", "onnx/*.yaml"] for name in CARDS},
        "probekit": [
            "py.typed",
            "extractors/labels/*.csv",
            "extractors/labels/*.txt",
            "extractors/selftest.json",
            "figures/probekit.mplstyle",
            "report/html/*.css",
            "report/html/*.js",
            "report/html/templates/*.html",
            "scores/*.schema.json",
        ],
    },
    include_package_data=False,
    install_requires=[
        "numpy>=1.26",
        "scipy>=1.12",
        "scikit-learn>=1.6",
        "torch>=2.6",
        "h5py>=3.10",
        "cloudpickle>=3.0",
        "joblib>=1.4",
        "threadpoolctl>=3.2",
        "matplotlib>=3.9",
        "pandas>=2.2",
        "pyarrow>=16",
        "soundfile>=0.13",
        "soxr>=0.4",
        "av>=18",
        "pydantic>=2.10",
        "PyYAML>=6",
        "jinja2>=3.1",
        "typer>=0.16",
        "rich>=13.7",
        "requests>=2.32",
        "filelock>=3.12",
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "librosa>=0.10.2",
            "torchvggish>=0.2",
            "dask[distributed]>=2025.1",
            "selenium>=4.20",
            "transformers>=5.0",
            "safetensors>=0.5",
            "huggingface_hub>=1.3",
            "onnx>=1.16",
            "onnxruntime>=1.19",
            "implicit>=0.7",
            "jsonschema>=4.18",
        ],
        "video": [],  # PyAV, which is a dependency by now; the name is still in use
        "hf": ["transformers>=5.0", "safetensors>=0.5", "huggingface_hub>=1.3"],
        "onnx": ["onnxruntime>=1.19"],
        "cf": ["implicit>=0.7"],
        "cluster": ["dask[distributed]>=2025.1"],
        # openl3 0.4.2 is not here: it needs TensorFlow 2.15, so Python 3.11 at most, and resampy
        # below 0.3; it is compared only where it can be imported with these
        "parity": ["pytest>=8", "torchvggish>=0.2", "resampy>=0.4.3", "mir_eval>=0.8"],
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.6",
            "mkdocstrings>=0.30",
            "mkdocstrings-python>=1.16",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "ipykernel>=6.29",
        ],
        "check": [
            "ruff>=0.6",
            "mypy>=1.11",
            "numpydoc>=1.8",
            "import-linter>=2",
            "codespell>=2.4",
            "types-PyYAML",
            "build>=1.2",
        ],
        "dev": ["pre-commit>=4", "nbstripout>=0.8", "pytest-cov>=6", "twine>=6"],
    },
    entry_points={"console_scripts": ["probekit=probekit.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
