"""Signing bundles: key files, and the signatures that `manifest.sig` holds. No torch is needed."""
