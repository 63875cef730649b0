"""Contents and archive of `loyalty-agent support-bundle`: diagnostics without secrets."""

from agent.support_bundle.archive import write_bundle
from agent.support_bundle.contents import Inputs, bundle_files

__all__ = ["Inputs", "bundle_files", "write_bundle"]
