"""A pystac_client.Client of a static release, whose searches are answered here.

pystac_client sends requests through a StacApiIO. This one reads the release's documents, says which parts of the STAC
API it understands, and answers the requests to its two endpoints, which no server has.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
from pystac import Link
from pystac_client import Client, CollectionSearch, ItemSearch
from pystac_client.collection_search import collection_matches
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.mixins import QUERYABLES_REL
from pystac_client.stac_api_io import StacApiIO

from catalog_builder import layout
from catalog_builder.errors import CatalogBuilderError, DamagedError, RemoteError, UsageError
from catalog_builder.search import engine
from catalog_builder.search.places import Boxes, Place, boxes_meet, parse_bbox
from catalog_builder.search.release import Release
from catalog_builder.search.request import PAGE, SearchRequest, check_arguments, parse_request
from catalog_builder.search.times import parse_interval

_SEARCH, _COLLECTIONS, _ITEMS, _QUERYABLES = "search", "collections", "items", "queryables"
_GEOJSON = "application/geo+json"
_LATER_PAGE = 1000
"""Items of the second page and those after it, where none is asked for: whoever reads on reads all."""
_UNDERSTOOD = (
    ConformanceClasses.CORE, ConformanceClasses.COLLECTIONS, ConformanceClasses.ITEM_SEARCH, ConformanceClasses.FIELDS,
    ConformanceClasses.SORT, ConformanceClasses.QUERY, ConformanceClasses.FILTER,
    ConformanceClasses.COLLECTION_SEARCH, ConformanceClasses.COLLECTION_SEARCH_FREE_TEXT,
)  # fmt: skip


def open_release(release: Release) -> Client:
    """Open a release. Raises ``UsageError`` or ``RemoteError`` where there is none."""
    return ReleaseClient.open(release.absolute(layout.CATALOG), stac_io=ReleaseIO(release))


class ReleaseClient(Client):
    """pystac_client's own, but for this: what it would leave out silently is refused, with a ``UsageError``."""

    def search(self, **asked: Any) -> ItemSearch:
        """Ask for items; see ``pystac_client.Client.search``. Raises ``UsageError``."""
        given = check_arguments(asked)
        with _told():
            return super().search(**given)

    def collection_search(self, **asked: Any) -> CollectionSearch:
        """Ask for collections; see ``pystac_client.Client.collection_search``. Raises ``UsageError``."""
        with _told():
            return super().collection_search(**asked)


@contextmanager
def _told() -> Iterator[None]:
    """pystac_client has no errors of its own for what it cannot read."""
    try:
        yield
    except CatalogBuilderError:
        raise
    except Exception as error:
        raise UsageError(f"search: {error}") from error


class ReleaseIO(StacApiIO):
    """Answers what pystac_client asks of a release."""

    def __init__(self, release: Release) -> None:
        super().__init__()
        self.release = release
        self._found: engine.Found | None = None

    # --- as StacApiIO ------------------------------------------------------------------------------------------------

    def stac_object_from_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Make an object of a document; catalogs are clients."""
        made = super().stac_object_from_dict(*args, **kwargs)
        if type(made) is Client:  # pystac_client names its class there, and leaves no choice
            made.__class__ = ReleaseClient
        return made

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Read a document, or the answer to a request, as text."""
        return orjson.dumps(self.read_json(source, *args, **kwargs)).decode()

    def read_json(self, source: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002 - as pystac calls it
        """Read a document, or the answer to a request."""
        address, parameters = str(source), dict(kwargs.get("parameters") or {})
        if isinstance(source, Link):
            link = source.to_dict()
            address, parameters = str(link["href"]), dict(link.get("body") or {})
        href = self.release.relative(address)
        if href is None:
            raise RemoteError(f"{address}: leads out of the release {self.release.location}; it is not followed")
        if href == _SEARCH:
            return self._search(parameters)
        if href == _COLLECTIONS:
            return self._collections(parameters)
        if href == _QUERYABLES:
            return self._queryables(engine.queryables(self._chosen(SearchRequest())), href)
        if href.startswith(f"{_COLLECTIONS}/"):
            return self._below_collections(href.split("/")[1:], parameters)
        return self._document(href)

    # --- documents ---------------------------------------------------------------------------------------------------

    def _document(self, href: str) -> dict[str, Any]:
        document = self.release.document(href)
        if href == layout.CATALOG:
            return self._landing_page(document)
        if document.get("type") == "Collection":
            return self._collection(href, document)
        return {**document, "links": self._links(href, document)}

    def _links(self, href: str, document: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [*document["links"], {"rel": "self", "href": self.release.absolute(href)}]

    def _landing_page(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Give the root catalog, and what a server's would say beside it."""
        if document.get("type") != "Catalog":
            where = self.release.absolute(layout.CATALOG)
            raise RemoteError(f"{where}: no STAC catalog but {document.get('type')!r}; give the address of the root")
        search = {"rel": "search", "href": self.release.absolute(_SEARCH), "type": _GEOJSON}
        return {
            **document,
            "conformsTo": [understood.valid_uri for understood in _UNDERSTOOD],
            "links": [
                *document["links"],
                {"rel": QUERYABLES_REL, "href": self.release.absolute(_QUERYABLES), "type": "application/schema+json"},
                {"rel": "data", "href": self.release.absolute(_COLLECTIONS), "type": "application/json"},
                {**search, "method": "GET"},
                {**search, "method": "POST"},
            ],
        }

    def _collection(self, href: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Give a collection with absolute addresses."""
        links = []
        for link in document["links"]:
            path = layout.resolve(str(link.get("href")), href)
            links.append(link if path is None else {**link, "href": self.release.absolute(path)})
        items = self.release.absolute(f"{_COLLECTIONS}/{document['id']}/{_ITEMS}")
        asked = self.release.absolute(f"{_COLLECTIONS}/{document['id']}/{_QUERYABLES}")
        links += [
            {"rel": QUERYABLES_REL, "href": asked, "type": "application/schema+json"},
            {"rel": "self", "href": self.release.absolute(href), "type": "application/json"},
            {"rel": "items", "href": items, "type": _GEOJSON},
        ]
        return {**document, "links": links}

    def _collections(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Give all collections that lie somewhere, and whose text holds something."""
        given = {name: value for name, value in parameters.items() if value is not None}
        if unknown := sorted(set(given) - {"bbox", "datetime", "q", "limit"}):
            known = "bbox, datetime, q and limit"
            raise UsageError(f"collection search: {', '.join(unknown)}: not supported; supported are {known}")
        bbox, place = given.get("bbox"), None
        if bbox is not None:
            place = parse_bbox(bbox.split(",") if isinstance(bbox, str) else bbox)
        if "datetime" in given:
            parse_interval(str(given["datetime"]))
        found = [
            self._collection(href, document)
            for href, document in self.release.collections()
            if (place is None or _lies_at(document, place))
            and collection_matches(document, None, given.get("datetime"), given.get("q"))
        ]
        return {"collections": found, "links": [], "numberMatched": len(found), "numberReturned": len(found)}

    def _queryables(self, properties: Mapping[str, Any], href: str) -> dict[str, Any]:
        """Give the schema of what can be filtered by (OGC API Features, part 3)."""
        return {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "$id": self.release.absolute(href),
            "type": "object",
            "properties": dict(properties),
            "additionalProperties": False,
        }

    def _below_collections(self, parts: list[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
        for href, document in self.release.collections():
            if document.get("id") == parts[0]:
                if len(parts) == 1:
                    return self._collection(href, document)
                if parts[1:] == [_QUERYABLES]:
                    table = self.release.table(href, document)
                    return self._queryables(engine.queryables([table]), "/".join((_COLLECTIONS, *parts)))
                if parts[1:] == [_ITEMS]:
                    return self._search({**parameters, "collections": [parts[0]]})
        error = APIError(f"{self.release.location}: there is no {'/'.join(parts)}")
        error.status_code = 404
        raise error

    # --- search ------------------------------------------------------------------------------------------------------

    def _search(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        request = parse_request(parameters)
        collections = self._chosen(request)
        found = self._found
        if found is None or not engine.is_found(found, request, collections):
            found = self._found = engine.find(request, collections)
        page = engine.page(found, request, collections, self.release.absolute)
        answer: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": list(page.items),
            "links": [],
            "numberMatched": page.matched,
            "numberReturned": len(page.items),
        }
        if page.next is not None:
            body = {"limit": PAGE if "limit" in parameters else _LATER_PAGE, **parameters, "token": page.next}
            target = self.release.absolute(_SEARCH)
            answer["links"] = [{"rel": "next", "href": target, "type": _GEOJSON, "method": "POST", "body": body}]
        return answer

    def _chosen(self, request: SearchRequest) -> list[engine.Collection]:
        known = {str(document.get("id")): (href, document) for href, document in self.release.collections()}
        if request.collections is not None and (unknown := set(request.collections) - set(known)):
            raise UsageError(f"collections: there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        wanted = [name for name in known if request.collections is None or name in request.collections]
        return [self.release.table(*known[name]) for name in wanted]


def _lies_at(collection: Mapping[str, Any], place: Place) -> bool:
    """Tell whether one of the boxes of a collection's extent, of which the first holds all others, touches a place."""
    try:
        boxes = collection["extent"]["spatial"]["bbox"]
        corners = [[*box[:2], *box[len(box) // 2 :][:2]] for box in boxes[1:] or boxes]
        west, south, east, north = np.array(corners, dtype=np.float64).T
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{collection.get('id')}: has no spatial extent that could be read") from error
    return bool(boxes_meet(place, Boxes(west=west, south=south, east=east, north=north)).any())
