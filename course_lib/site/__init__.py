"""`course site`: the executed notebooks as a static site that reads offline, from a folder or a phone."""

from course_lib.site.build import Built, build_site

__all__ = ["Built", "build_site"]
