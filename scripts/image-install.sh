#!/bin/sh
# Install locked requirements into /opt/kubedistill, inside an image build, and leave no tool behind.
# Usage: image-install.sh REQUIREMENTS; with cuda_stubs.py beside it, requirements named *-cpu.txt
# get small stand-ins for the CUDA libraries they leave out.
set -eu
requirements=$1
stubs=$(dirname "$0")/cuda_stubs.py
environment=/opt/kubedistill
# The system's certificates, for networks that have their own authority.
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# Precompiled, and never compared with the source: importing torch reads thousands of modules.
export UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_LINK_MODE=copy

python3 -m venv /tmp/tools
/tmp/tools/bin/pip install --quiet --no-cache-dir uv==0.13.9
/tmp/tools/bin/uv venv --quiet --python "$(command -v python3)" "$environment"
VIRTUAL_ENV=$environment /tmp/tools/bin/uv pip install --quiet --no-deps --require-hashes \
    --requirement "$requirements"
rm -rf /tmp/tools
packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

case $requirements in
*-cpu.txt)
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends gcc libc6-dev >/dev/null
    "$environment/bin/python" "$stubs" "$packages"
    # Without the option apt keeps binutils, which some package suggests.
    apt-get purge -qq --yes --auto-remove -o APT::AutoRemove::SuggestsImportant=false \
        gcc libc6-dev >/dev/null
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
    ;;
esac

# C++ headers, of no use without a compiler, and the libraries' own tests: a third of all files,
# and a node unpacks an image file by file.
rm -rf "$packages"/torch/include "$packages"/torch/share "$packages"/pyarrow/include \
    "$packages"/nvidia/*/include
for library in numpy scipy pandas sympy sklearn networkx matplotlib pyarrow; do
    find "$packages/$library" -type d -name tests -prune -exec rm -rf {} + 2>/dev/null || true
done

# A name for the user: some libraries ask who they are.
echo 'kubedistill:x:65532:65532:kubedistill:/tmp:/usr/sbin/nologin' >>/etc/passwd
echo 'kubedistill:x:65532:' >>/etc/group
rm -rf "$(dirname "$0")"
