"""Definitions to artifacts: mmdebstrap, squashfs, verity, initramfs, bundles. No serving."""
