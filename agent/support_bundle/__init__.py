"""`loyalty-agent support-bundle`: what support needs to know, and nothing that is secret."""

from agent.support_bundle.archive import write_bundle
from agent.support_bundle.contents import Known, Moment, contents

__all__ = ["Known", "Moment", "contents", "write_bundle"]
