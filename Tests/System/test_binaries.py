"""What is in the executables, and what is not."""
import subprocess

import pytest
from installation import BIN


@pytest.mark.parametrize("name", ["ostiary-control", "ostiary-proxy"])
def test_no_second_tls_library_is_in_a_binary(name):
    symbols = subprocess.run(["nm", str(BIN / name)], capture_output=True, text=True, check=True).stdout
    assert "BoringSSL" not in symbols and "BORINGSSL" not in symbols
    linked = subprocess.run(["ldd", str(BIN / name)], capture_output=True, text=True, check=True).stdout
    assert "libssl.so.3" in linked and "libcrypto.so.3" in linked
