"""``bootserve probe``: a PXE client that looks and takes nothing. The only user of scapy, tftpy."""
