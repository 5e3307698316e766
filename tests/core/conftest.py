"""No deadline for a property's single example: the machine may be busy with the lab."""

from hypothesis import settings

settings.register_profile("hbd", deadline=None)
settings.load_profile("hbd")
