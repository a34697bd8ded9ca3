"""Students: a second score, of what is being made. One file, one yaml each."""

from .base import Learnt, Student
from .exact import Exact
from .lora import Lora

__all__ = ["Exact", "Learnt", "Lora", "Student"]
