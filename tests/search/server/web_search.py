"""The search that the tests of the server ask, and its service."""

from hubbleclip.search.engine import Search
from hubbleclip.search.server.search_service import SearchService

EVIL = '<script>document.title = "owned"</script>"><img src=x onerror=alert(1)>'
"""Title and investigator of the proposal 7, each tile of which is drawn as a ring."""


def service_of(search: Search, **changes: object) -> SearchService:
    return SearchService(search=search, **({"explain": lambda tile_id: {"tile_id": tile_id}} | changes))
