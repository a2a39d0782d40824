"""What the rest of a project may want to hear of. All are sent with ``execution``; receivers' errors are logged.

@receiver(execution_finished)
def tell(sender, execution, **kwargs): ...
"""

from __future__ import annotations

from django.dispatch import Signal

execution_started = Signal()
"""Its row is there, and the sandbox is asked next."""
execution_finished = Signal()
"""Its row is final, whatever became of it."""
execution_rejected = Signal()
"""A validator refused it; sent before ``execution_finished``."""
quota_exceeded = Signal()
"""Nothing ran. Also with ``error``, the QuotaExceeded."""
