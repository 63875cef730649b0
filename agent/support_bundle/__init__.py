"""Contents and archive of `loyalty-agent support-bundle`: diagnostics without secrets."""

from agent.support_bundle.archive import write_bundle
from agent.support_bundle.contents import Known, Moment, contents

__all__ = ["Known", "Moment", "contents", "write_bundle"]
